"""PNG as chunks: a check that the file is whole, and 16 bit in and out.

Pillow reduces 16-bit colour to 8 bit and OpenCV writes neither grey + alpha nor a colour profile, so
16-bit PNG is written here: filtered rows, deflate, and the iCCP and eXIf chunks.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from glualign.errors import ImageError
from glualign.images.pillow import with_opencv

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Deflate cannot shrink more than this (RFC 1951: 258 bytes in 2 bits), so shorter data cannot hold the image.
MAX_DEFLATE_RATIO = 1032
_BLOCK = 1 << 20
_PAETH = 4


class PngHeader(NamedTuple):
    """What the IHDR chunk says."""

    width: int
    height: int
    bits: int
    colour_type: int

    @property
    def raw_bytes(self) -> int:
        """Size of the rows before compression."""
        row = (self.width * _SAMPLES.get(self.colour_type, 4) * self.bits + 7) // 8 + 1
        return row * self.height


def read_header(head: bytes, path: Path) -> PngHeader:
    """The header of a PNG from its first 33 bytes.

    Raises:
        ImageError: the file ends before its header does, or the header is broken.
    """
    if len(head) < 29 or head[12:16] != b"IHDR":
        raise ImageError(f"{path}: the PNG is truncated or its header is broken")
    width, height, bits, colour_type = struct.unpack(">IIBB", head[16:26])
    if width == 0 or height == 0 or colour_type not in _SAMPLES:
        raise ImageError(f"{path}: the PNG header is broken ({width} x {height}, colour type {colour_type})")
    return PngHeader(width, height, bits, colour_type)


class PngChunks(NamedTuple):
    """Bodies of the iCCP and eXIf chunks, and names of ancillary chunks with a wrong checksum."""

    kept: dict[bytes, bytes]
    damaged: list[str]


def check_whole(stream: BinaryIO, path: Path) -> PngChunks:
    """Walk all chunks and compare their checksums.

    Raises:
        ImageError: the file is truncated, the checksum of a chunk that the pixels need differs, or there is
            too little data for its size.
    """
    stream.seek(0)
    head = stream.read(33)
    header = read_header(head, path)
    stream.seek(len(SIGNATURE))
    kept: dict[bytes, bytes] = {}
    damaged: list[str] = []
    data_bytes = 0
    while True:
        start = stream.read(8)
        if len(start) < 8:
            raise ImageError(f"{path}: the PNG is truncated (it ends without its IEND chunk)")
        length, name = struct.unpack(">I4s", start)
        checksum = zlib.crc32(name)
        wanted = name in (b"iCCP", b"eXIf")
        parts: list[bytes] = []
        remaining = length
        while remaining:
            block = stream.read(min(_BLOCK, remaining))
            if not block:
                raise ImageError(f"{path}: the PNG is truncated (inside its {name.decode('latin-1')} chunk)")
            checksum = zlib.crc32(block, checksum)
            remaining -= len(block)
            if wanted:
                parts.append(block)
        if stream.read(4) != struct.pack(">I", checksum):
            if name[0] & 32 == 0 or not name.isalpha() or name == b"tRNS":  # a capital: a critical chunk
                raise ImageError(f"{path}: the PNG is damaged ({name.decode('latin-1')}: wrong checksum)")
            damaged.append(name.decode("ascii"))
        elif wanted:
            kept[name] = b"".join(parts)
        if name == b"IDAT":
            data_bytes += length
        if name == b"IEND":
            break
    if header.raw_bytes > data_bytes * MAX_DEFLATE_RATIO + 1024:
        raise ImageError(
            f"{path}: the PNG claims {header.width} x {header.height} pixels but holds too little data"
        )
    return PngChunks(kept, damaged)


def profile(chunk: bytes | None) -> bytes | None:
    """The profile inside an iCCP chunk: name, 0, compression method, deflated profile."""
    _, _, rest = (chunk or b"").partition(b"\0")
    try:
        return zlib.decompressobj().decompress(rest[1:], 1 << 26) or None
    except zlib.error:
        return None


def read16(stream: BinaryIO, header: PngHeader, path: Path) -> npt.NDArray[np.uint16]:
    """Pixels of a checked 16-bit PNG; a transparent colour (tRNS) becomes an alpha channel.

    Raises:
        ImageError: the data cannot be decoded.
    """
    stream.seek(0)
    clear = None
    data = without_metadata(stream)
    if (at := data.find(b"tRNS", 0, data.find(b"IDAT"))) > 0:
        clear = np.frombuffer(data, ">u2", _SAMPLES[header.colour_type], at + 4).astype(np.uint16)
        # OpenCV makes alpha of it for colour but not for grey.
        data = data[: at - 4] + data[at + 4 + 2 * len(clear) + 4 :]
    pixels: npt.NDArray[np.uint16] = with_opencv(data, path)
    if header.colour_type == 4 and pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels = pixels[..., [0, 3]]  # OpenCV expands grey + alpha to four channels.
    if clear is not None and header.colour_type in (0, 2):
        bands = pixels.reshape(*pixels.shape[:2], -1)
        alpha = np.where((bands == clear).all(axis=2), 0, 65535).astype(np.uint16)
        pixels = np.concatenate([bands, alpha[..., None]], axis=2)
    return pixels


def without_metadata(stream: BinaryIO) -> bytes:
    """The checked file without its metadata chunks: libpng prints warnings about profiles it dislikes."""
    stream.seek(len(SIGNATURE))
    parts = [SIGNATURE]
    while start := stream.read(8):
        length, name = struct.unpack(">I4s", start)
        body = stream.read(length + 4)
        if name in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            parts += [start, body]
        if name == b"IEND":
            break
    return b"".join(parts)


def encode16(
    pixels: npt.NDArray[np.uint16], icc: bytes | None, exif: bytes | None, text: str = ""
) -> list[bytes]:
    """A PNG of uint16 ``(H, W[, C])`` pixels with its profile, EXIF and an optional comment, in parts."""
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    header = struct.pack(">IIBBBBB", width, height, 16, COLOUR_TYPES[channels], 0, 0, 0)
    parts = [SIGNATURE, _chunk(b"IHDR", header)]
    if icc:
        parts.append(_chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc)))
    if exif:
        parts.append(_chunk(b"eXIf", exif))
    if text:
        parts.append(_chunk(b"tEXt", b"Comment\0" + text.encode("latin-1", "replace")))
    parts.extend(_chunk(b"IDAT", block) for block in _compressed_rows(pixels, 2 * channels))
    parts.append(_chunk(b"IEND", b""))
    return parts


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))


def _compressed_rows(pixels: npt.NDArray[Any], pixel_bytes: int) -> list[bytes]:
    """Deflated rows, a strip at a time, each row with the Paeth filter (PNG specification, 9.4)."""
    height, width = pixels.shape[:2]
    deflate = zlib.compressobj(4)
    step = max(1, _BLOCK // (width * pixel_bytes))
    above = np.zeros((1, width * pixel_bytes), np.uint8)
    blocks = []
    for top in range(0, height, step):
        strip = pixels[top : top + step].astype(">u2")
        rows = strip.reshape(len(strip), -1).view(np.uint8)
        upper = np.concatenate([above, rows[:-1]])
        left, upper_left = np.zeros_like(rows), np.zeros_like(rows)
        left[:, pixel_bytes:] = rows[:, :-pixel_bytes]
        upper_left[:, pixel_bytes:] = upper[:, :-pixel_bytes]
        filtered = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
        filtered[:, 0] = _PAETH
        filtered[:, 1:] = rows - _paeth(left, upper, upper_left)
        blocks.append(deflate.compress(filtered.tobytes()))
        above = rows[-1:].copy()
    blocks.append(deflate.flush())
    return [block for block in blocks if block]


def _paeth(
    left: npt.NDArray[np.uint8], upper: npt.NDArray[np.uint8], upper_left: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    a, b, c = left.astype(np.int16), upper.astype(np.int16), upper_left.astype(np.int16)
    to_left, to_upper, to_corner = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    use_left = (to_left <= to_upper) & (to_left <= to_corner)
    predicted = np.where(use_left, left, np.where(to_upper <= to_corner, upper, upper_left))
    return predicted.astype(np.uint8)
