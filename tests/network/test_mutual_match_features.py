import pytest
import torch

from glualign.network.correlation import mutual_match_features


def cosines(best: int, runner_up: int) -> torch.Tensor:
    """Every target cell of an 8 x 8 grid prefers source cell ``best``, then ``runner_up``."""
    values = torch.full((1, 64, 8, 8), 0.1)
    values[:, best] = 0.9
    values[:, runner_up] = 0.8
    return values


def test_the_position_is_that_of_the_peak_whatever_lies_far_from_it() -> None:
    """A second peak outside the window would pull a global soft-argmax towards it; not this one."""
    found = mutual_match_features(cosines(best=8 * 2 + 3, runner_up=63), (8, 8), scale=30.0)
    torch.testing.assert_close(found[0, 0], torch.full((8, 8), 3 / 3.5 - 1), rtol=0, atol=1e-4)
    torch.testing.assert_close(found[0, 1], torch.full((8, 8), 2 / 3.5 - 1), rtol=0, atol=1e-4)


def test_a_neighbour_within_the_window_shares_the_position() -> None:
    found = mutual_match_features(cosines(best=8 * 2 + 3, runner_up=8 * 2 + 4), (8, 8), scale=30.0)
    share = torch.tensor([27.0, 24.0]).softmax(0)[1].item()
    assert found[0, 0, 0, 0].item() == pytest.approx((3 + share) / 3.5 - 1, abs=1e-4)


def test_confidence_falls_where_a_match_is_not_mutual() -> None:
    values = torch.full((1, 64, 8, 8), 0.1)
    values[0, 5, 0, 0], values[0, 5, 0, 1] = 0.9, 0.6  # both want source cell 5; the first wants it more
    found = mutual_match_features(values, (8, 8), scale=30.0)
    assert found[0, 2, 0, :2].tolist() == pytest.approx([0.9, 0.6], abs=1e-5)
    mutual, other = found[0, 3, 0, :2].tolist()
    assert mutual == pytest.approx(0.9, abs=1e-3)
    assert other == pytest.approx(0.6 * 0.6 / 0.9, abs=1e-3)


def test_values_stay_bounded_where_nothing_matches() -> None:
    """A target cell unlike every source cell, and a source cell whose best cosine is next to nothing."""
    generator = torch.Generator().manual_seed(2)
    values = torch.rand(1, 64, 8, 8, generator=generator) * 0.5
    values[0, :, 3, 4] = -0.4
    values[0, 9] = -1e-5 + 1e-9
    values[0, 9, 3, 4] = -0.3
    found = mutual_match_features(values, (8, 8), scale=30.0)
    assert found.abs().max() <= 1 + 1e-5
    assert found[0, 3, 3, 4] == 0
