"""PNG as chunks: a check that the file is whole, and 16 bit in and out.

Pillow reduces 16-bit colour to 8 bit and OpenCV writes neither grey + alpha nor a colour profile, so
16-bit PNG is written here: filtered rows, deflate, and the iCCP and eXIf chunks.
"""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from glualign.arrays import Array
from glualign.errors import ImageError
from glualign.images import pillow
from glualign.images.image import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Deflate cannot shrink more than this (RFC 1951: 258 bytes in 2 bits), so shorter data cannot hold the image.
_MAX_DEFLATE_RATIO = 1032
_STRIP_BYTES = 1 << 20
_SUB = 1  # Filter: difference to the pixel on the left. Paeth is 1 % smaller on 16-bit photographs.


def read(stream: BinaryIO, page: int, max_pixels: int | None) -> Image:
    """Read a PNG of any depth; damaged metadata is left out with a note.

    Raises:
        ImageError: the file is truncated, the checksum of a chunk that the pixels need differs, or there is
            too little data for its size.
    """
    head = stream.read(33)
    if len(head) < 33 or head[12:16] != b"IHDR":
        raise ImageError("the PNG is truncated or its header is broken")
    width, height, bits, colour_type = struct.unpack(">IIBB", head[16:26])
    if width == 0 or height == 0 or colour_type not in _SAMPLES:
        raise ImageError(f"the PNG header is broken ({width} x {height}, colour type {colour_type})")
    pillow.check_size(width, height, max_pixels)
    data = head + stream.read()
    chunks, damaged = _chunks(data)
    raw_bytes = ((width * _SAMPLES[colour_type] * bits + 7) // 8 + 1) * height
    if raw_bytes > _MAX_DEFLATE_RATIO * sum(len(c) for name, c in chunks if name == b"IDAT") + 1024:
        raise ImageError(f"the PNG claims {width} x {height} pixels but holds too little data")
    notes = tuple(f"its {name.decode()} chunk is damaged and left out" for name in damaged)
    if bits < 16:
        mended = SIGNATURE + b"".join(chunk for _, chunk in chunks) if damaged else data
        return pillow.decode("PNG", mended, page).replace(notes=notes)
    bodies = {name: bytes(chunk[8:-4]) for name, chunk in chunks}
    # libpng prints warnings about profiles it dislikes; and OpenCV makes alpha of tRNS for colour only.
    needed = SIGNATURE + b"".join(c for name, c in chunks if name in (b"IHDR", b"PLTE", b"IDAT", b"IEND"))
    pixels = pillow.with_opencv(needed)
    if colour_type == 4 and pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels = pixels[..., [0, 3]]  # OpenCV expands grey + alpha to four channels.
    if b"tRNS" in bodies and colour_type in (0, 2):
        bands = pixels.reshape(height, width, -1)
        clear = (bands == np.frombuffer(bodies[b"tRNS"], ">u2", bands.shape[2])).all(axis=2)
        pixels = np.concatenate([bands, np.where(clear, 0, 65535).astype(np.uint16)[..., None]], axis=2)
    profile = None
    try:  # name, 0, compression method, deflated profile
        packed = bodies.get(b"iCCP", b"").partition(b"\0")[2][1:]
        profile = zlib.decompressobj().decompress(packed, 1 << 26) or None
    except zlib.error:
        pass
    return Image(pixels, icc=profile, exif=bodies.get(b"eXIf"), notes=notes)


def _chunks(data: bytes) -> tuple[list[tuple[bytes, memoryview]], list[bytes]]:
    """``(name, whole chunk)`` of every good chunk, and names of ancillary ones with a wrong checksum."""
    chunks, damaged, view, at = [], [], memoryview(data), len(SIGNATURE)
    name = b""
    while name != b"IEND":
        if at + 12 > len(data):
            raise ImageError("the PNG is truncated (it ends without its IEND chunk)")
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise ImageError(f"the PNG is truncated (inside its {name.decode('latin-1')} chunk)")
        if struct.unpack_from(">I", data, end - 4) == (zlib.crc32(view[at + 4 : end - 4]),):
            chunks.append((name, view[at:end]))
        elif name[0] & 32 and name.isalpha() and name != b"tRNS":  # a small letter: the pixels do not need it
            damaged.append(name)
        else:
            raise ImageError(f"the PNG is damaged ({name.decode('latin-1')} chunk: wrong checksum)")
        at = end
    return chunks, damaged


def encode(
    pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16],
    icc: bytes | None,
    exif: bytes | None,
    text: str = "",
) -> list[bytes]:
    """A PNG of uint8 or uint16 ``(H, W[, C])`` pixels with its profile, EXIF and a comment, in parts."""
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    header = struct.pack(">IIBBBBB", width, height, 8 * pixels.itemsize, _COLOUR_TYPES[channels], 0, 0, 0)
    parts = [SIGNATURE, _chunk(b"IHDR", header)]
    if icc:
        parts.append(_chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc)))
    if exif:
        parts.append(_chunk(b"eXIf", exif))
    if text:
        parts.append(_chunk(b"tEXt", b"Comment\0" + text.encode("latin-1", "replace")))
    parts.extend(_chunk(b"IDAT", block) for block in _compressed_rows(pixels, pixels.itemsize * channels))
    parts.append(_chunk(b"IEND", b""))
    return parts


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))


def _compressed_rows(pixels: Array, pixel_bytes: int) -> list[bytes]:
    """Deflated rows, a strip at a time, each pixel as the difference to its left neighbour."""
    deflate = zlib.compressobj(4)
    step = max(1, _STRIP_BYTES // (pixels.shape[1] * pixel_bytes))
    blocks = []
    for top in range(0, len(pixels), step):
        strip = np.ascontiguousarray(pixels[top : top + step], pixels.dtype.newbyteorder(">"))
        rows = strip.reshape(len(strip), -1).view(np.uint8)
        filtered = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
        filtered[:, 0] = _SUB
        filtered[:, 1:] = rows
        filtered[:, 1 + pixel_bytes :] -= rows[:, :-pixel_bytes]
        blocks.append(deflate.compress(filtered.tobytes()))
    blocks.append(deflate.flush())
    return [block for block in blocks if block]
