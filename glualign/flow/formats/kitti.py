"""KITTI's 16-bit PNG: red = u * 64 + 2^15, green = v * 64 + 2^15, blue = 1 where the flow is known.

Steps of 1/64 px within -512 to 511.98 px; what lies beyond is refused rather than clipped. Some tools write
255 in blue where the flow is known.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from glualign.errors import FlowError
from glualign.flow.field import Flow
from glualign.flow.formats.checks import DIRECTION

_SCALE, _OFFSET = 64.0, 32768.0


def read(path: Path, max_pixels: int | None) -> Flow:
    """Read a KITTI flow."""
    from glualign.images import read_image

    pixels = read_image(path, apply_orientation=False, max_pixels=max_pixels).pixels
    if pixels.dtype != np.uint16 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise FlowError("is a picture, not a KITTI flow (a flow is 16-bit RGB); use a .flo or .npy file")
    known = pixels[..., 2]
    if not ((known == 0) | (known == known.max())).all() or known.max() not in (0, 1, 255):
        raise FlowError("is a 16-bit picture, not a KITTI flow (its blue channel is not 0 or 1)")
    data = (pixels[..., :2].astype(np.float32) - _OFFSET) / np.float32(_SCALE)
    data[known == 0] = np.nan
    return Flow(data)


def write(path: Path, flow: Flow) -> None:
    """Write a KITTI flow, rounded to 1/64 px; one that does not fit is refused."""
    from glualign.images.png import encode

    known = flow.known
    values = np.rint(flow.data[known].astype(np.float64) * _SCALE + _OFFSET)
    if values.size and (values.min() < 0 or values.max() > 65535):
        largest = float(np.abs(flow.data[known]).max())
        raise FlowError(f"KITTI .png holds flow within 512 px, this one reaches {largest:.1f} px; use .flo")
    pixels = np.zeros((*flow.size, 3), np.uint16)
    pixels[known, :2] = values.astype(np.uint16)
    pixels[..., 2] = known
    path.write_bytes(b"".join(encode(pixels, None, None, f"Optical flow, {DIRECTION}")))
