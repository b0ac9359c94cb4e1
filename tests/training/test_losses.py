import math

import pytest
import torch

from glualign.network.correlation import unit_vectors
from glualign.training.objectives import contrastive_loss, level_truth, robust_error


def test_level_truth_is_the_flow_at_the_cell_centres() -> None:
    """u = 2 x + 1 sampled at the centre of cell k of stride 8, x = 8 k + 3.5."""
    x = torch.arange(64.0).expand(64, 64)
    flow = torch.stack([2 * x + 1, -x.T])[None]
    truth, counted = level_truth(flow, torch.ones(1, 1, 64, 64), 8, scale=0.5)
    centres = 8 * torch.arange(8.0) + 3.5
    torch.testing.assert_close(truth[0, 0, 3], (2 * centres + 1) / 2)
    torch.testing.assert_close(truth[0, 1, :, 5], -centres / 2)
    assert counted.all()


def test_a_cell_counts_only_if_all_pixels_at_its_centre_do() -> None:
    valid = torch.ones(1, 1, 64, 64)
    valid[0, 0, 19, 27] = 0
    _, counted = level_truth(torch.zeros(1, 2, 64, 64), valid, 8)
    assert counted.sum() == 63
    assert counted[0, 0, 2, 3] == 0


def test_robust_error_ignores_what_does_not_count() -> None:
    truth = torch.zeros(1, 2, 4, 4)
    flow = torch.zeros(1, 2, 4, 4)
    flow[0, :, 0, 0] = torch.tensor([3.0, 4.0])
    flow[0, :, 3, 3] = 1000.0
    weight = torch.ones(1, 1, 4, 4)
    weight[0, 0, 3, 3] = 0
    assert robust_error(flow, truth, weight, 0.5).item() == pytest.approx(
        (math.sqrt(5.01) + 14 * 0.1) / 15, rel=1e-5
    )
    assert robust_error(flow, truth, weight, 1.0, epsilon=0.0).item() == pytest.approx(5 / 15)


def test_robust_error_has_a_finite_gradient_at_the_truth() -> None:
    flow = torch.zeros(1, 2, 4, 4, requires_grad=True)
    robust_error(flow, torch.zeros(1, 2, 4, 4), torch.ones(1, 1, 4, 4), 0.4).backward()
    assert torch.isfinite(flow.grad).all()


def test_contrastive_loss_knows_the_right_cell() -> None:
    """Orthogonal features moved by whole cells: the loss vanishes for the true flow, not for another."""
    side = 6
    source = unit_vectors(torch.eye(side * side).view(1, side * side, side, side))
    flow = torch.zeros(1, 2, side, side)
    flow[:, 0], flow[:, 1] = 2.0, 1.0
    target = torch.zeros_like(source)
    target[:, :, : side - 1, : side - 2] = source[:, :, 1:, 2:]
    visible = torch.zeros(1, 1, side, side)
    visible[:, :, : side - 1, : side - 2] = 1
    scale = torch.tensor(50.0)
    right, hits = contrastive_loss(source, target, flow, visible, scale, 36)
    assert right.item() < 1e-3
    assert hits.item() == 1.0
    wrong, misses = contrastive_loss(source, target, flow - 2, visible, scale, 36)
    assert wrong.item() > 10
    assert misses.item() == 0.0


def test_contrastive_labels_are_bilinear() -> None:
    """Half-way between two cells, the best features are half of each: the loss is the entropy, log 2."""
    source = unit_vectors(torch.eye(16).view(1, 16, 4, 4))
    target = unit_vectors(source + torch.roll(source, -1, dims=3))
    flow = torch.zeros(1, 2, 4, 4)
    flow[:, 0] = 0.5
    visible = torch.ones(1, 1, 4, 4)
    visible[..., 3] = 0
    loss, _ = contrastive_loss(source, target, flow, visible, torch.tensor(100.0), 16)
    assert loss.item() == pytest.approx(math.log(2), abs=1e-3)


def test_hidden_cells_do_not_enter_the_contrastive_loss() -> None:
    torch.manual_seed(0)
    source, target = unit_vectors(torch.randn(2, 8, 6, 6)), unit_vectors(torch.randn(2, 8, 6, 6))
    visible = torch.ones(2, 1, 6, 6)
    visible[:, :, 2:4] = 0
    flow, scale = torch.zeros(2, 2, 6, 6), torch.tensor(7.0)
    changed = target.clone()
    changed[:, :, 2:4] = unit_vectors(torch.randn(2, 8, 2, 6))
    first, _ = contrastive_loss(source, target, flow, visible, scale, 36)
    second, _ = contrastive_loss(source, changed, flow, visible, scale, 36)
    torch.testing.assert_close(first, second)
