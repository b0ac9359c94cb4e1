"""Writing TIFF of every depth with its profile and EXIF.

Pillow writes no 16-bit colour and OpenCV no profile, so the file is laid out here: deflate strips with
the horizontal predictor, then one directory.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from glualign.errors import ImageError
from glualign.images.exif import EXIF_IFD, ORIENTATION, PREFIX, orientation
from glualign.images.tiff import (
    BITS,
    CARRIED_TAGS,
    COMPRESSION,
    EXTRA_SAMPLES,
    GPS_IFD,
    HEIGHT,
    ICC_PROFILE,
    PHOTOMETRIC,
    SAMPLE_FORMAT,
    SAMPLES,
    STRIP_COUNTS,
    STRIP_OFFSETS,
    WIDTH,
)

if TYPE_CHECKING:
    import numpy.typing as npt

ROWS_PER_STRIP, PLANAR_CONFIGURATION, PREDICTOR = 278, 284, 317
_STRIP_BYTES = 1 << 20
_CLASSIC_LIMIT = 2**32 - 2**20


def encode(pixels: npt.NDArray[Any], icc: bytes | None, exif: bytes | None) -> list[bytes]:
    """A TIFF of ``(H, W[, C])`` uint8, uint16 or float32 pixels, as parts to be written one after the other.

    Raises:
        ImageError: the compressed pixels exceed the 4 GiB of a classic TIFF.
    """
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    rows_per_strip = max(1, _STRIP_BYTES // (width * channels * pixels.itemsize))
    strips = [
        _strip(pixels[top : top + rows_per_strip], channels) for top in range(0, height, rows_per_strip)
    ]
    counts = [len(strip) for strip in strips]
    directory_offset = 8 + sum(counts) + (sum(counts) & 1)
    if directory_offset > _CLASSIC_LIMIT:
        raise ImageError("a TIFF holds at most 4 GiB; write .png, or split the image")
    offsets = [8 + sum_before for sum_before in np.concatenate([[0], np.cumsum(counts)[:-1]]).tolist()]
    padding = b"\0" if sum(counts) & 1 else b""
    directory = _directory(pixels, channels, rows_per_strip, offsets, counts, directory_offset, icc, exif)
    return [b"II*\0" + struct.pack("<I", directory_offset), *strips, padding, directory]


def _strip(rows: npt.NDArray[Any], channels: int) -> bytes:
    """Deflated rows; integers as differences to the pixel on the left (TIFF 6.0, section 14)."""
    if rows.dtype.kind == "u":
        flat = rows.reshape(rows.shape[0], rows.shape[1], channels)
        rows = np.concatenate([flat[:, :1], flat[:, 1:] - flat[:, :-1]], axis=1)
    return zlib.compress(np.ascontiguousarray(rows).astype(rows.dtype.newbyteorder("<")).tobytes(), 4)


def _directory(
    pixels: npt.NDArray[Any],
    channels: int,
    rows_per_strip: int,
    offsets: list[int],
    counts: list[int],
    position: int,
    icc: bytes | None,
    exif: bytes | None,
) -> bytes:
    from PIL import Image as PillowImage
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    directory = ImageFileDirectory_v2()
    if exif:
        carried = PillowImage.Exif()
        carried.load(PREFIX + exif)
        for tag in CARRIED_TAGS:
            if tag in carried:
                directory[tag] = dict(carried.get_ifd(tag)) if tag in (EXIF_IFD, GPS_IFD) else carried[tag]
                if tag in (EXIF_IFD, GPS_IFD):
                    directory.tagtype[tag] = 4
    height, width = pixels.shape[:2]
    directory[WIDTH], directory[HEIGHT] = width, height
    directory[BITS] = (8 * pixels.itemsize,) * channels
    directory[COMPRESSION] = 8
    directory[PHOTOMETRIC] = 2 if channels >= 3 else 1
    directory[SAMPLES] = channels
    directory[ROWS_PER_STRIP] = rows_per_strip
    directory[PLANAR_CONFIGURATION] = 1
    directory[PREDICTOR] = 2 if pixels.dtype.kind == "u" else 1
    directory[SAMPLE_FORMAT] = (1 if pixels.dtype.kind == "u" else 3,) * channels
    directory[ORIENTATION] = orientation(exif)
    if channels in (2, 4):
        directory[EXTRA_SAMPLES] = 2
    if icc:
        directory.tagtype[ICC_PROFILE] = 7
        directory[ICC_PROFILE] = icc
    for tag, values in ((STRIP_COUNTS, counts), (STRIP_OFFSETS, offsets)):
        directory.tagtype[tag] = 4
        directory[tag] = tuple(values)
    # Pillow shifts strip offsets to lie behind the directory; here they lie before it, so undo the shift.
    return _unshifted(directory.tobytes(position), position, offsets)


def _unshifted(directory: bytes, position: int, offsets: list[int]) -> bytes:
    block = bytearray(directory)
    (count,) = struct.unpack_from("<H", block, 0)
    for entry in range(2, 2 + 12 * count, 12):
        tag, _, length = struct.unpack_from("<HHI", block, entry)
        if tag == STRIP_OFFSETS:
            where = entry + 8
            if length > 1:
                where = struct.unpack_from("<I", block, entry + 8)[0] - position
            struct.pack_into(f"<{length}I", block, where, *offsets)
    return bytes(block)
