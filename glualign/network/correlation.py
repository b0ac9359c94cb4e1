"""The global correlation, and what GLU-Net makes of it (paper section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor

L2_EPSILON = 1e-6
MUTUAL_EPSILON = 1e-5


def unit_vectors(features: Tensor) -> Tensor:
    """Divide by the Euclidean norm over channels; epsilon sits inside the root, so zero vectors stay zero."""
    return features * torch.rsqrt(features.square().sum(dim=1, keepdim=True) + L2_EPSILON)


def global_correlation(source: Tensor, target: Tensor) -> Tensor:
    """Inner product of every source cell with every target cell.

    Args:
        source: ``(B, C, Hs, Ws)``.
        target: ``(B, C, Ht, Wt)``.

    Returns:
        ``(B, Hs * Ws, Ht, Wt)``: the channel is the source cell in row-major order, the position the target
        cell (paper section 3.1).
    """
    products = torch.bmm(source.flatten(2).transpose(1, 2), target.flatten(2))
    return products.reshape(*products.shape[:2], *target.shape[2:])


def mutual_matching(correlation: Tensor) -> Tensor:
    """Damp matches that are not each other's best (soft mutual nearest neighbours, from NC-Net).

    Args:
        correlation: ``(B, S, Ht, Wt)`` with source cells as channels. What is negative counts as zero, or the
            best of a cell that matches nothing would be a divisor near zero or below. Features after a ReLU
            have no negative products, transformed ones do.

    Returns:
        The same shape, 0 to the largest correlation.
    """
    correlation = correlation.clamp_min(0)
    best_of_source = correlation.amax(dim=(2, 3), keepdim=True)
    best_of_target = correlation.amax(dim=1, keepdim=True)
    ratio = (correlation / (best_of_source + MUTUAL_EPSILON)) * (
        correlation / (best_of_target + MUTUAL_EPSILON)
    )
    return correlation * ratio


def cell_centres(
    rows: int, columns: int, *, device: torch.device, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Centres of the cells of a grid in row-major order, ``(2, rows * columns)``, x then y.

    -1 is the centre of the first cell and +1 that of the last.
    """
    ys = torch.linspace(-1, 1, rows, device=device, dtype=dtype)
    xs = torch.linspace(-1, 1, columns, device=device, dtype=dtype)
    return torch.stack([xs.repeat(rows), ys.repeat_interleave(columns)])


def soft_argmax(cosines: Tensor, source_shape: tuple[int, int], scale: float) -> Tensor:
    """Expected source position of every target cell under a softmax of the global correlation.

    Args:
        cosines: ``(B, Hs * Ws, Ht, Wt)``.
        source_shape: ``(Hs, Ws)``.
        scale: inverse temperature.

    Returns:
        ``(B, 2, Ht, Wt)``, x then y; -1 is the centre of the first source cell and +1 that of the last.
    """
    cells = cell_centres(*source_shape, device=cosines.device, dtype=cosines.dtype)
    probability = torch.softmax(scale * cosines.flatten(2), dim=1)
    return (cells @ probability).reshape(-1, 2, *cosines.shape[2:])


def mutual_match_features(
    cosines: Tensor, source_shape: tuple[int, int], scale: float, radius: int = 2
) -> Tensor:
    """The mutual best match of every target cell in the global correlation, and its similarity.

    Args:
        cosines: ``(B, Hs * Ws, Ht, Wt)``.
        source_shape: ``(Hs, Ws)``.
        scale: inverse temperature of the soft-argmax within the window.
        radius: of the window around the mutual best source cell, in cells.

    Returns:
        ``(B, 4, Ht, Wt)``: position of the soft-argmax within that window (x, y in [-1, 1]), the cosine of
        the best cell, and that cosine after mutual matching (low where the match is not mutual).
    """
    rows, columns = source_shape
    flat = cosines.flatten(2)
    confidence, best = mutual_matching(cosines).flatten(2).max(dim=1, keepdim=True)
    index = torch.arange(rows * columns, device=cosines.device).view(1, -1, 1)
    across = (index % columns - best % columns).abs() <= radius
    down = (index // columns - best // columns).abs() <= radius
    windowed = flat.masked_fill(~(across & down), -torch.inf)
    position = soft_argmax(windowed.view_as(cosines), source_shape, scale)
    peak = torch.cat([flat.gather(1, best), confidence], dim=1)
    return torch.cat([position, peak.view(-1, 2, *cosines.shape[2:])], dim=1)
