"""The loss of a step, and which weights learn from it."""

import numpy as np
import torch

from glualign.network import GLUNet
from glualign.training.objectives import ContrastiveHead, Objective
from glualign.training.photos import PhotoStore
from glualign.training.recipe import StageOptions
from glualign.training.synthesis import BatchDataset, PairSynthesis
from tests.networks import tiny_config

SIZE = 256


def batch(photos: PhotoStore, size: int = SIZE) -> dict[str, torch.Tensor]:
    """One pair whose images differ by motion alone."""
    synthesis = PairSynthesis(photos, np.arange(len(photos)), 0, {"moderate": 1.0}, photometric=False)
    return BatchDataset(synthesis, 1, (size,))[0]


def test_every_level_is_learned_from_at_any_size(photos: PhotoStore) -> None:
    torch.manual_seed(1)
    config = tiny_config()
    stage = StageOptions(kind="full", steps=1, contrastive=0.5, pyramid_rate=1e-4)
    for size in (SIZE, 320):
        objective = Objective(GLUNet(config), ContrastiveHead(), stage)
        loss, figures = objective(batch(photos, size))
        assert {"epe4", "epe1", "hit16", "hit4"} <= set(figures)
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
        loss, figures = Objective(network, ContrastiveHead(), stage)(batch(photos))
        loss.backward()
        assert "hit16" in figures
        assert network.transformer.update.weight.grad.abs().sum() > 0
        assert all(p.grad is None for p in network.backbone.parameters())
