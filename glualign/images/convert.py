"""What the network and the pictures see of an image: 8-bit RGB."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from glualign.arrays import Array, Bytes, Doubles, Mask
from glualign.images.image import missing

if TYPE_CHECKING:
    from glualign.images.image import Image

STRIP_PIXELS = 1 << 20
"""Pixels converted at a time: the float intermediate of a whole 200-megapixel image would be 2.4 GB."""
_SAMPLE_PIXELS = 1 << 19
# Percentiles that become black and white: a few outliers (hot pixels, spikes) must not set the range.
_PERCENTILES = (0.5, 99.5)
# A 16-bit or float image that uses less of its range is stretched: a quarter leaves 64 of 256 levels.
_NARROW = 0.25
_OVERSHOOT = 0.05

Range = tuple[Doubles, Doubles]


def to_rgb8(image: Image) -> Bytes:
    """Contiguous ``(H, W, 3)`` uint8 RGB.

    Grey is repeated, alpha is ignored unless nothing else holds the picture, a palette is looked up. Of more
    bands, the first three are shown. 16 bit is scaled by 255/65535 and float from 0..1, but what
    uses little of that range or exceeds it, and every other type, is stretched (see `display_range`). Pixels
    without data continue their surroundings, so that their outline is no structure. 8-bit RGB is returned as
    it is, not as a copy: do not write to the result.
    """
    image = image.as_colours()
    height, width = image.size
    if image.pixels.dtype == np.uint8 and image.pixels.shape[2:] == (3,) and image.missing() is None:
        return np.ascontiguousarray(image.pixels)
    out = np.empty((height, width, 3), np.uint8)
    step = max(1, STRIP_PIXELS // width)
    channels, shown = _channels(image), display_range(image)
    for top in range(0, height, step):
        rows = _bands(image.pixels[top : top + step])[..., channels]
        out[top : top + step] = _to_uint8(rows, shown)
    hole = image.missing()
    if hole is not None and not hole.all():
        _continue_into(out, hole)
    return out


def display_range(image: Image) -> Range | None:
    """Values shown as black and white by each channel of `to_rgb8`; None: those of the type's full range.

    The range is measured (percentiles of a sample) for signed and 32-bit integers, for floats outside 0..1,
    and for 16 bit and floats that use less than a quarter of the full range.
    """
    if image.pixels.dtype == np.uint8:
        return None
    step = max(1, math.isqrt(image.height * image.width // _SAMPLE_PIXELS))
    pixels = _bands(image.pixels[::step, ::step])
    hole = missing(pixels, image.nodata)
    sample = (pixels if hole is None else pixels[~hole]).reshape(-1, pixels.shape[2])
    values = sample[:, _channels(image)].astype(np.float64)
    if not len(values):
        return None
    # Bands of unlike units each have a range; the channels of a colour share one.
    axis = 0 if image.extrasamples is not None and image.colours == 1 else None
    low, high = (np.atleast_1d(edge) for edge in np.percentile(values, _PERCENTILES, axis=axis))
    flat = high <= low
    low, high = (
        np.where(flat, np.min(values, axis=axis), low),
        np.where(flat, np.max(values, axis=axis), high),
    )
    full = {"uint16": 65535.0, "float32": 1.0, "float64": 1.0}.get(image.pixels.dtype.name)
    inside = full and min(low) >= -_OVERSHOOT * full and max(high) <= (1 + _OVERSHOOT) * full
    if full and inside and max(high - low) >= _NARROW * full:
        return None
    return low, high


def display_notes(image: Image) -> tuple[str, ...]:
    """What a user should know of how `to_rgb8` shows the image, a short sentence each."""
    notes = []
    if _alpha_only(image):
        notes.append("its colours are all the same: matched by its alpha channel")
    elif image.extrasamples is not None and image.channels > len(_channels(image)):
        notes.append(
            f"has {image.channels} bands: matched by the first {len(_channels(image))}, all are kept"
        )
    shown = display_range(image)
    if shown is not None:
        ranges = ", ".join(f"{low:.6g} to {high:.6g}" for low, high in zip(*shown, strict=True))
        notes.append(f"values {ranges} are stretched for matching and pictures; results keep their values")
    return tuple(notes)


def _bands(pixels: Array) -> Array:
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _channels(image: Image) -> list[int]:
    """Channels that are shown, one or three."""
    if _alpha_only(image):
        return [image.channels - 1]
    colours = image.channels if image.extrasamples is not None else image.colours
    return [0, 1, 2] if colours >= 3 else [0]


def _alpha_only(image: Image) -> bool:
    """Whether all pixels have one colour and differ in alpha: shapes cut out of nothing."""
    if not image.has_alpha:
        return False
    pixels = image.pixels
    same = (pixels[0, 0, :-1] == pixels[:: max(1, image.height // 64)][..., :-1]).all()
    return bool(same and (pixels[0, 0, :-1] == pixels[..., :-1]).all() and np.ptp(pixels[..., -1]) > 0)


def _to_uint8(values: Array, shown: Range | None) -> Bytes:
    if values.dtype == np.uint8:
        return np.asarray(values, np.uint8)
    if shown is None and values.dtype == np.uint16:
        scaled = (values.astype(np.uint32) * 255 + 32767) // 65535
        return np.asarray(scaled, np.uint8)
    low, high = (np.zeros(1), np.ones(1)) if shown is None else shown
    finite = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    unit = (finite - low) / np.where(high > low, high - low, 1.0)
    return np.asarray(np.clip(unit, 0.0, 1.0) * 255.0 + 0.5, np.uint8)


def _continue_into(rgb: Bytes, hole: Mask) -> None:
    """Fill ``hole`` with a smooth continuation of what surrounds it, in place."""
    import cv2

    from glualign.geometry import fill_unknown

    rgb[hole] = 0
    height, width = hole.shape
    scale = min(1.0, 512 / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    share = cv2.resize((~hole).astype(np.float32), size, interpolation=cv2.INTER_AREA)[..., None]
    colour = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA) / np.maximum(share, 1e-6)
    filled = fill_unknown(colour, share[..., 0] > 0)
    smooth = cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR)
    rgb[hole] = np.clip(smooth[hole] + 0.5, 0, 255).astype(np.uint8)
