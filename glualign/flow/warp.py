"""Warping: the source drawn on the target grid, for every pixel type and size, in bounded memory."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from glualign.arrays import Array, Doubles, Mask
from glualign.errors import FlowError
from glualign.flow.field import Flow
from glualign.geometry import EDGE_TOLERANCE, inside, positions

Interpolation = Literal["nearest", "linear", "cubic", "lanczos"]

_FLAGS = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}
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
    alpha = source.shape[2] in (2, 4) if alpha is None else alpha
    sampler = _Sampler(source, missing, alpha, _FLAGS[interpolation])
    height, width = flow.size
    warped = np.zeros((height, width, source.shape[2]), source.dtype)
    valid = np.empty((height, width), np.bool_)
    tile_width = min(width, _TILE_WIDTH)
    step = max(1, min(_TILE_PIXELS // tile_width, _REMAP_LIMIT))
    for top in range(0, height, step):
        for left in range(0, width, tile_width):
            tile = np.s_[top : top + step, left : left + tile_width]
            sampler.read(*positions(flow.data[tile], top, left), warped[tile], valid[tile])
    return warped.reshape(height, width, *pixels.shape[2:]), valid


class _Sampler(NamedTuple):
    """Reads one source at many positions: gathers for nearest, `cv2.remap` on crops for the rest."""

    source: Array
    missing: Mask | None
    with_alpha: bool
    flag: int

    def read(self, x: Doubles, y: Doubles, out: Array, valid: Mask) -> None:
        """Write values at positions ``(h, w)`` into ``out`` ``(h, w, C)``, and where there is one.

        A position is valid in the source and between pixels that all hold data.
        """
        height, width, channels = self.source.shape
        seen = inside(x, y, (height, width))
        if self.missing is not None:
            reach = 0.0 if self.flag == cv2.INTER_NEAREST else 0.5 - EDGE_TOLERANCE
            # The pixels on either side; the same one where the position is on it.
            above, below = (_nearest(y[seen] + side, height) for side in (-reach, reach))
            before, behind = (_nearest(x[seen] + side, width) for side in (-reach, reach))
            sides = [self.missing[row, column] for row in (above, below) for column in (before, behind)]
            seen[seen] = ~np.any(sides, axis=0)
        valid[:] = seen
        columns, rows = np.clip(x[seen], 0, width - 1), np.clip(y[seen], 0, height - 1)
        if not columns.size:
            return
        if self.flag == cv2.INTER_NEAREST:
            out[seen] = self.source[_nearest(rows, height), _nearest(columns, width)]
            return
        if max(np.ptp(columns), np.ptp(rows)) < _REMAP_LIMIT - 4 * _MARGIN:
            # Unseen positions become real ones: a bad number in a map upsets some versions of remap.
            map_x, map_y = np.full(x.shape, columns[0]), np.full(y.shape, rows[0])
            map_x[seen], map_y[seen] = columns, rows
            np.copyto(out, self._interpolated(map_x, map_y), where=seen[..., None])
            return
        # A tile that gathers from all over a huge source: one crop after the other.
        values = np.empty((columns.size, channels), self.source.dtype)
        side = _REMAP_LIMIT // 2
        block = (rows // side).astype(np.intp) * (width // side + 1) + (columns // side).astype(np.intp)
        for index in np.unique(block):
            here = np.flatnonzero(block == index)
            for chosen in (here[start : start + side] for start in range(0, here.size, side)):
                values[chosen] = self._interpolated(columns[None, chosen], rows[None, chosen])[0]
        out[seen] = values

    def _interpolated(self, x: Doubles, y: Doubles) -> Array:
        """Values ``(h, w, C)`` at positions in the source that are less than remap's limit apart."""
        left, top = max(0, int(x.min()) - _MARGIN), max(0, int(y.min()) - _MARGIN)
        place = np.s_[top : int(y.max()) + _MARGIN + 1, left : int(x.max()) + _MARGIN + 1]
        crop, count = self.source[place], self.source.shape[2]
        if self.missing is not None and self.missing[place].any():
            crop = _with_means(crop, self.missing[place])
        kind, map_x, map_y = crop.dtype, (x - left).astype(np.float32), (y - top).astype(np.float32)
        # OpenCV 5.0 gets cubic interpolation of float64 wrong, even at whole pixels.
        wide = np.float32 if kind.itemsize < 4 or self.flag == cv2.INTER_CUBIC else np.float64
        full = np.iinfo(kind).max if kind.kind in "iu" else 1.0
        with_alpha = self.with_alpha and count > 1 and crop[..., -1].min() < full
        if with_alpha:
            crop = crop.astype(wide)
            crop[..., :-1] *= crop[..., -1:]
        elif kind.name not in _OPENCV_TYPES:
            crop = crop.astype(wide)
        # remap takes at most four channels for most interpolations, and rounds positions to 1/32 px for two.
        step = next(step for step in (4, 3, 1) if count % step != 2)
        found = np.empty((*x.shape, count), crop.dtype)
        for at in range(0, count, step):
            part = np.ascontiguousarray(crop[..., at : at + step])
            values = cv2.remap(part, map_x, map_y, self.flag, borderMode=cv2.BORDER_REPLICATE)
            found[..., at : at + step] = values.reshape(*x.shape, -1)
        if with_alpha:
            # Cubic and Lanczos ring: alpha may leave the range that the source has.
            opacity = found[..., -1:] = np.clip(found[..., -1:], 0, crop[..., -1].max())
            with np.errstate(divide="ignore", invalid="ignore"):
                found[..., :-1] = np.where(opacity > 0, found[..., :-1] / opacity, 0)
        return found if found.dtype == kind else _cast(found, kind)


def _cast(values: Array, kind: np.dtype[Any]) -> Array:
    """Computed values as ``kind``: integers rounded and kept in range, bool by half."""
    if kind == np.bool_:
        return np.asarray(values >= 0.5)
    if kind.kind in "iu":
        values = np.clip(np.rint(values), np.iinfo(kind).min, np.iinfo(kind).max)
    return values.astype(kind)


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
