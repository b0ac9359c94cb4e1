"""The loss of a network that rectifies."""

import numpy as np
import torch

from glualign.matching.rectification import warp_affine
from glualign.network import GLUNet
from glualign.training.batches import BatchDataset
from glualign.training.objectives import ContrastiveHead, Objective, _rectified_truth
from glualign.training.photos import PhotoStore
from glualign.training.recipe import StageOptions
from glualign.training.synthesis import PairSynthesis
from tests.networks import tiny_config

SIZE = 256
VIEW = torch.tensor([[[0.6, -0.5, 0.1], [0.5, 0.6, -0.05]]])


def batch(photos: PhotoStore, size: int = SIZE) -> dict[str, torch.Tensor]:
    """One pair whose images differ by motion alone."""
    synthesis = PairSynthesis(photos, np.arange(len(photos)), 0, {"moderate": 1.0}, photometric=False)
    return BatchDataset(synthesis, 1, (size,))[0]


def sampled(image: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """The image at every pixel's match."""
    side = image.shape[2]
    axis = (2 * torch.arange(side) + 1) / side - 1
    here = torch.stack([axis.expand(side, side), axis[:, None].expand(side, side)])
    grid = (here + flow * (2 / side)).permute(0, 2, 3, 1)
    return torch.nn.functional.grid_sample(image, grid, align_corners=False)


def test_the_truth_of_a_view_leads_to_the_same_content(photos: PhotoStore) -> None:
    pair = batch(photos)
    source = pair["source"].float()
    truth = _rectified_truth(pair, VIEW)
    assert 0.1 < truth["visible"].float().mean() < pair["visible"].float().mean()
    plain = sampled(source, pair["flow"])
    through = sampled(warp_affine(source, VIEW), truth["flow"])
    difference = (plain - through).abs().mean(dim=1, keepdim=True)[truth["visible"]]
    # Sampled twice, smooth content stays within a grey level or two.
    assert difference.mean() < 1
    assert difference.quantile(0.99) < 6


def test_both_passes_of_a_rectified_pair_are_learned_from(photos: PhotoStore) -> None:
    torch.manual_seed(1)
    config = tiny_config(rectification_steps=1)
    stage = StageOptions(kind="full", steps=1, contrastive=0.5, pyramid_rate=1e-4)
    for size in (SIZE, 320):
        objective = Objective(GLUNet(config), ContrastiveHead(), stage, None)
        loss, figures = objective(batch(photos, size))
        assert {"first_epe3", "first_hit16", "epe4", "epe1", "hit16", "hit4"} <= set(figures)
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.network.parameters())


def test_a_pretrained_backbone_stays_as_it_is_while_its_transformer_learns(photos: PhotoStore) -> None:
    torch.manual_seed(1)
    config = tiny_config(
        coarse_backbone="efficientnet-lite0+xfeat", transformer_layers=1, transformer_channels=16
    )
    for kind in ("features", "coarse", "full"):
        network = GLUNet(config)
        stage = StageOptions(kind=kind, steps=1, contrastive=0.5)
        loss, figures = Objective(network, ContrastiveHead(), stage, None)(batch(photos))
        loss.backward()
        assert "hit16" in figures
        assert network.transformer.update.weight.grad.abs().sum() > 0
        assert all(p.grad is None for p in network.backbone.parameters())
