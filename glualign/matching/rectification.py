"""Rectification: the source is warped by an affine map, so that a large motion becomes a small one.

Features change with rotation, scale and perspective. Once the best affine map is undone the remaining motion
is small: a spatial transformer (Jaderberg et al. 2015, section 3) whose map is fitted to matches instead of
regressed. Several maps are proposed; the matching score at zero displacement chooses.

An *affine map* is ``(B, 2, 3)``: times a position ``(x, y, 1)`` of the target's frame it is a position in the
source's frame. Frames reach from -1 to 1, edge to edge, at any resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from glualign.network.config import COARSE_SIZE
from glualign.network.correlation import cell_centres, global_correlation, mutual_match_features
from glualign.network.global_map import LARGEST_ZOOM, SMOOTH_REACH, fit_affine
from glualign.network.glunet import CoarseFeatures, GLUNet
from glualign.network.warping import pixel_grid, resize_area

FIT_CELLS = 16
"""Side of the grid of matches that a map is fitted to."""
INNER = (FIT_CELLS - 1) / FIT_CELLS
"""Half a frame from the first to the last cell centre, the unit of the fit, in units of the frame."""
MATCHED_CANDIDATES = 2
MATCH_SHARPNESS = 30.0
"""Inverse temperature of the soft-argmax about a match."""
NEGLIGIBLE = 0.125
"""A map that moves no corner of the frame by more (16 of 256 pixels) gains less than resampling costs."""
GAIN = 1.1
"""A candidate replaces the map so far when its matching score at zero displacement is this many times as
high. Found on synthetic pairs of the training strata, where 1.0 lets failing pairs wander off
(weights/compact.md)."""
SHARPNESS = 20.0
"""Inverse temperature of that score: the initial value of the contrastive loss that trains the features."""


class CoarseMatch(NamedTuple):
    """The coarse half of a network on pairs whose sources are rectified."""

    affine: Tensor
    """``(B, 2, 3)``; the identity where the pair stays as it is."""
    source: CoarseFeatures
    """Of the source warped by that map, after the feature transformer."""
    target: CoarseFeatures
    """After the feature transformer."""
    flow3: Tensor
    """``(B, 2, 32, 32)``, target -> warped source, in pixels of the 256 x 256 image."""

    def warp(self, image: Tensor) -> Tensor:
        """The sources ``(B, 3, H, W)`` as they are matched."""
        return image if is_identity(self.affine).all() else warp_affine(image, self.affine)


def rectify(network: GLUNet, image: Tensor, source: CoarseFeatures, target: CoarseFeatures) -> CoarseMatch:
    """Match at 16 x 16 and 32 x 32, warp the source by the best affine map, and match again.

    Each pair that moves is rectified on its own, so that its result does not depend on others of the batch.

    Args:
        network: a network on the device of the features.
        image: the normalised sources ``(B, 3, H', W')``.
        source: their features, before the feature transformer.
        target: of the targets, likewise.
    """
    transformed = network.transform_features(source, target)
    flow3 = network.coarse_flows(*transformed)[1]
    match = CoarseMatch(identity_affine(flow3), *transformed, flow3)
    if not network.config.rectification_steps:
        return match
    proposals = rectifying_affine(flow3)
    moving = ~is_identity(proposals).flatten()
    if not moving.any():
        return match
    if max(image.shape[2:]) > 2 * COARSE_SIZE:
        image = resize_area(image, (2 * COARSE_SIZE, 2 * COARSE_SIZE))
    pairs = []
    for k, moves in enumerate(moving.tolist()):
        one = slice(k, k + 1)
        here, there, *parts = (
            CoarseFeatures(*(level[one] for level in each)) for each in (source, target, *transformed)
        )
        pair = CoarseMatch(match.affine[one], parts[0], parts[1], flow3[one])
        if moves:
            pair = _rectified(network, image[one], here, there, pair, proposals[one])
        pairs.append(pair)
    affines, sources, targets, flows = zip(*pairs, strict=True)
    joined = [CoarseFeatures(*map(torch.cat, zip(*each, strict=True))) for each in (sources, targets)]
    return CoarseMatch(torch.cat(affines), joined[0], joined[1], torch.cat(flows))


def _rectified(
    network: GLUNet,
    image: Tensor,
    source: CoarseFeatures,
    target: CoarseFeatures,
    match: CoarseMatch,
    proposal: Tensor,
) -> CoarseMatch:
    """The match of one pair after the steps that raise its score; ``proposal`` is that of its flow."""
    for step in range(network.config.rectification_steps):
        if step > 0:
            proposal = rectifying_affine(match.flow3)
        if is_identity(proposal).all():
            break
        # Both directions propose: what is foreshortened in the target is found more easily from the source.
        backward = rectifying_affine(network.coarse_flows(match.target, match.source)[1])
        candidates = [proposal, inverse_affine(backward)]
        if step == 0:
            candidates += affine_candidates(source.level4, target.level4)
        best, source = best_affine(network, image, match.affine, candidates, source, target)
        if torch.equal(best, match.affine):
            break
        transformed = network.transform_features(source, target)
        match = CoarseMatch(best, *transformed, network.coarse_flows(*transformed)[1])
    return match


def best_affine(
    network: GLUNet,
    image: Tensor,
    affine: Tensor,
    steps: Sequence[Tensor],
    source: CoarseFeatures,
    target: CoarseFeatures,
) -> tuple[Tensor, CoarseFeatures]:
    """The map, or its composition with one of ``steps``, of the highest score, and the source's features.

    Args:
        network: whose features are compared.
        image: the normalised sources ``(B, 3, H, W)``.
        affine: the map so far.
        steps: maps within the source warped by it; near duplicates and identities are not tried.
        source: features of the source warped by ``affine``, before the feature transformer.
        target: of the target, likewise.
    """
    best, score = affine, zero_displacement_score(source.level4, target.level4)
    for index, step in enumerate(steps):
        for tried in steps[:index]:
            step = snap_to_identity(step, tried)
        if is_identity(step).all():
            continue
        candidate = compose_affine(affine, step)
        warped = resize_area(warp_affine(image, candidate), (COARSE_SIZE, COARSE_SIZE))
        features = network.coarse_features(warped)
        reached = zero_displacement_score(features.level4, target.level4)
        better = ~is_identity(step) & (reached > GAIN * score)
        best = torch.where(better[:, 0], candidate, best)
        score = torch.where(better, reached, score)
        source = CoarseFeatures(
            *(torch.where(better, new, old) for new, old in zip(features, source, strict=True))
        )
    return best, source


# ---- which map


def rectifying_affine(flow: Tensor) -> Tensor:
    """The affine map that a coarse flow is closest to.

    Args:
        flow: ``(B, 2, N, N)`` target -> source in pixels of the 256 x 256 image.

    Returns:
        ``(B, 2, 3)``; the identity where the motion is small or not one that a scene can show.
    """
    coarse = resize_area(flow.float(), (FIT_CELLS, FIT_CELLS))
    cells = cell_centres(FIT_CELLS, FIT_CELLS, device=flow.device).view(2, FIT_CELLS, FIT_CELLS)
    matches = cells + coarse * (2 / COARSE_SIZE / INNER)
    with torch.autocast(flow.device.type, enabled=False):
        return _plausible(fit_affine(matches, torch.ones_like(matches[:, :1])))


def affine_candidates(source: Tensor, target: Tensor) -> list[Tensor]:
    """Affine candidates from mutual nearest neighbours: the best map, then the best of the matches left over.

    Args:
        source: unit vectors ``(B, C, 16, 16)``, before the feature transformer, so that errors of one image
            are independent of the other.
        target: the same.

    Returns:
        As `rectifying_affine`, `MATCHED_CANDIDATES` times.
    """
    candidates = []
    with torch.autocast(source.device.type, enabled=False):
        cosines = global_correlation(source.float(), target.float())
        features = mutual_match_features(cosines, (FIT_CELLS, FIT_CELLS), MATCH_SHARPNESS)
        matches, weight = features[:, :2], features[:, 3:]
        cells = cell_centres(FIT_CELLS, FIT_CELLS, device=source.device)
        for _ in range(MATCHED_CANDIDATES):
            fitted = fit_affine(matches, weight)
            candidates.append(_plausible(fitted))
            position = _apply(fitted, cells).view_as(matches)
            away = torch.linalg.vector_norm(position - matches, dim=1, keepdim=True) > SMOOTH_REACH
            weight = weight * away
    return candidates


def zero_displacement_score(source: Tensor, target: Tensor) -> Tensor:
    """Matching score at zero displacement, ``(B, 1, 1, 1)``, 0 to 1.

    Args:
        source: unit vectors ``(B, C, N, N)``, before the feature transformer, after which even wrong matches
            are similar.
        target: the same.

    Returns:
        The mean share of a target cell's softmax that falls on the same source cell or one beside it.
    """
    side = target.shape[3]
    with torch.autocast(source.device.type, enabled=False):
        cosines = global_correlation(source.float(), target.float()).flatten(2)
    share = torch.softmax(SHARPNESS * cosines, dim=1)
    cell = torch.arange(cosines.shape[1], device=source.device)
    row, column = torch.div(cell, side, rounding_mode="floor"), cell % side
    near = ((row[:, None] - row).abs() <= 1) & ((column[:, None] - column).abs() <= 1)
    return (share * near).sum(dim=1).mean(dim=1).view(-1, 1, 1, 1)


def _plausible(fitted: Tensor) -> Tensor:
    """A map in units of the fit in those of frames; the identity where near it or of impossible scale."""
    affine = torch.cat([fitted[:, :, :2], fitted[:, :, 2:] * INNER], dim=2)
    zoom = torch.linalg.det(affine[:, :, :2])
    possible = (zoom > LARGEST_ZOOM**-2) & (zoom < LARGEST_ZOOM**2)
    identity = identity_affine(affine)
    return snap_to_identity(torch.where(possible[:, None, None], affine, identity), identity)


# ---- algebra of affine maps


def identity_affine(like: Tensor) -> Tensor:
    """As many identity maps as ``like`` has entries, ``(B, 2, 3)``."""
    return torch.eye(2, 3, device=like.device, dtype=torch.float32).expand(len(like), 2, 3)


def is_identity(affine: Tensor) -> Tensor:
    """``(B, 1, 1, 1)`` bool: whether a map is exactly the identity."""
    same = (affine == identity_affine(affine)).all(dim=2).all(dim=1)
    return same[:, None, None, None]


def snap_to_identity(affine: Tensor, other: Tensor) -> Tensor:
    """The map where it differs visibly from the other; the identity where it does not."""
    corners = affine.new_tensor([[-1, 1, -1, 1], [-1, -1, 1, 1]])
    apart = torch.linalg.vector_norm(_apply(affine, corners) - _apply(other, corners), dim=1).amax(dim=1)
    return torch.where((apart > NEGLIGIBLE)[:, None, None], affine, identity_affine(affine))


def inverse_affine(affine: Tensor) -> Tensor:
    """The map from the source's frame to the target's."""
    linear = torch.linalg.inv_ex(affine[:, :, :2])[0]
    return torch.cat([linear, -(linear * affine[:, None, :, 2]).sum(dim=2, keepdim=True)], dim=2)


def compose_affine(affine: Tensor, step: Tensor) -> Tensor:
    """``affine`` after ``step``: warping by it equals warping by ``affine``, then by ``step``."""
    linear = (affine[:, :, :2, None] * step[:, None, :, :2]).sum(dim=2)
    shift = _apply(affine, step[:, :, 2:])
    return torch.where(is_identity(step)[:, 0], affine, torch.cat([linear, shift], dim=2))


def warp_affine(image: Tensor, affine: Tensor) -> Tensor:
    """``(B, C, H, W)`` warped by the map; zero, the mean colour, outside. Unchanged under the identity."""
    grid = F.affine_grid(affine, list(image.shape), align_corners=False)
    warped = F.grid_sample(image.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return torch.where(is_identity(affine), image, warped.to(image.dtype))


def compose_flow_with_affine(flow: Tensor, affine: Tensor, size: tuple[int, int]) -> Tensor:
    """Flow target -> source from a flow target -> warped source.

    Args:
        flow: ``(B, 2, h, w)`` in pixels of a frame of ``size``.
        affine: ``(B, 2, 3)``, by which the source was warped.
        size: (height, width) in which the flow is measured.
    """
    centres, half = _frame(flow, size)
    position = _apply(affine, (centres + flow.float() / half).flatten(2)).view_as(flow)
    return torch.where(is_identity(affine), flow, (position - centres) * half)


def compose_with_inverse_affine(flow: Tensor, affine: Tensor, size: tuple[int, int]) -> Tensor:
    """Flow source -> target from a flow warped source -> target; arguments as of `compose_flow_with_affine`.

    Source pixels outside the warped frame take the flow of its edge.
    """
    centres, half = _frame(flow, size)
    warped = _apply(inverse_affine(affine), centres.flatten(1)).view_as(flow)
    there = F.grid_sample(
        flow.float(),
        warped.permute(0, 2, 3, 1),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return torch.where(is_identity(affine), flow, (warped - centres) * half + there)


def _apply(affine: Tensor, points: Tensor) -> Tensor:
    """Images of points ``(..., 2, K)``; sums of products, because autocast rounds a matmul."""
    return (affine[:, :, :2, None] * points.unsqueeze(-3)).sum(dim=2) + affine[:, :, 2:]


def _frame(maps: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Cell centres ``(2, h, w)`` in units of the frame, and pixels in half a frame ``(2, 1, 1)``."""
    cells = (maps.shape[2], maps.shape[3])
    halves = [
        torch.tensor([width / 2, height / 2], device=maps.device, dtype=torch.float32).view(2, 1, 1)
        for height, width in (cells, size)
    ]
    return (pixel_grid(*cells, device=maps.device) + 0.5) / halves[0] - 1, halves[1]
