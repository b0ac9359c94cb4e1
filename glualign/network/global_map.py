"""A smooth global map fitted robustly to 16 x 16 matches: RANSAC, then re-weighted least squares.

A plane, a distant scene or any scene from a turned camera moves by nearly one smooth map (Fischler and Bolles
1981; the truncated score is MSAC, Torr and Zisserman 2000).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from glualign.network.warping import pixel_grid

HYPOTHESES = 256
"""Affine maps that are tried, each through three matches."""
AFFINE_REACH = 0.2
"""Distance at which a match stops to count for an affine map: one and a half cells of a side of 2."""
SMOOTH_REACH = 0.3
"""The same for the final map, which is tried on matches near the affine one only."""
STEPS = 4
"""Re-weighted least squares after the best hypothesis, for each of the two maps."""
CURVATURE_COST = 0.003
"""Penalty of a squared second-order coefficient, per weight of the matches."""
LARGEST_ZOOM = 5.0
"""A hypothesis may scale areas by the square of this at most, either way, and may not mirror."""
LIMIT = 2.0
"""The map stays within half a frame of the frame."""


class GlobalMap(NamedTuple):
    """A smooth map of target cells to source positions, and the matches consistent with it."""

    position: Tensor  # (B, 2, H, W), x then y in [-2, 2]; the source frame is [-1, 1]
    consistency: Tensor  # (B, 1, H, W): 1 where a cell's own match lies on the map, 0 from `SMOOTH_REACH` on
    support: Tensor  # (B, 1, 1, 1): the weighted mean consistency of all matches


def fit_global_map(matches: Tensor, weight: Tensor) -> GlobalMap:
    """Fit an affine map by RANSAC, then a second-order one to the matches near it.

    Args:
        matches: ``(B, 2, H, W)``, source position of every target cell, x then y in [-1, 1].
        weight: ``(B, 1, H, W)``, at least 0: weight of each match.
    """
    batch, _, height, width = matches.shape
    points = matches.float().flatten(2).transpose(1, 2)
    weight = weight.float().flatten(1)
    last = torch.tensor([width - 1, height - 1], device=matches.device).view(2, 1)
    x, y = pixel_grid(height, width, device=matches.device).flatten(1) * 2 / last - 1
    linear = torch.stack([x, y, torch.ones_like(x)], dim=1)
    second_order = torch.cat([linear, torch.stack([x.square(), x * y, y.square()], dim=1)], dim=1)

    position = linear @ _best_affine(linear, points, weight)
    for basis, reach in ((linear, AFFINE_REACH), (second_order, SMOOTH_REACH)):
        for _ in range(STEPS):
            near = weight * _consistency(position, points, reach)
            weighted = basis * near[:, :, None]
            # What keeps the system solvable with too few matches, and the second order small without reason.
            cost = basis.new_full((batch, basis.shape[1]), 1e-4)
            cost[:, 3:] += CURVATURE_COST * near.sum(dim=1, keepdim=True)
            normal = weighted.transpose(1, 2) @ basis + torch.diag_embed(cost)
            position = basis @ torch.linalg.solve_ex(normal, weighted.transpose(1, 2) @ points)[0]
    consistency = _consistency(position, points, SMOOTH_REACH)
    support = (weight * consistency).sum(dim=1) / weight.sum(dim=1).clamp_min(1e-6)
    return GlobalMap(
        position.clamp(-LIMIT, LIMIT).transpose(1, 2).reshape(batch, 2, height, width),
        consistency.view(batch, 1, height, width),
        support.view(batch, 1, 1, 1),
    )


def _best_affine(linear: Tensor, points: Tensor, weight: Tensor) -> Tensor:
    """The affine map ``(B, 3, 2)`` through three matches with the largest consistent weight."""
    batch = len(points)
    # Squared, because one wrong match of three spoils a hypothesis.
    total = (weight.square() + 1e-9).cumsum(dim=1)
    # Three numbers in [0, 1) per hypothesis, evenly spread and always the same: the additive recurrence of
    # Roberts (2018) for three dimensions.
    steps = 1.2207440846057596 ** -torch.arange(1, 4, dtype=torch.float64)
    spread = (0.5 + torch.arange(1, HYPOTHESES + 1, dtype=torch.float64)[:, None] * steps) % 1
    draws = spread.flatten().float().to(points.device) * total[:, -1:]
    chosen = torch.searchsorted(total, draws).clamp_max(points.shape[1] - 1)
    corners = linear[chosen].view(batch, HYPOTHESES, 3, 3)
    goals = points.gather(1, chosen[:, :, None].expand(-1, -1, 2)).view(batch, HYPOTHESES, 3, 2)
    area = torch.linalg.cross(corners[:, :, 0], corners[:, :, 1]).mul(corners[:, :, 2]).sum(dim=-1)
    usable = area.abs() > 0.02
    corners = torch.where(
        usable[:, :, None, None], corners, torch.eye(3, device=corners.device, dtype=corners.dtype)
    )
    # Without a check for singular systems, which costs a wait for the device; there are none.
    maps, _ = torch.linalg.solve_ex(corners, goals)
    zoom = maps[:, :, 0, 0] * maps[:, :, 1, 1] - maps[:, :, 0, 1] * maps[:, :, 1, 0]
    usable = usable & (zoom > LARGEST_ZOOM**-2) & (zoom < LARGEST_ZOOM**2)
    consistency = _consistency(linear @ maps, points[:, None], AFFINE_REACH)
    score = (consistency * weight[:, None]).sum(dim=2) * usable
    best = score.argmax(dim=1)
    chosen_map: Tensor = maps[torch.arange(batch, device=best.device), best]
    return chosen_map


def _consistency(position: Tensor, points: Tensor, reach: float) -> Tensor:
    return (1 - (position - points).square().sum(dim=-1) / reach**2).clamp_min(0)
