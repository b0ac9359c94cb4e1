"""16-bit PGM and PPM, which Pillow reduces to 8 bit and OpenCV does not scale to the full range."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from glualign.errors import ImageError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

# Magic, width, height, maximum; comments run from # to the end of the line; one white space ends it.
_GAP = rb"(?:\s|#[^\n]*\n)+"
_HEADER = re.compile(rb"P([2356])" + (_GAP + rb"(\d{1,10})") * 3 + rb"\s")
_HEADER_BYTES = 4096


def read_header(head: bytes) -> tuple[int, int, int, int, int] | None:
    """``(kind, width, height, maximum, data offset)`` of a PGM/PPM, or None when it is not one."""
    match = _HEADER.match(head[:_HEADER_BYTES])
    if match is None:
        return None
    kind, width, height, maximum = (int(group) for group in match.groups())
    return kind, width, height, maximum, match.end()


def decode16(data: bytes, path: Path) -> npt.NDArray[np.uint16]:
    """Pixels ``(H, W)`` or ``(H, W, 3)`` of a PGM/PPM with a maximum above 255, scaled to 0..65535.

    Raises:
        ImageError: the header is broken, the file is too short, or it is the plain-text variety.
    """
    header = read_header(data)
    if header is None:
        raise ImageError(f"{path}: the PGM/PPM header is broken")
    kind, width, height, maximum, offset = header
    if kind in (2, 3):
        raise ImageError(f"{path}: plain-text PGM/PPM of more than 8 bit is not supported; save it as binary")
    if not 0 < maximum < 65536:
        raise ImageError(f"{path}: the PGM/PPM maximum {maximum} is outside 1 to 65535")
    channels = 3 if kind == 6 else 1
    count = width * height * channels
    if len(data) - offset < 2 * count:
        raise ImageError(
            f"{path}: the file is truncated ({len(data) - offset} of {2 * count} bytes of pixels)"
        )
    pixels = np.frombuffer(data, ">u2", count, offset).astype(np.uint16)
    if maximum != 65535:
        scaled = (pixels.astype(np.uint32) * 65535 + maximum // 2) // maximum
        pixels = np.minimum(scaled, 65535).astype(np.uint16)
    return pixels.reshape((height, width, 3) if channels == 3 else (height, width))


def encode(pixels: npt.NDArray[Any]) -> bytes:
    """Binary PGM (grey) or PPM (RGB) of uint8 or uint16 pixels."""
    magic = b"P5" if pixels.ndim == 2 else b"P6"
    maximum = 255 if pixels.dtype == np.uint8 else 65535
    body = pixels if pixels.dtype == np.uint8 else pixels.astype(">u2")
    return b"%s\n%d %d\n%d\n" % (magic, pixels.shape[1], pixels.shape[0], maximum) + body.tobytes()
