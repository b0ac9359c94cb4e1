"""Warping: the source drawn on the target grid, for every pixel type and size, in bounded memory."""

from __future__ import annotations

from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from glualign.arrays import Array, Doubles, Floats, Mask
from glualign.errors import FlowError
from glualign.flow.field import Flow
from glualign.geometry import EDGE_TOLERANCE, inside, positions, size_of, wxh

Interpolation = Literal["nearest", "linear", "cubic", "lanczos"]

_FLAGS = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}
# Of other types it rounds positions to 1/32 px.
_EXACT_TYPES = ("uint8", "uint16", "float32")
# cv2.remap refuses images and maps of 32,767 pixels a side and more.
_REMAP_LIMIT = 32_000
# Source pixels needed on each side of a position: 4 for Lanczos over 8 x 8.
_MARGIN = 5
_TILE_WIDTH = 4096
_TILE_PIXELS = 1 << 20
# Side of the window whose mean stands for pixels without data: wider than the widest kernel.
_MEAN_WINDOW = (9, 9)


def warp(
    pixels: Array,
    flow: Flow,
    *,
    interpolation: Interpolation = "linear",
    alpha: bool | None = None,
    missing: Mask | None = None,
) -> tuple[Array, Mask]:
    """Draw ``pixels`` (the source) on the target grid: ``warped[y, x] = pixels(x + u, y + v)``.

    Works in tiles, so that images of any side length and hundreds of megapixels need little more
    memory than source and result. Colours are weighted by alpha while interpolating: transparent pixels
    leave no dark fringe. Pixels without data are never mixed into others.

    Args:
        pixels: ``(H, W)`` or ``(H, W, C)``, any numeric type or bool.
        flow: target -> source; its source size, where known, must be the size of ``pixels``.
        interpolation: ``nearest`` keeps labels as they are.
        alpha: whether the last channel is alpha; None: it is for 2 and 4 channels.
        missing: ``(H, W)`` bool, true where ``pixels`` holds no data: what lies between such a pixel and
            others (for ``nearest``: on it) is not valid.

    Returns:
        ``(warped, valid)``: ``(H_target, W_target[, C])`` of the type of ``pixels``, and bool
        ``(H_target, W_target)``, false where the flow is unknown, leaves the source or meets missing pixels.
        What is not valid is 0.

    Raises:
        FlowError: the flow belongs to a source of another size, or an argument is invalid.
    """
    if interpolation not in _FLAGS:
        raise FlowError(f"interpolation {interpolation!r} is not one of {', '.join(_FLAGS)}")
    if pixels.ndim not in (2, 3) or pixels.size == 0:
        raise FlowError(f"cannot warp an array of shape {pixels.shape}; expected (H, W) or (H, W, C)")
    source_size = size_of(pixels)
    # Formats like .flo do not store the source size: then any image is taken at its word.
    expected = flow.source_size or source_size
    if expected != source_size:
        raise FlowError(
            f"the flow belongs to a source of {wxh(expected)} pixels, the image is {wxh(source_size)}; "
            "resize the flow, or give the image it is for"
        )
    if missing is not None and missing.shape != source_size:
        raise FlowError(f"the mask of missing pixels is {missing.shape}, the image {source_size}")
    source = pixels.astype(pixels.dtype.newbyteorder("="), copy=False).reshape(*source_size, -1)
    alpha = source.shape[2] in (2, 4) if alpha is None else alpha
    (height, width), nearest = flow.size, interpolation == "nearest"
    warped = np.zeros((height, width, source.shape[2]), source.dtype)
    valid = np.zeros((height, width), np.bool_)
    across = min(width, _TILE_WIDTH)
    down = max(1, min(_TILE_PIXELS // across, _REMAP_LIMIT))
    tiles = [
        (top, left, min(top + down, height), min(left + across, width))
        for top in range(0, height, down)
        for left in range(0, width, across)
    ]
    while tiles:
        top, left, bottom, right = tiles.pop()
        tile = np.s_[top:bottom, left:right]
        x, y = positions(flow.data[tile], top, left)
        seen = inside(x, y, source_size)
        if missing is not None:
            reach = 0.0 if nearest else 0.5 - EDGE_TOLERANCE
            # The pixels on either side; the same one where the position is on it.
            above, below = (_nearest(y[seen] + side, source_size[0]) for side in (-reach, reach))
            before, behind = (_nearest(x[seen] + side, source_size[1]) for side in (-reach, reach))
            seen[seen] = ~np.any([missing[row, at] for row in (above, below) for at in (before, behind)], 0)
        valid[tile] = seen
        if not seen.any():
            continue
        # Unseen positions become real ones: a bad number in a map upsets some versions of remap.
        x = np.clip(np.where(seen, x, x[seen][0]), 0, source_size[1] - 1)
        y = np.clip(np.where(seen, y, y[seen][0]), 0, source_size[0] - 1)
        if nearest or max(np.ptp(x), np.ptp(y)) < _REMAP_LIMIT - 4 * _MARGIN:
            if nearest:
                found = source[_nearest(y, source_size[0]), _nearest(x, source_size[1])]
            else:
                found = _interpolated(source, x, y, _FLAGS[interpolation], alpha, missing)
            np.copyto(warped[tile], found, where=seen[..., None])
        else:  # a tile that gathers from all over a huge source
            middle = (top + bottom) // 2, (left + right) // 2
            if bottom - top > right - left:
                tiles += [(top, left, middle[0], right), (middle[0], left, bottom, right)]
            else:
                tiles += [(top, left, bottom, middle[1]), (top, middle[1], bottom, right)]
    return warped.reshape(height, width, *pixels.shape[2:]), valid


def _interpolated(
    source: Array, x: Doubles, y: Doubles, flag: int, with_alpha: bool, missing: Mask | None
) -> Array:
    """Values ``(h, w, C)`` at positions in the source that are less than remap's limit apart."""
    left, top = max(0, int(x.min()) - _MARGIN), max(0, int(y.min()) - _MARGIN)
    place = np.s_[top : int(y.max()) + _MARGIN + 1, left : int(x.max()) + _MARGIN + 1]
    crop, count = source[place], source.shape[2]
    if missing is not None and missing[place].any():
        crop = _with_means(crop, missing[place])
    kind, map_x, map_y = crop.dtype, (x - left).astype(np.float32), (y - top).astype(np.float32)
    wide = np.float32 if kind.itemsize < 4 else np.float64
    full = np.iinfo(kind).max if kind.kind in "iu" else 1.0
    with_alpha = with_alpha and count > 1 and crop[..., -1].min() < full
    if with_alpha:
        crop = crop.astype(wide)
        crop[..., :-1] *= crop[..., -1:]
    elif kind.name not in _EXACT_TYPES:
        crop = crop.astype(wide)
    found = _remapped(crop, map_x, map_y, flag)
    if with_alpha:
        # Cubic and Lanczos ring: alpha may leave the range that the source has.
        opacity = found[..., -1:] = np.clip(found[..., -1:], 0, crop[..., -1].max())
        with np.errstate(divide="ignore", invalid="ignore"):
            found[..., :-1] = np.where(opacity > 0, found[..., :-1] / opacity, 0)
    return found if found.dtype == kind else _cast(found, kind)


def _remapped(pixels: Array, x: Floats, y: Floats, flag: int) -> Array:
    """Values ``(h, w, C)`` of ``(H, W, C)`` pixels, of `_EXACT_TYPES` or float64, at float32 positions."""
    if pixels.dtype == np.float64:
        # In three summands of float32, which hold every bit of numbers of about 1.
        largest = np.abs(pixels).max(initial=0, where=np.isfinite(pixels))
        _, exponent = np.frexp(largest)
        pixels, total = np.ldexp(pixels, -exponent), np.zeros((*x.shape, pixels.shape[2]))
        for _ in range(3):
            part = pixels.astype(np.float32)
            total += _remapped(part, x, y, flag)
            with np.errstate(invalid="ignore"):
                pixels = pixels - part
        return np.ldexp(total, exponent)
    # remap takes at most four channels for most interpolations, and rounds positions to 1/32 px for two.
    count = pixels.shape[2]
    step = next(step for step in (4, 3, 1) if count % step != 2)
    found = np.empty((*x.shape, count), pixels.dtype)
    for at in range(0, count, step):
        part = np.ascontiguousarray(pixels[..., at : at + step])
        values = cv2.remap(part, x, y, flag, borderMode=cv2.BORDER_REPLICATE)
        found[..., at : at + step] = values.reshape(*x.shape, -1)
    return found


def _cast(values: Array, kind: np.dtype[Any]) -> Array:
    """Computed values as ``kind``: integers rounded and kept in range, bool by half."""
    if kind == np.bool_:
        return np.asarray(values >= 0.5)
    if kind.kind in "iu":
        values = np.clip(np.rint(values), np.iinfo(kind).min, np.iinfo(kind).max)
    return values.astype(kind)


def _nearest(along: Doubles, length: int) -> npt.NDArray[np.intp]:
    """Indices of the pixels on which positions along an axis of ``length`` pixels are."""
    return np.clip(np.floor(along + 0.5), 0, length - 1).astype(np.intp)


def _with_means(crop: Array, missing: Mask) -> Array:
    """A copy whose missing pixels hold the mean of those around them, for kernels that reach over them."""
    share = cv2.blur((~missing).astype(np.float64), _MEAN_WINDOW)[missing]
    out = crop.copy()
    for channel in range(crop.shape[2]):
        known = np.where(missing, 0, crop[..., channel]).astype(np.float64)
        mean = cv2.blur(known, _MEAN_WINDOW)[missing] / np.maximum(share, 1e-6)
        out[missing, channel] = _cast(mean, crop.dtype)
    return out
