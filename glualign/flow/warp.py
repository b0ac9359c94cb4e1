"""Warping: the source drawn on the target grid, for every pixel type and size, in bounded memory."""

from __future__ import annotations

from typing import Any, Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

from glualign.arrays import Array, Doubles, Floats, Mask
from glualign.errors import FlowError
from glualign.flow.field import Flow, FlowRows
from glualign.geometry import EDGE_TOLERANCE, inside, positions

Interpolation = Literal["nearest", "linear", "cubic", "lanczos"]

_FLAGS = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "lanczos": cv2.INTER_LANCZOS4}
_OPENCV_TYPES = ("uint8", "uint16", "int16", "float32")
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
    flow: Flow | FlowRows,
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
    if interpolation not in get_args(Interpolation):
        raise FlowError(f"interpolation {interpolation!r} is not one of {', '.join(get_args(Interpolation))}")
    if pixels.ndim not in (2, 3) or pixels.size == 0:
        raise FlowError(f"cannot warp an array of shape {pixels.shape}; expected (H, W) or (H, W, C)")
    source_size = (int(pixels.shape[0]), int(pixels.shape[1]))
    # Formats like .flo do not store the source size: then any image is taken at its word.
    expected = flow.source_size or source_size
    if expected != source_size:
        raise FlowError(
            f"the flow belongs to a source of {expected[1]} x {expected[0]} pixels, "
            f"the image is {source_size[1]} x {source_size[0]}; resize the flow, or give the image it is for"
        )
    if missing is not None and missing.shape != source_size:
        raise FlowError(f"the mask of missing pixels is {missing.shape}, the image {source_size}")
    source = pixels.reshape(*source_size, -1)
    sampler = _Sampler(source, interpolation, source.shape[2] in (2, 4) if alpha is None else alpha, missing)
    height, width = flow.size
    warped = np.zeros((height, width, source.shape[2]), source.dtype)
    valid = np.empty((height, width), np.bool_)
    tile_width = min(width, _TILE_WIDTH)
    step = max(1, min(_TILE_PIXELS // tile_width, _REMAP_LIMIT))
    for top in range(0, height, step):
        rows = flow.rows(top, min(top + step, height))
        for left in range(0, width, tile_width):
            tile = np.s_[top : top + len(rows), left : left + tile_width]
            x, y = positions(rows[:, left : left + tile_width], top, left)
            valid[tile] = seen = sampler.readable(x, y)
            if seen.any():
                sampler.read(x, y, seen, out=warped[tile])
    return warped.reshape(height, width, *pixels.shape[2:]), valid


def _cast(values: Array, dtype: np.dtype[Any]) -> Array:
    """Computed values as ``dtype``: integers rounded and kept in range, bool by half."""
    if dtype == np.bool_:
        return np.asarray(values >= 0.5)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return np.asarray(values.astype(dtype, copy=False))


class _Sampler:
    """Reads one source at many positions: gathers for nearest, `cv2.remap` on crops for the rest."""

    def __init__(
        self, source: Array, interpolation: Interpolation, with_alpha: bool, missing: Mask | None
    ) -> None:
        self.source, self.missing, self.with_alpha = source, missing, with_alpha
        self.flag = _FLAGS.get(interpolation)  # None: nearest
        # OpenCV 5.0 gets cubic interpolation of float64 wrong, even at whole pixels.
        self.wide = np.float32 if interpolation == "cubic" else np.float64

    def readable(self, x: Doubles, y: Doubles) -> Mask:
        """Whether positions ``(h, w)`` lie in the source and between pixels that all hold data."""
        height, width, _ = self.source.shape
        seen = inside(x, y, (height, width))
        if self.missing is None or not seen.any():
            return seen
        reach = 0.0 if self.flag is None else 0.5 - EDGE_TOLERANCE
        # The pixels on either side; the same one where the position is on it.
        above, below = (_nearest(y[seen] + side, height) for side in (-reach, reach))
        left, right = (_nearest(x[seen] + side, width) for side in (-reach, reach))
        sides = [self.missing[row, column] for row in (above, below) for column in (left, right)]
        seen[seen] = ~np.any(sides, axis=0)
        return seen

    def read(self, x: Doubles, y: Doubles, seen: Mask, out: Array) -> None:
        """Write values at positions ``(h, w)`` into ``out`` ``(h, w, C)``, where ``seen``."""
        height, width, channels = self.source.shape
        if self.flag is None:
            out[seen] = self.source[_nearest(y[seen], height), _nearest(x[seen], width)]
            return
        # One bad number in a map upsets some versions of remap, so every position is a real one.
        x = np.clip(np.where(seen, x, 0.0), 0, width - 1)
        y = np.clip(np.where(seen, y, 0.0), 0, height - 1)
        columns, rows = x[seen], y[seen]
        if max(np.ptp(columns), np.ptp(rows)) < _REMAP_LIMIT - 4 * _MARGIN:
            # Unseen positions may lie outside this crop; remap repeats its edge there.
            np.copyto(out, self._remap_crop(x, y, columns, rows), where=seen[..., None])
            return
        # A tile that gathers from all over a huge source: one crop after the other.
        values = np.empty((columns.size, channels), self.source.dtype)
        side = _REMAP_LIMIT // 2
        block = (rows // side).astype(np.intp) * (width // side + 1) + (columns // side).astype(np.intp)
        for index in np.unique(block):
            here = np.flatnonzero(block == index)
            for chosen in (here[start : start + side] for start in range(0, here.size, side)):
                bx, by = columns[chosen], rows[chosen]
                values[chosen] = self._remap_crop(bx[None], by[None], bx, by)[0]
        out[seen] = values

    def _remap_crop(self, x: Doubles, y: Doubles, columns: Doubles, rows: Doubles) -> Array:
        """Values at ``x, y``, from the part of the source that holds ``columns`` and ``rows``."""
        left, top = max(0, int(columns.min()) - _MARGIN), max(0, int(rows.min()) - _MARGIN)
        part = np.s_[top : int(rows.max()) + _MARGIN + 1, left : int(columns.max()) + _MARGIN + 1]
        crop = self.source[part]
        if self.missing is not None and self.missing[part].any():
            crop = _with_means(crop, self.missing[part])
        map_x, map_y = (x - left).astype(np.float32), (y - top).astype(np.float32)
        if self.with_alpha and crop.shape[2] > 1 and not _opaque(crop[..., -1]):
            return self._remap_premultiplied(crop, map_x, map_y)
        if crop.dtype.name in _OPENCV_TYPES:
            return self._remap(crop, map_x, map_y)
        return _cast(self._remap(crop.astype(self.wide), map_x, map_y), crop.dtype)

    def _remap_premultiplied(self, crop: Array, map_x: Floats, map_y: Floats) -> Array:
        kind = self.wide if crop.dtype.itemsize > 2 else np.float32
        work: Array = crop.astype(kind)
        np.multiply(work[..., :-1], work[..., -1:], out=work[..., :-1])
        found = self._remap(work, map_x, map_y)
        # Cubic and Lanczos ring: alpha may leave the range that the source has.
        opacity = np.clip(found[..., -1:], 0, work[..., -1].max())
        with np.errstate(divide="ignore", invalid="ignore"):
            colour = np.where(opacity > 0, found[..., :-1] / opacity, 0)
        return _cast(np.concatenate([colour, opacity], axis=2), crop.dtype)

    def _remap(self, crop: Array, map_x: Floats, map_y: Floats) -> Array:
        # remap takes at most four channels for most interpolations, and rounds positions to 1/32 px for two.
        count = crop.shape[2]
        step = next(step for step in (4, 3, 1) if count % step != 2)
        parts = [np.ascontiguousarray(crop[..., start : start + step]) for start in range(0, count, step)]
        found = [
            cv2.remap(part, map_x, map_y, self.flag or 0, borderMode=cv2.BORDER_REPLICATE) for part in parts
        ]
        return np.concatenate([values.reshape(*map_x.shape, -1) for values in found], axis=2)


def _nearest(positions: Doubles, length: int) -> npt.NDArray[np.intp]:
    """Indices of the pixels on which positions along an axis of ``length`` pixels are."""
    return np.clip(np.floor(positions + 0.5), 0, length - 1).astype(np.intp)


def _with_means(crop: Array, missing: Mask) -> Array:
    """A copy whose missing pixels hold the mean of those around them, for kernels that reach over them."""
    share = cv2.blur((~missing).astype(np.float64), _MEAN_WINDOW)[missing]
    out = crop.copy()
    for channel in range(crop.shape[2]):
        known = np.where(missing, 0, crop[..., channel]).astype(np.float64)
        mean = cv2.blur(known, _MEAN_WINDOW)[missing] / np.maximum(share, 1e-6)
        out[missing, channel] = _cast(mean, crop.dtype)
    return out


def _opaque(channel: Array) -> bool:
    full = np.iinfo(channel.dtype).max if channel.dtype.kind in "iu" else 1.0
    return bool(channel.min() >= full)
