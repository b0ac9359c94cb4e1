"""Warping: the source drawn on the target grid, for every pixel type and size, in bounded memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import cv2
import numpy as np
import numpy.typing as npt

from glualign.errors import FlowError
from glualign.flow.field import Flow, FlowRows
from glualign.geometry import EDGE_TOLERANCE, inside, positions

Interpolation = Literal["nearest", "linear", "cubic", "lanczos"]

# cv2.remap refuses images and maps of 32,767 pixels a side and more.
_REMAP_LIMIT = 32_000
# Source pixels needed on each side of a position: 4 for Lanczos over 8 x 8.
_MARGIN = 5
_TILE_WIDTH = 4096
_TILE_PIXELS = 1 << 20
# Side of the window whose mean stands for pixels without data: wider than the widest kernel.
_MEAN_WINDOW = 9
_OPENCV_TYPES = ("uint8", "uint16", "int16", "float32")


def warp(
    pixels: npt.NDArray[Any],
    flow: Flow | FlowRows,
    *,
    interpolation: Interpolation = "linear",
    border: float | Sequence[float] = 0,
    alpha: bool | None = None,
    missing: npt.NDArray[np.bool_] | None = None,
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Draw ``pixels`` (the source) on the target grid: ``warped[y, x] = pixels(x + u, y + v)``.

    Works in tiles, so that images of any side length and hundreds of megapixels need little more
    memory than source and result. Colours are weighted by alpha while interpolating: transparent pixels
    leave no dark fringe. Pixels without data are never mixed into others.

    Args:
        pixels: ``(H, W)`` or ``(H, W, C)``, any numeric type or bool.
        flow: target -> source; its source size, where known, must be the size of ``pixels``.
        interpolation: ``nearest`` keeps labels as they are.
        border: value of pixels that show nothing of the source: one number, or one per channel. Alpha
            is 0 there unless one number per channel is given.
        alpha: whether the last channel is alpha; None: it is for 2 and 4 channels.
        missing: ``(H, W)`` bool, true where ``pixels`` holds no data: what lies between such a pixel and
            others (for ``nearest``: on it) is not valid.

    Returns:
        ``(warped, valid)``: ``(H_target, W_target[, C])`` of the type of ``pixels``, and bool
        ``(H_target, W_target)``, false where the flow is unknown, leaves the source or meets missing pixels.

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
    channels = source.shape[2]
    fill = _fill(border, channels, alpha, source.dtype)
    with_alpha = channels in (2, 4) if alpha is None else alpha
    sampler = _Sampler(source, interpolation, with_alpha, missing)
    height, width = flow.size
    warped = np.empty((height, width, channels), source.dtype)
    valid = np.empty((height, width), np.bool_)
    tile_width = min(width, _TILE_WIDTH)
    step = max(1, min(_TILE_PIXELS // tile_width, _REMAP_LIMIT))
    for top in range(0, height, step):
        rows = flow.rows(top, min(top + step, height))
        for left in range(0, width, tile_width):
            tile = np.s_[top : top + len(rows), left : left + tile_width]
            x, y = positions(rows[:, left : left + tile_width], top, left)
            seen = sampler.readable(x, y)
            valid[tile] = seen
            warped[tile] = sampler.read(x, y, seen, fill)
    return warped.reshape(height, width, *pixels.shape[2:]), valid


def _fill(
    border: float | Sequence[float], channels: int, alpha: bool | None, dtype: np.dtype[Any]
) -> npt.NDArray[Any]:
    values = np.atleast_1d(np.asarray(border, np.float64))
    if values.size == 1 and channels > 1:
        values = np.repeat(values, channels)
        if alpha or (alpha is None and channels in (2, 4)):
            values[-1] = 0
    if values.size != channels:
        raise FlowError(f"the border has {values.size} values, the image {channels} channels")
    return _cast(values, dtype)


def _cast(values: npt.NDArray[Any], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Computed values as ``dtype``: integers rounded and kept in range, bool by half."""
    if values.dtype == dtype:
        return values
    if dtype == np.bool_:
        return np.asarray(values >= 0.5)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return np.asarray(np.clip(np.rint(values), limits.min, limits.max).astype(dtype))
    return np.asarray(values.astype(dtype))


class _Sampler:
    """Reads one source at many positions: gathers for nearest, `cv2.remap` on crops for the rest."""

    def __init__(
        self,
        source: npt.NDArray[Any],
        interpolation: Interpolation,
        with_alpha: bool,
        missing: npt.NDArray[np.bool_] | None,
    ) -> None:
        self.source = source
        self.missing = missing
        self.nearest = interpolation == "nearest"
        self.with_alpha = with_alpha
        self.flag = {
            "nearest": cv2.INTER_NEAREST,
            "linear": cv2.INTER_LINEAR,
            "cubic": cv2.INTER_CUBIC,
            "lanczos": cv2.INTER_LANCZOS4,
        }[interpolation]
        # OpenCV 5.0 gets cubic interpolation of float64 wrong, even at whole pixels.
        self.wide = np.float32 if interpolation == "cubic" else np.float64

    def readable(self, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Whether positions ``(h, w)`` lie in the source and between pixels that all hold data."""
        height, width, _ = self.source.shape
        seen = inside(x, y, (height, width))
        if self.missing is None or not seen.any():
            return seen
        reach = 0.0 if self.nearest else 0.5 - EDGE_TOLERANCE
        columns, rows = x[seen], y[seen]
        # The pixels on either side; the same one where the position is on it.
        sides = [
            (
                np.clip(np.floor(rows + 0.5 + dy), 0, height - 1).astype(np.intp),
                np.clip(np.floor(columns + 0.5 + dx), 0, width - 1).astype(np.intp),
            )
            for dy in (-reach, reach)
            for dx in (-reach, reach)
        ]
        seen[seen] = ~np.any([self.missing[row, column] for row, column in sides], axis=0)
        return seen

    def read(
        self,
        x: npt.NDArray[np.float64],
        y: npt.NDArray[np.float64],
        seen: npt.NDArray[np.bool_],
        fill: npt.NDArray[Any],
    ) -> npt.NDArray[Any]:
        """Values ``(h, w, C)`` at positions ``(h, w)``; ``fill`` where not ``seen``."""
        height, width, channels = self.source.shape
        out = np.empty((*x.shape, channels), self.source.dtype)
        if not seen.all():
            out[...] = fill
        if not seen.any():
            return out
        # One bad number in a map upsets some versions of remap, so every position is a real one.
        x = np.clip(np.where(seen, x, 0.0), 0, width - 1)
        y = np.clip(np.where(seen, y, 0.0), 0, height - 1)
        if self.nearest:
            found = self.source[np.floor(y + 0.5).astype(np.intp), np.floor(x + 0.5).astype(np.intp)]
            np.copyto(out, found, where=seen[..., None])
            return out
        columns, rows = x[seen], y[seen]
        if max(np.ptp(columns), np.ptp(rows)) < _REMAP_LIMIT - 4 * _MARGIN:
            # Unseen positions may lie outside this crop; remap repeats its edge there, and `fill` covers it.
            found = self._remap_crop(x, y, (columns.min(), columns.max(), rows.min(), rows.max()))
            np.copyto(out, found, where=seen[..., None])
            return out
        # A tile that gathers from all over a huge source: one crop after the other.
        values = np.empty((columns.size, channels), self.source.dtype)
        side = _REMAP_LIMIT // 2
        block = (rows // side).astype(np.intp) * (width // side + 1) + (columns // side).astype(np.intp)
        for index in np.unique(block):
            here = np.flatnonzero(block == index)
            for start in range(0, here.size, side):
                chosen = here[start : start + side]
                bx, by = columns[chosen], rows[chosen]
                values[chosen] = self._remap_crop(
                    bx[None], by[None], (bx.min(), bx.max(), by.min(), by.max())
                )[0]
        out[seen] = values
        return out

    def _remap_crop(
        self,
        x: npt.NDArray[np.float64],
        y: npt.NDArray[np.float64],
        box: tuple[float, float, float, float],
    ) -> npt.NDArray[Any]:
        height, width, _ = self.source.shape
        left, right = max(0, int(box[0]) - _MARGIN), min(width, int(box[1]) + _MARGIN + 1)
        top, bottom = max(0, int(box[2]) - _MARGIN), min(height, int(box[3]) + _MARGIN + 1)
        crop = self.source[top:bottom, left:right]
        if self.missing is not None and self.missing[top:bottom, left:right].any():
            crop = _with_means(crop, self.missing[top:bottom, left:right])
        map_x, map_y = (x - left).astype(np.float32), (y - top).astype(np.float32)
        if self.with_alpha and crop.shape[2] > 1 and not _opaque(crop[..., -1]):
            return self._remap_premultiplied(crop, map_x, map_y)
        if crop.dtype.name in _OPENCV_TYPES:
            return self._remap(crop, map_x, map_y)
        return _cast(self._remap(crop.astype(self.wide), map_x, map_y), crop.dtype)

    def _remap_premultiplied(
        self, crop: npt.NDArray[Any], map_x: npt.NDArray[np.float32], map_y: npt.NDArray[np.float32]
    ) -> npt.NDArray[Any]:
        kind = self.wide if crop.dtype.itemsize > 2 else np.float32
        work: npt.NDArray[Any] = crop.astype(kind)
        np.multiply(work[..., :-1], work[..., -1:], out=work[..., :-1])
        found = self._remap(work, map_x, map_y)
        # Cubic and Lanczos ring: alpha may leave the range that the source has.
        opacity = np.clip(found[..., -1:], 0, work[..., -1].max())
        with np.errstate(divide="ignore", invalid="ignore"):
            colour = np.where(opacity > 0, found[..., :-1] / opacity, 0)
        return _cast(np.concatenate([colour, opacity], axis=2), crop.dtype)

    def _remap(
        self, crop: npt.NDArray[Any], map_x: npt.NDArray[np.float32], map_y: npt.NDArray[np.float32]
    ) -> npt.NDArray[Any]:
        # remap takes at most four channels for most interpolations, and rounds positions to 1/32 px for two.
        count = crop.shape[2]
        step = next(step for step in (4, 3, 1) if count % step != 2)
        found = [
            cv2.remap(
                np.ascontiguousarray(crop[..., start : start + step]),
                map_x,
                map_y,
                self.flag,
                borderMode=cv2.BORDER_REPLICATE,
            ).reshape(*map_x.shape, -1)
            for start in range(0, count, step)
        ]
        return found[0] if len(found) == 1 else np.concatenate(found, axis=2)


def _with_means(crop: npt.NDArray[Any], missing: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """A copy whose missing pixels hold the mean of those around them, for kernels that reach over them."""
    window = (_MEAN_WINDOW, _MEAN_WINDOW)
    share = cv2.blur((~missing).astype(np.float64), window)[missing]
    out = crop.copy()
    for channel in range(crop.shape[2]):
        known = np.where(missing, 0, crop[..., channel]).astype(np.float64)
        mean = cv2.blur(known, window)[missing] / np.maximum(share, 1e-6)
        out[missing, channel] = _cast(mean, crop.dtype)
    return out


def _full_scale(dtype: np.dtype[Any]) -> float:
    return float(np.iinfo(dtype).max) if dtype.kind in "iu" else 1.0


def _opaque(channel: npt.NDArray[Any]) -> bool:
    return bool(channel.min() >= _full_scale(channel.dtype))
