"""The loss of a step, and which weights learn from it."""

import numpy as np
import pytest
import torch

from glualign.network import GLUNet
from glualign.network.correlation import unit_vectors
from glualign.training.batches import BatchDataset
from glualign.training.objectives import ContrastiveHead, Objective, chained_loss, unmatched_loss
from glualign.training.photos import PhotoStore
from glualign.training.recipe import StageOptions
from glualign.training.synthesis import PairSynthesis
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


def test_a_pretrained_backbone_stays_as_it_is_while_its_projection_learns(photos: PhotoStore) -> None:
    torch.manual_seed(1)
    config = tiny_config(pretrained=True, descriptor_channels=16)
    for kind in ("features", "coarse", "full"):
        network = GLUNet(config)
        stage = StageOptions(kind=kind, steps=1, contrastive=0.5)
        loss, figures = Objective(network, ContrastiveHead(), stage)(batch(photos))
        loss.backward()
        assert "hit16" in figures
        assert network.descriptors.weight.grad.abs().sum() > 0
        assert all(p.grad is None for p in network.backbone.parameters())


@pytest.mark.parametrize(("contrastive", "learns"), [(0.0, False), (0.5, True)])
def test_the_projection_learns_where_the_contrastive_loss_holds_it(contrastive: float, learns: bool) -> None:
    network = GLUNet(tiny_config(pretrained=True, descriptor_channels=16))
    stage = StageOptions(kind="full", steps=1, contrastive=contrastive)
    [group] = Objective(network, ContrastiveHead(), stage).release_parameters()
    weight = network.descriptors.weight
    assert weight.requires_grad is any(p is weight for p in group["params"]) is learns
    assert network.decoder4.get_submodule("conv_0")[0].weight.requires_grad


def test_features_learn_from_photographs_of_a_class_and_the_temperature_does_not(photos: PhotoStore) -> None:
    torch.manual_seed(1)
    network, head = GLUNet(tiny_config(pretrained=True, descriptor_channels=16)), ContrastiveHead()
    items = batch(photos)
    items |= {"between": items["source"], "negative": items["source"].flip(2), "kind": torch.tensor(2)}
    loss, figures = Objective(network, head, StageOptions(kind="features", steps=1, contrastive=0.5))(items)
    loss.backward()
    assert {"classes_hit", "classes_negative"} <= set(figures)
    assert network.descriptors.weight.grad.abs().sum() > 0
    assert head.log_scales.grad is None


def triplet_loss(error: float, there: float = 20.0) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss of the path over a third image, ``error`` pixels beside the known flow of (30, 0)."""
    objective = Objective(GLUNet(tiny_config()), ContrastiveHead(), StageOptions(kind="coarse", steps=1))
    known = torch.zeros(1, 2, SIZE, SIZE)
    known[:, 0] = 30.0
    visible = torch.zeros(1, 1, SIZE, SIZE, dtype=torch.bool)
    visible[..., : SIZE - 30] = True
    first, second = (torch.zeros(1, 2, side, side) for side in (16, 32))
    first[:, 0], second[:, 0] = there, there
    back = [torch.full_like(flow, 0.0) for flow in (first, second)]
    for flow in back:
        flow[:, 0], flow[:, 1] = 30.0 - there, error
    triplet = {"flow": known, "visible": visible, "valid": visible}
    loss, figures = objective._flow_loss([[first, second], back], triplet)
    return float(loss), figures


def test_a_path_that_is_consistent_with_the_known_flow_costs_nothing() -> None:
    exact, figures = triplet_loss(0.0)
    assert float(figures["epe3"]) < 1e-4
    assert float(figures["seen3"]) == 1.0
    near, _ = triplet_loss(1.0)
    nearer, _ = triplet_loss(0.5)
    assert exact < 0.2 * near
    assert exact < nearer < near


def test_a_path_that_is_far_off_or_leaves_the_frame_does_not_count() -> None:
    _, figures = triplet_loss(60.0)
    assert float(figures["seen3"]) == 0.0
    assert float(figures["epe3"]) > 50
    loss, figures = triplet_loss(0.0, there=2.0 * SIZE)
    assert loss == 0.0


def test_a_path_over_a_third_image_costs_little_where_it_leads_to_the_true_cells() -> None:
    torch.manual_seed(1)
    source = unit_vectors(torch.randn(1, 32, 8, 8))
    between, target = source.flip(3), source.roll(1, dims=3)
    flow, visible = torch.zeros(1, 2, 8, 8), torch.ones(1, 1, 8, 8)
    flow[:, 0], visible[..., 0] = -1.0, 0.0  # the first column comes from the last one, around the frame
    scale = torch.tensor(20.0)
    right, found = chained_loss((target, between, source), flow, visible, scale)
    wrong, missed = chained_loss((target, between, source), flow + 3.0, visible, scale)
    assert float(found) > 0.99
    assert float(missed) < 0.1
    assert right < 0.1
    assert wrong > 3.0


def test_half_of_the_cells_may_have_no_match_in_the_third_image() -> None:
    torch.manual_seed(1)
    source = unit_vectors(torch.randn(1, 32, 8, 8))
    between = torch.cat([source[:, :, :4], unit_vectors(torch.randn(1, 32, 4, 8))], dim=2)
    flow, visible = torch.zeros(1, 2, 8, 8), torch.ones(1, 1, 8, 8)
    loss, found = chained_loss((source, between, source), flow, visible, torch.tensor(20.0))
    assert loss < 0.1
    assert 0.4 < float(found) < 0.9


def test_one_temperature_serves_all_losses_and_has_a_limit() -> None:
    head = ContrastiveHead()
    torch.testing.assert_close(head.temperatures(), torch.full((3,), 20.0))
    with torch.no_grad():
        head.log_scales.fill_(6.0)
    torch.testing.assert_close(head.temperatures(), torch.full((3,), 100.0))


def test_images_of_different_classes_are_pushed_apart() -> None:
    torch.manual_seed(1)
    scale = torch.tensor(20.0, requires_grad=True)
    source = unit_vectors(torch.randn(1, 16, 6, 6))
    target = (source + 0.1 * torch.randn_like(source)).requires_grad_()
    loss = unmatched_loss(source, unit_vectors(target), scale)
    start = loss.item()
    for _ in range(30):
        (gradient,) = torch.autograd.grad(loss, target)
        target = (target - 2.0 * gradient).detach().requires_grad_()
        loss = unmatched_loss(source, unit_vectors(target), scale)
    assert start > 0.5
    assert loss.item() < 0.5 * start
    assert unmatched_loss(source, torch.ones_like(source) / 4, scale).item() < 0.05
    loss.backward()
    assert scale.grad is None
