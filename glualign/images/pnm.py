"""16-bit PGM and PPM, which Pillow reduces to 8 bit and OpenCV does not scale to the full range."""

from __future__ import annotations

import re
from typing import BinaryIO

import numpy as np

from glualign.arrays import Array
from glualign.errors import ImageError
from glualign.images import pillow
from glualign.images.image import Image

# Magic, width, height, maximum; comments run from # to the end of the line; one white space ends it.
_GAP = rb"(?:\s|#[^\n]*\n)+"
_HEADER = re.compile(rb"P([2356])" + (_GAP + rb"(\d{1,10})") * 3 + rb"\s")
_HEADER_BYTES = 4096


def read(stream: BinaryIO, page: int, max_pixels: int | None) -> Image:
    """Read a PBM, PGM or PPM; a maximum above 255 is scaled to 65535.

    Raises:
        ImageError: the header is broken, the file is too short, or it is plain text of more than 8 bit.
    """
    match = _HEADER.match(stream.read(_HEADER_BYTES))
    stream.seek(0)
    if match is None or int(match[4]) <= 255:
        return pillow.decode("PPM", stream, page, max_pixels)
    kind, width, height, maximum = (int(group) for group in match.groups())
    pillow.check_size(width, height, max_pixels)
    if kind in (2, 3):
        raise ImageError("plain-text PGM/PPM of more than 8 bit is not supported; save it as binary")
    if maximum > 65535:
        raise ImageError(f"the PGM/PPM maximum {maximum} is outside 1 to 65535")
    shape = (height, width) if kind == 5 else (height, width, 3)
    stream.seek(match.end())
    pixels = np.frombuffer(stream.read(2 * int(np.prod(shape))), ">u2").astype(np.uint32).reshape(shape)
    return Image(np.minimum((pixels * 65535 + maximum // 2) // maximum, 65535).astype(np.uint16))


def encode(pixels: Array) -> bytes:
    """Binary PGM (grey) or PPM (RGB) of uint8 or uint16 pixels."""
    magic = b"P5" if pixels.ndim == 2 else b"P6"
    maximum = 255 if pixels.dtype == np.uint8 else 65535
    body = pixels if pixels.dtype == np.uint8 else pixels.astype(">u2")
    return b"%s\n%d %d\n%d\n" % (magic, pixels.shape[1], pixels.shape[0], maximum) + body.tobytes()
