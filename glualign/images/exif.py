"""EXIF as bytes: read the orientation, reset it, and turn pixels the way it says.

The block is patched in place rather than parsed and written anew: maker notes hold offsets into the
block, which rewriting would break.
"""

from __future__ import annotations

import struct
from fractions import Fraction

import numpy as np

from glualign.arrays import Array

PREFIX = b"Exif\0\0"
"""Before the TIFF stream of a block in a JPEG."""
ORIENTATION = 0x0112
EXIF_IFD = 0x8769
_PIXEL_WIDTH, _PIXEL_HEIGHT = 0xA002, 0xA003
RESOLUTION, RESOLUTION_UNIT, _INCH = (0x011A, 0x011B), 0x0128, 2
_UNKNOWN = (72.0, 72.0)
_SHORT, _LONG, _RATIONAL = 3, 4, 5


def orientation(exif: bytes | None) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none or the block is broken."""
    for _, tag, kind, _, value in _entries(exif or b""):
        if tag == ORIENTATION and kind == _SHORT and 1 <= value <= 8:
            return value
    return 1


def patched(exif: bytes, numbers: dict[int, int], offset: int = 0) -> bytes:
    """The block with other numbers in a directory (0: the first), everything else byte for byte the same.

    The field of a SHORT has room for a LONG.
    """
    block = bytearray(exif)
    for position, tag, kind, count, _ in _entries(exif, offset):
        if tag in numbers and kind in (_SHORT, _LONG) and count == 1:
            kind = _SHORT if kind == _SHORT and numbers[tag] < 1 << 16 else _LONG
            form = ("<" if exif[:1] == b"I" else ">") + ("HIH" if kind == _SHORT else "HII")
            struct.pack_into(form, block, position + 2, kind, 1, numbers[tag])
    return bytes(block)


def oriented(value: int, exif: bytes | None = None) -> bytes:
    """The block with this orientation; one that says nothing else where there is none, or it is broken.

    A block without the tag gets a new first directory at its end: whatever has an offset stays in its place.
    """
    block = patched(exif or b"", {ORIENTATION: value})
    if orientation(block) == value:
        return block
    entries = _entries(block)
    following = block[entries[-1][0] + 12 :][:4] if entries else b""
    block = block + bytes(len(block) % 2) if entries else b"II*\0" + bytes(4)
    order = "<" if block[:1] == b"I" else ">"
    rows = [block[position : position + 12] for position, tag, *_ in entries if tag != ORIENTATION]
    rows.append(struct.pack(order + "HHIHH", ORIENTATION, _SHORT, 1, value, 0))
    rows.sort(key=lambda row: struct.unpack_from(order + "H", row))
    directory = struct.pack(order + "H", len(rows)) + b"".join(rows) + following.ljust(4, b"\0")
    return block[:4] + struct.pack(order + "I", len(block)) + block[8:] + directory


def for_pixels(exif: bytes, size: tuple[int, int], dpi: tuple[float, float] | None) -> bytes:
    """The block to write with an image of this size: dimensions and density set, thumbnail unlinked.

    A density that is not known is 72, as EXIF says. The thumbnail shows the picture before it was warped, and
    file managers would go on showing it.
    """
    entries = _entries(exif)
    block, dpi = patched(exif, {RESOLUTION_UNIT: _INCH}), dpi or _UNKNOWN
    for _, tag, kind, _, value in entries:
        if tag == EXIF_IFD:
            block = patched(block, {_PIXEL_WIDTH: size[1], _PIXEL_HEIGHT: size[0]}, value)
        elif tag in RESOLUTION and kind == _RATIONAL and value + 8 <= len(block):
            ratio = Fraction(dpi[RESOLUTION.index(tag)]).limit_denominator(10_000)
            parts = struct.pack("<II" if exif[:1] == b"I" else ">II", ratio.numerator, ratio.denominator)
            block = block[:value] + parts + block[value + 8 :]
    following = entries[-1][0] + 12 if entries else len(block)
    return block[:following] + bytes(4) + block[following + 4 :] if following + 4 <= len(block) else block


def upright(pixels: Array, value: int) -> Array:
    """Pixels stored with EXIF orientation ``value``, turned so that the top is up (contiguous)."""
    turned = pixels.swapaxes(0, 1) if value >= 5 else pixels
    if value in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    if value in (3, 4, 7, 8):
        turned = turned[::-1]
    return np.ascontiguousarray(turned)


def _entries(exif: bytes, offset: int = 0) -> list[tuple[int, int, int, int, int]]:
    """``(position, tag, type, count, value)`` of a directory (0: the first); empty where it is broken."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None or len(exif) < 14:
        return []
    start = offset or struct.unpack_from(order + "I", exif, 4)[0]
    count = struct.unpack_from(order + "H", exif, start)[0] if start + 2 <= len(exif) else 0
    if start + 2 + 12 * count > len(exif):
        return []
    found = []
    for position in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, length = struct.unpack_from(order + "HHI", exif, position)
        (value,) = struct.unpack_from(order + ("H" if kind == _SHORT else "I"), exif, position + 8)
        found.append((position, tag, kind, length, value))
    return found
