"""The page directory of a TIFF: its depth, whether the file is whole, and its metadata.

Decoding the pixels is left to OpenCV, Pillow or tifffile; this decides which of them can do it losslessly.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, BinaryIO, cast

from glualign.errors import ImageError
from glualign.images.exif import EXIF_IFD, ORIENTATION, PREFIX

if TYPE_CHECKING:
    from pathlib import Path

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIP_OFFSETS, SAMPLES, STRIP_COUNTS = 273, 277, 279
TILE_OFFSETS, TILE_COUNTS = 324, 325
EXTRA_SAMPLES, SAMPLE_FORMAT, ICC_PROFILE = 338, 339, 34675
GPS_IFD = 0x8825
# Descriptive tags that belong to the picture, as opposed to those that describe how its pixels are stored.
CARRIED_TAGS = (270, 271, 272, 282, 283, 296, 305, 306, 315, 316, 33432, EXIF_IFD, GPS_IFD)

_TYPE_BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_INTEGER_CODES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_MAX_PAGES = 100_000


@dataclass(frozen=True)
class Tag:
    """One entry of a TIFF directory: where its value lies and how many there are."""

    kind: int
    count: int
    position: int


@dataclass(frozen=True)
class Page:
    """One page: its directory's offset in the file, and its tags."""

    data: mmap.mmap
    order: str
    offset: int
    tags: dict[int, Tag]
    big: bool

    def integers(self, tag: int) -> list[int]:
        """The values of an integer tag; empty when the tag is absent or of another type."""
        entry = self.tags.get(tag)
        if entry is None or entry.kind not in _INTEGER_CODES:
            return []
        code = f"{self.order}{entry.count}{_INTEGER_CODES[entry.kind]}"
        return list(struct.unpack_from(code, self.data, entry.position))

    def integer(self, tag: int, default: int = 0) -> int:
        """The first value of an integer tag."""
        values = self.integers(tag)
        return values[0] if values else default

    def bytes(self, tag: int) -> bytes | None:
        """The raw bytes of a tag, e.g. the ICC profile."""
        entry = self.tags.get(tag)
        if entry is None:
            return None
        return bytes(self.data[entry.position : entry.position + entry.count * _TYPE_BYTES[entry.kind]])

    def isolate(self) -> mmap.mmap:
        """The file with this page first and its orientation 1 (patched in our private copy of the mapping).

        Decoders differ in whether they turn a TIFF; told that it is upright, all give the stored pixels.
        """
        if self.big:
            struct.pack_into(self.order + "Q", self.data, 8, self.offset)
        else:
            struct.pack_into(self.order + "I", self.data, 4, self.offset)
        entry = self.tags.get(ORIENTATION)
        if entry is not None and entry.kind == 3:
            struct.pack_into(self.order + "H", self.data, entry.position, 1)
        self.data.seek(0)
        return self.data


def read_page(stream: BinaryIO, index: int, path: Path) -> Page:
    """The directory of page ``index``, checked against the length of the file.

    The file is mapped, not read: nothing is held twice, and what is patched stays in memory.

    Raises:
        ImageError: the file is truncated, its directory is broken, or there is no such page.
    """
    try:
        data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
        return _read_page(data, index, path)
    except struct.error as error:
        raise ImageError(f"{path}: the TIFF is truncated or its directory is broken") from error


def _read_page(data: mmap.mmap, index: int, path: Path) -> Page:
    order = "<" if data[:2] == b"II" else ">"
    (version,) = struct.unpack_from(order + "H", data, 2)
    big = version == 43
    (offset,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
    seen: list[int] = []
    while offset:
        if offset in seen or len(seen) > _MAX_PAGES or offset >= len(data):
            raise ImageError(f"{path}: the TIFF is truncated or its page list is broken")
        tags, following = _read_directory(data, order, offset, big, path)
        if len(seen) == index:
            page = Page(data, order, offset, tags, big)
            _check_strips(page, path)
            return page
        seen.append(offset)
        offset = following
    pages = f"{len(seen)} page{'s' if len(seen) != 1 else ''}"
    raise ImageError(f"{path}: has {pages}; page {index} does not exist (the first is 0)")


def _read_directory(
    data: mmap.mmap, order: str, offset: int, big: bool, path: Path
) -> tuple[dict[int, Tag], int]:
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, offset)
    entry_bytes, inline, start = (20, 8, offset + 8) if big else (12, 4, offset + 2)
    if count > 65535:
        raise ImageError(f"{path}: the TIFF directory is broken ({count} entries)")
    tags: dict[int, Tag] = {}
    for position in range(start, start + count * entry_bytes, entry_bytes):
        tag, kind, length = struct.unpack_from(order + ("HHQ" if big else "HHI"), data, position)
        size = length * _TYPE_BYTES.get(kind, 1)
        where = position + entry_bytes - inline
        if size > inline:
            (where,) = struct.unpack_from(order + ("Q" if big else "I"), data, where)
        if kind in _TYPE_BYTES and where + size <= len(data):
            tags[tag] = Tag(kind, length, where)
        elif tag in (WIDTH, HEIGHT, BITS, STRIP_OFFSETS, STRIP_COUNTS, TILE_OFFSETS, TILE_COUNTS):
            raise ImageError(f"{path}: the TIFF is truncated (tag {tag} lies beyond its end)")
    (following,) = struct.unpack_from(order + ("Q" if big else "I"), data, start + count * entry_bytes)
    return tags, following


def _check_strips(page: Page, path: Path) -> None:
    offsets = page.integers(TILE_OFFSETS) or page.integers(STRIP_OFFSETS)
    counts = page.integers(TILE_COUNTS) or page.integers(STRIP_COUNTS)
    if not offsets or page.integer(WIDTH) == 0 or page.integer(HEIGHT) == 0:
        raise ImageError(f"{path}: the TIFF directory is broken (no size or no pixels)")
    if any(where + size > len(page.data) for where, size in zip(offsets, counts, strict=False)):
        raise ImageError(f"{path}: the TIFF is truncated (pixels lie beyond its end)")


def read_exif(page: Page) -> bytes | None:
    """The page's descriptive tags, orientation, EXIF and GPS directories as one EXIF block, if it has any.

    To be called before `Page.isolate`, which resets the orientation.
    """
    from PIL import Image as PillowImage

    orientation = page.integer(ORIENTATION, 1)
    try:
        found = PillowImage.Exif()
        found.load_from_fp(cast("IO[bytes]", page.isolate()))
        carried = PillowImage.Exif()
        for tag in CARRIED_TAGS:
            if tag in found:
                carried[tag] = dict(found.get_ifd(tag)) if tag in (EXIF_IFD, GPS_IFD) else found[tag]
        if orientation != 1:
            carried[ORIENTATION] = orientation
        block = carried.tobytes() if len(carried) else b""
    except Exception:  # Broken metadata must not stop an image whose pixels are fine.
        return None
    return block[len(PREFIX) :] if block.startswith(PREFIX) else block or None
