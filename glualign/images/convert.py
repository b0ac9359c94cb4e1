"""The view of an image that the network and the pictures work on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from glualign.images.image import Image

# Rows converted at a time: the float intermediate of a whole 200-megapixel image would be 2.4 GB.
STRIP_PIXELS = 1 << 20


def to_rgb8(image: Image) -> npt.NDArray[np.uint8]:
    """Contiguous ``(H, W, 3)`` uint8 RGB.

    Grey is repeated, alpha is ignored, 16 bit is scaled by 255/65535 and float from 0..1 (clipped;
    values that are not finite count as 0). A palette is looked up.
    """
    pixels = image.pixels
    if image.palette is not None:
        table = np.frombuffer(image.palette.ljust(768, b"\0"), np.uint8)[:768].reshape(256, 3)
        return np.ascontiguousarray(table[pixels])
    height, width = image.size
    out = np.empty((height, width, 3), np.uint8)
    step = max(1, STRIP_PIXELS // width)
    for top in range(0, height, step):
        rows = pixels[top : top + step]
        colour = rows[..., None] if rows.ndim == 2 else rows[..., : 1 if image.channels == 2 else 3]
        out[top : top + step] = _to_uint8(colour)
    return out


def _to_uint8(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return np.asarray(values, np.uint8)
    if values.dtype == np.uint16:
        scaled = (values.astype(np.uint32) * 255 + 32767) // 65535
        return np.asarray(scaled, np.uint8)
    finite = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    return np.asarray(np.clip(finite, 0.0, 1.0) * 255.0 + 0.5, np.uint8)
