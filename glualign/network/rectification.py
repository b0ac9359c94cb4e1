"""Views: the source as an affine map shows it, so that a large motion becomes a small one.

Features change with rotation, scale and perspective, so that large motions are matched roughly. Once the best
affine map is undone the rest of the motion is small, and the same network matches it well: a spatial
transformer (Jaderberg et al. 2015, section 3) whose map is fitted to matches instead of regressed.
Several maps may be proposed; how well features agree in place decides.

A *view* is that map, ``(B, 2, 3)``: times a position ``(x, y, 1)`` of the target's frame it is a position of
the source's frame. Frames reach from -1 to 1, edge to edge, at any resolution.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from glualign.network.config import COARSE_SIZE
from glualign.network.correlation import cell_centres, global_correlation, mutual_match_features
from glualign.network.global_map import LARGEST_ZOOM, SMOOTH_REACH, fit_affine
from glualign.network.warping import pixel_grid, resize_area

FIT_CELLS = 16
"""Side of the grid of matches that a view is fitted to."""
INNER = (FIT_CELLS - 1) / FIT_CELLS
"""Half a frame from the first to the last cell centre, the unit of the fit, in units of the frame."""
MATCHED_VIEWS = 2
MATCH_SHARPNESS = 30.0
"""Inverse temperature of the soft-argmax about a match."""
STILL = 0.125
"""A view that moves no corner of the frame by more (16 of 256 pixels) gains less than resampling costs."""
GAIN = 1.1
"""A view is taken when the agreement in place is this many times as high as before."""
SHARPNESS = 20.0
"""Inverse temperature of the agreement in place: where the contrastive training of features starts."""


def rectifying_affine(flow: Tensor) -> Tensor:
    """The view in which the source looks most like the target.

    Args:
        flow: ``(B, 2, N, N)`` target -> source in pixels of the 256 x 256 image.

    Returns:
        ``(B, 2, 3)``; the identity where the motion is small or not one that a scene can show.
    """
    coarse = resize_area(flow.float(), (FIT_CELLS, FIT_CELLS))
    matches = _places(coarse) + coarse * (2 / COARSE_SIZE / INNER)
    with torch.autocast(flow.device.type, enabled=False):
        return _view_of(fit_affine(matches, torch.ones_like(matches[:, :1])))


def affine_candidates(source: Tensor, target: Tensor) -> list[Tensor]:
    """Views that the mutual matches of two images speak for: the best one, then the best of what is left.

    Args:
        source: unit vectors ``(B, C, 16, 16)`` of each image alone. They know less than those in context, and
            are not led astray together.
        target: the same.

    Returns:
        As `rectifying_affine`, `MATCHED_VIEWS` times.
    """
    views = []
    with torch.autocast(source.device.type, enabled=False):
        cosines = global_correlation(source.float(), target.float())
        hints = mutual_match_features(cosines, (FIT_CELLS, FIT_CELLS), MATCH_SHARPNESS)
        matches, weight = hints[:, :2], hints[:, 3:]
        places = _places(matches)
        for _ in range(MATCHED_VIEWS):
            fitted = fit_affine(matches, weight)
            views.append(_view_of(fitted))
            position = _through(fitted, places.flatten(1)).view_as(matches)
            away = torch.linalg.vector_norm(position - matches, dim=1, keepdim=True) > SMOOTH_REACH
            weight = weight * away
    return views


def _places(maps: Tensor) -> Tensor:
    """Centres of the cells of ``(B, C, N, N)`` in units of the fit, ``(2, N, N)``."""
    rows, columns = maps.shape[2:]
    return cell_centres(rows, columns, device=maps.device).view(2, rows, columns)


def _view_of(fitted: Tensor) -> Tensor:
    """The view of an affine map in units of the fit; the identity where it is near that or makes no sense."""
    view = torch.cat([fitted[:, :, :2], fitted[:, :, 2:] * INNER], dim=2)
    zoom = torch.linalg.det(view[:, :, :2])
    sensible = (zoom > LARGEST_ZOOM**-2) & (zoom < LARGEST_ZOOM**2)
    still = identity_affine(view)
    return snap_to_identity(torch.where(sensible[:, None, None], view, still), still)


def identity_affine(like: Tensor) -> Tensor:
    """As many views as ``like`` has entries, ``(B, 2, 3)``, each of which shows the source as it is."""
    return torch.eye(2, 3, device=like.device).expand(len(like), 2, 3)


def is_identity(affine: Tensor) -> Tensor:
    """``(B, 1, 1, 1)`` bool: whether a map is exactly the identity."""
    same = (affine == identity_affine(affine)).all(dim=2).all(dim=1)
    return same[:, None, None, None]


def warp_affine(image: Tensor, view: Tensor) -> Tensor:
    """``(B, C, H, W)`` as the view shows it: zero, the mean colour, outside; the same if unmoved."""
    grid = F.affine_grid(view, list(image.shape), align_corners=False)
    shown = F.grid_sample(image.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return torch.where(is_identity(view), image, shown.to(image.dtype))


def compose_flow_with_affine(flow: Tensor, view: Tensor, size: tuple[int, int]) -> Tensor:
    """Flow target -> source of a flow target -> seen source.

    Args:
        flow: ``(B, 2, h, w)`` in pixels of a frame of ``size``.
        view: ``(B, 2, 3)``.
        size: (height, width) in which the flow is measured.
    """
    centres, half = _centres(flow), _half(size, flow)
    position = _through(view, (centres + flow.float() / half).flatten(2)).view_as(flow)
    return torch.where(is_identity(view), flow, (position - centres) * half)


def compose_with_inverse_affine(flow: Tensor, view: Tensor, size: tuple[int, int]) -> Tensor:
    """Flow source -> target of a flow warped source -> target; arguments as of `compose_flow_with_affine`.

    What the view does not show continues as at its edge.
    """
    centres, half = _centres(flow), _half(size, flow)
    seen = _through(inverse_affine(view), centres.flatten(1)).view_as(flow)
    there = F.grid_sample(
        flow.float(),
        seen.permute(0, 2, 3, 1),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    return torch.where(is_identity(view), flow, (seen - centres) * half + there)


def zero_displacement_score(source: Tensor, target: Tensor) -> Tensor:
    """How well two images agree as they lie, ``(B, 1, 1, 1)``, 0 to 1.

    Args:
        source: unit vectors ``(B, C, N, N)`` of each image alone: in the light of each other even wrong
            matches agree.
        target: the same.

    Returns:
        The mean share of a target cell's similarity that falls on the same source cell or one beside it.
    """
    side = target.shape[3]
    with torch.autocast(source.device.type, enabled=False):
        cosines = global_correlation(source.float(), target.float()).flatten(2)
    share = torch.softmax(SHARPNESS * cosines, dim=1)
    cell = torch.arange(cosines.shape[1], device=source.device)
    row, column = torch.div(cell, side, rounding_mode="floor"), cell % side
    near = ((row[:, None] - row).abs() <= 1) & ((column[:, None] - column).abs() <= 1)
    return (share * near).sum(dim=1).mean(dim=1).view(-1, 1, 1, 1)


def compose_affine(view: Tensor, step: Tensor) -> Tensor:
    """The view of a view: ``step`` within what ``view`` shows."""
    linear = (view[:, :, :2, None] * step[:, None, :, :2]).sum(dim=2)
    shift = _through(view, step[:, :, 2:])
    return torch.where(is_identity(step)[:, 0], view, torch.cat([linear, shift], dim=2))


def snap_to_identity(view: Tensor, other: Tensor) -> Tensor:
    """The view where it differs visibly from the other; the identity where both show nearly the same."""
    corners = view.new_tensor([[-1, 1, -1, 1], [-1, -1, 1, 1]])
    apart = torch.linalg.vector_norm(_through(view, corners) - _through(other, corners), dim=1).amax(dim=1)
    return torch.where((apart > STILL)[:, None, None], view, identity_affine(view))


def inverse_affine(view: Tensor) -> Tensor:
    """The view of the target from the source's frame."""
    linear = torch.linalg.inv_ex(view[:, :, :2])[0]
    return torch.cat([linear, -(linear * view[:, None, :, 2]).sum(dim=2, keepdim=True)], dim=2)


def _through(view: Tensor, points: Tensor) -> Tensor:
    """Where the view takes points ``(..., 2, K)``; sums of products, because autocast rounds a matmul."""
    return (view[:, :, :2, None] * points.unsqueeze(-3)).sum(dim=2) + view[:, :, 2:]


def _centres(maps: Tensor) -> Tensor:
    """Cell centres ``(2, h, w)`` in units of the frame."""
    size = (maps.shape[2], maps.shape[3])
    return (pixel_grid(*size, device=maps.device) + 0.5) / _half(size, maps) - 1


def _half(size: tuple[int, int], like: Tensor) -> Tensor:
    """Pixels in half a frame, ``(2, 1, 1)``, x then y."""
    return torch.tensor([size[1] / 2, size[0] / 2], device=like.device).view(2, 1, 1)
