import pytest
import torch

from glualign.network.global_map import LIMIT, fit_global_map

SIDE = 16


def cells() -> torch.Tensor:
    """Centres of the cells, ``(2, 16, 16)``."""
    axis = torch.linspace(-1, 1, SIDE)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y])


def affine(*rows: tuple[float, float, float]) -> torch.Tensor:
    """The affine map of the cells with these two rows."""
    ones = torch.ones(1, SIDE, SIDE)
    return torch.einsum("ij,jhw->ihw", torch.tensor(rows), torch.cat([cells(), ones]))


def wrong_where(chosen: torch.Tensor, matches: torch.Tensor, seed: int) -> torch.Tensor:
    """The matches with those of the chosen cells anywhere."""
    generator = torch.Generator().manual_seed(seed)
    anywhere = torch.rand(matches.shape, generator=generator) * 2 - 1
    return torch.where(chosen, anywhere, matches)


def share_of_cells(share: float, seed: int) -> torch.Tensor:
    return torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(seed)) < share


EVEN = torch.ones(1, 1, SIDE, SIDE)
TURNED = affine((0.4, -0.6, 0.1), (0.6, 0.4, -0.2))


@pytest.mark.parametrize("wrong", [0.0, 0.3, 0.7])
def test_wrong_matches_do_not_bend_the_map(wrong: float) -> None:
    outliers = share_of_cells(wrong, seed=1)
    fitted = fit_global_map(wrong_where(outliers, TURNED, seed=2)[None], EVEN)
    error = torch.linalg.vector_norm(fitted.position[0] - TURNED, dim=0)
    assert error.mean() < 0.02
    assert error.max() < 0.08
    assert fitted.consistency[0, 0][~outliers].min() > 0.9
    assert fitted.support.item() == pytest.approx(1 - wrong, abs=0.12)


def test_perspective_is_followed_by_the_second_order() -> None:
    x, y = cells()
    depth = 1 + 0.25 * x - 0.1 * y
    plane = torch.stack([0.8 * x / depth, 0.9 * y / depth])
    fitted = fit_global_map(wrong_where(share_of_cells(0.3, seed=3), plane, seed=4)[None], EVEN)
    linear = torch.cat([cells(), torch.ones(1, SIDE, SIDE)]).flatten(1).T
    best_affine = linear @ torch.linalg.lstsq(linear, plane.flatten(1).T).solution
    of_affine = (best_affine.T.view_as(plane) - plane).norm(dim=0).mean()
    assert (fitted.position[0] - plane).norm(dim=0).mean() < of_affine / 2


def test_the_motion_of_most_weight_wins() -> None:
    """A third of the cells moves on its own; with more weight it is the one that is followed."""
    other = TURNED + torch.tensor([0.6, -0.6])[:, None, None]
    part = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    part[:, :5] = True
    matches = torch.where(part, other, TURNED)[None]
    most = fit_global_map(matches, EVEN)
    assert (most.position[0] - TURNED).norm(dim=0).mean() < 0.02
    assert most.consistency[0, 0][part].max() == 0
    assert most.consistency[0, 0][~part].min() > 0.9
    weighty = fit_global_map(matches, torch.where(part, 1.0, 0.1)[None, None])
    assert (weighty.position[0] - other).norm(dim=0)[part].mean() < 0.02


def test_matches_without_weight_have_no_say() -> None:
    outliers = share_of_cells(0.6, seed=5)
    weight = (~outliers).float()[None, None]
    fitted = fit_global_map(wrong_where(outliers, TURNED, seed=6)[None], weight)
    torch.testing.assert_close(fitted.position[0], TURNED, rtol=0, atol=2e-3)
    assert fitted.support.item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_matches_without_any_map_give_a_bounded_one(weight: float) -> None:
    collapsed = torch.full((1, 2, SIDE, SIDE), 0.9)
    nowhere = torch.randn(1, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(7)) * 30
    fitted = fit_global_map(torch.cat([collapsed, nowhere]), weight * EVEN.expand(2, -1, -1, -1))
    for part in fitted:
        assert part.isfinite().all()
    assert fitted.position.abs().max() <= LIMIT
    assert fitted.support.max() <= 1


def test_a_pair_gets_the_same_map_alone_and_in_company() -> None:
    batch = torch.stack([wrong_where(share_of_cells(0.5, n), TURNED, n) for n in range(3)])
    weight = torch.rand(3, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(8))
    together = fit_global_map(batch, weight)
    for n in range(3):
        alone = fit_global_map(batch[n : n + 1], weight[n : n + 1])
        for part, of_one in zip(together, alone, strict=True):
            torch.testing.assert_close(part[n : n + 1], of_one, rtol=0, atol=1e-4)
