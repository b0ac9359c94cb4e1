"""What is seen of an image: 8-bit RGB of any depth, channels and range, for the network and for people."""

from __future__ import annotations

import math
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from glualign.arrays import Bytes, Doubles, Mask
from glualign.geometry import fill_unknown, strips
from glualign.images.image import Image

Sample = TypeVar("Sample", np.uint8, np.float32)
_SAMPLE_PIXELS = 1 << 19
# Percentiles that become black and white: a few outliers (hot pixels, spikes) must not set the range.
_PERCENTILES = (0.5, 99.5)
# A 16-bit or float image that uses less of its range is stretched: a quarter leaves 64 of 256 levels.
_NARROW = 0.25
_OVERSHOOT = 0.05
_FULL_RANGE = {"uint16": 65535.0, "float32": 1.0, "float64": 1.0}


def reduce_image(image: npt.NDArray[Sample], max_side: int | None) -> npt.NDArray[Sample]:
    """The image ``(H, W[, C])`` with its longer side at most ``max_side``, by area averaging."""
    height, width = image.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return image
    scale = max_side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), image.dtype)


def to_rgb8(image: Image) -> Bytes:
    """Contiguous ``(H, W, 3)`` uint8 RGB: what the network and the pictures see of an image.

    Grey is repeated, alpha is ignored unless nothing else holds the picture, a palette is looked up. Of more
    bands, the first three are shown. 16 bit is scaled by 255/65535 and float from 0..1, but what
    uses less than a quarter of that range or exceeds it, and every other type, is stretched. Pixels without
    data continue their surroundings, so that their outline is no structure. 8-bit RGB is returned as it is,
    not as a copy: do not write to the result.
    """
    image = image.as_colours()
    channels = _shown(image)
    hole = _without_data(image, channels)
    if image.pixels.dtype == np.uint8 and image.pixels.shape[2:] == (3,) and hole is None:
        return np.ascontiguousarray(image.pixels)
    out = np.empty((*image.size, 3), np.uint8)
    stretched = _stretched(image, channels, hole)
    low, high = stretched or (np.zeros(1), _FULL_RANGE.get(image.pixels.dtype.name, 1.0))
    for top, bottom in strips(image.size):
        rows = image.pixels[top:bottom].reshape(-1, image.width, image.channels)[..., channels]
        if rows.dtype != np.uint8:
            finite = np.nan_to_num(rows.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
            unit = (finite - low) / np.where(high > low, high - low, 1.0)
            rows = np.clip(unit, 0.0, 1.0) * 255.0 + 0.5
        out[top:bottom] = rows.astype(np.uint8)
    if hole is not None and not hole.all():
        _continue_into(out, hole)
    return out


def _shown(image: Image) -> list[int]:
    """Channels that are shown, one or three; alpha where it holds shapes cut out of nothing."""
    colours = image.channels if image.extrasamples is not None else image.colours
    channels = [0, 1, 2] if colours >= 3 else [0]
    if image.has_alpha:
        pixels, colour = image.pixels, image.pixels[0, 0, :-1]
        same = (colour == pixels[:: max(1, image.height // 64)][..., :-1]).all()
        if same and (colour == pixels[..., :-1]).all() and np.ptp(pixels[..., -1]) > 0:
            channels = [image.channels - 1]
    return channels


def _without_data(image: Image, channels: list[int]) -> Mask | None:
    """``(H, W)`` bool, true where a pixel is missing or lacks one of these channels; None: nowhere."""
    if image.lacking is None:
        return image.missing
    found = np.asarray(image.lacking[..., channels].any(axis=2))
    if image.missing is not None:
        found |= image.missing
    return found if found.any() else None


def _stretched(image: Image, channels: list[int], hole: Mask | None) -> tuple[Doubles, Doubles] | None:
    """Values that are black and white, percentiles of a sample outside ``hole``; None for the full range."""
    if image.pixels.dtype == np.uint8:
        return None
    step = max(1, math.isqrt(image.height * image.width // _SAMPLE_PIXELS))
    bands = image.pixels.reshape(*image.size, -1)[::step, ::step]
    sample = bands.reshape(-1, image.channels) if hole is None else bands[~hole[::step, ::step]]
    values = sample[:, channels].astype(np.float64)
    if not len(values):
        return None
    # Bands of unlike units each have a range; the channels of a colour share one.
    axis = 0 if image.extrasamples is not None and image.colours == 1 else None
    low, high = (np.atleast_1d(edge) for edge in np.percentile(values, _PERCENTILES, axis=axis))
    least, most = np.min(values, axis=axis), np.max(values, axis=axis)
    low, high = np.where(high <= low, least, low), np.where(high <= low, most, high)
    full = _FULL_RANGE.get(image.pixels.dtype.name, math.nan)
    fits = min(low) >= -_OVERSHOOT * full and max(high) <= (1 + _OVERSHOOT) * full
    return None if fits and max(high - low) >= _NARROW * full else (low, high)


def display_notes(image: Image) -> tuple[str, ...]:
    """What a user should know of how `to_rgb8` shows the image, a short sentence each."""
    image, notes = image.as_colours(), list[str]()
    shown = _shown(image)
    stretched = _stretched(image, shown, _without_data(image, shown))
    if image.has_alpha and shown == [image.channels - 1]:
        notes.append("its colours are all the same: matched by its alpha channel")
    elif image.extrasamples is not None and image.channels > len(shown):
        notes.append(f"has {image.channels} bands: matched by the first {len(shown)}, all are kept")
    if stretched is not None:
        ranges = ", ".join(f"{low:.6g} to {high:.6g}" for low, high in zip(*stretched, strict=True))
        notes.append(f"values {ranges} are stretched for matching and pictures; results keep their values")
    return tuple(notes)


def _continue_into(rgb: Bytes, hole: Mask) -> None:
    """Fill ``hole`` with a smooth continuation of what surrounds it, in place."""
    rgb[hole] = 0
    share = reduce_image((~hole).astype(np.float32), 512)[..., None]
    colour = reduce_image(rgb, 512) / np.maximum(share, 1e-6)
    filled = fill_unknown(colour, share[..., 0] > 0)
    smooth = cv2.resize(filled, hole.shape[::-1], interpolation=cv2.INTER_LINEAR)
    rgb[hole] = np.clip(smooth[hole] + 0.5, 0, 255).astype(np.uint8)
