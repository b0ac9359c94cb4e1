"""EXIF as bytes: read the orientation, reset it, and turn pixels the way it says.

The block is patched in place rather than parsed and written anew: maker notes hold offsets into the
block, which rewriting would break.
"""

from __future__ import annotations

import struct

import numpy as np

from glualign.arrays import Array

PREFIX = b"Exif\0\0"
ORIENTATION = 0x0112
EXIF_IFD = 0x8769
PIXEL_WIDTH, PIXEL_HEIGHT = 0xA002, 0xA003
_SHORT, _LONG = 3, 4


def strip_prefix(block: bytes) -> bytes:
    """The TIFF stream inside an EXIF block, whether or not the block carries the JPEG prefix."""
    return block[len(PREFIX) :] if block.startswith(PREFIX) else block


def orientation(exif: bytes | None) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none or the block is broken."""
    for _, tag, kind, _, value in _entries(exif or b"", 0):
        if tag == ORIENTATION and kind == _SHORT and 1 <= value <= 8:
            return value
    return 1


def reset_orientation(exif: bytes) -> bytes:
    """The block with orientation 1, everything else byte for byte the same."""
    block = bytearray(exif)
    for position, tag, kind, _, _ in list(_entries(exif, 0)):
        if tag == ORIENTATION and kind == _SHORT:
            struct.pack_into(_order(exif) + "H", block, position + 8, 1)
    return bytes(block)


def for_size(exif: bytes, width: int, height: int) -> bytes:
    """The block to write with an image of this size: dimensions set, thumbnail unlinked.

    The thumbnail shows the picture before it was warped, and file managers would go on showing it.
    """
    order = _order(exif)
    if not order:
        return exif
    block = bytearray(exif)
    for _, tag, _, _, value in list(_entries(exif, 0)):
        if tag == EXIF_IFD:
            for position, inner, kind, count, _ in list(_entries(exif, value)):
                if inner in (PIXEL_WIDTH, PIXEL_HEIGHT) and kind in (_SHORT, _LONG) and count == 1:
                    number = width if inner == PIXEL_WIDTH else height
                    # A LONG fits where a SHORT stood: the value field always has four bytes.
                    struct.pack_into(order + "HII", block, position + 2, _LONG, 1, number)
    entries = list(_entries(exif, 0))
    if entries:
        next_ifd = entries[-1][0] + 12
        if next_ifd + 4 <= len(block):
            struct.pack_into(order + "I", block, next_ifd, 0)
    return bytes(block)


def upright(pixels: Array, value: int) -> Array:
    """Pixels stored with EXIF orientation ``value``, turned so that the top is up (contiguous)."""
    turned = pixels.swapaxes(0, 1) if value >= 5 else pixels
    if value in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    if value in (3, 4, 7, 8):
        turned = turned[::-1]
    return np.ascontiguousarray(turned)


def _order(exif: bytes) -> str:
    return {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4], "")


def _entries(exif: bytes, offset: int) -> list[tuple[int, int, int, int, int]]:
    """``(position, tag, type, count, value)`` of a directory (0: the first); empty where it is broken."""
    order = _order(exif)
    if not order or len(exif) < 14:
        return []
    start = offset or struct.unpack_from(order + "I", exif, 4)[0]
    if start + 2 > len(exif):
        return []
    (count,) = struct.unpack_from(order + "H", exif, start)
    if start + 2 + 12 * count > len(exif):
        return []
    found = []
    for position in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, length = struct.unpack_from(order + "HHI", exif, position)
        (value,) = struct.unpack_from(order + ("H" if kind == _SHORT else "I"), exif, position + 8)
        found.append((position, tag, kind, length, value))
    return found
