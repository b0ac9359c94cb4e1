"""What a TIFF says beside its pixels: tags read from a page, and EXIF written as tags."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from glualign.images import exif
from glualign.images.decode import checked_dpi

if TYPE_CHECKING:
    import tifffile
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

GPS_IFD, ICC_PROFILE, GDAL_METADATA, NODATA = 0x8825, 34675, 42112, 42113
GEO_TAGS = {33550: "d", 33922: "d", 34264: "d", 34735: "H", 34736: "d", 34737: "s"}
"""Tags of a georeference and their types: scale, tie points, matrix, keys of the coordinate system."""
_GEO_COUNTS = {33550: 3, 33922: 6, 34264: 16, 34735: 4}
"""Numbers that one entry of these tags has."""
DIRECTORIES = {exif.EXIF_IFD: "ExifTag", GPS_IFD: "GPSTag"}
# Descriptive tags that belong to the picture, as opposed to those that describe how its pixels are stored.
TEXT_TAGS = (270, 271, 272, 305, 306, 315, 316, 33432)
# Descriptions that tell programs the layout of the file: true of the stack read, not of the page written.
_LAYOUT_DESCRIPTION = re.compile(r'\s*(ImageJ=|SCIFIO=|\{"shape"|shape=|<\?xml|<OME|<MetaData)')
# Minimum, mean and the like, which are not true of other pixels.
_STATISTICS = re.compile(r'<Item\b[^>]*\bname="STATISTICS_[^>]*>[^<]*</Item>\s*')
PHOTOMETRIC = 262
_INCHES = {2: 1.0, 3: 2.54}
"""Centimetres and inches in an inch, by the unit of a resolution."""
_INTEROPERABILITY = 0xA005
_HEAD_BYTES = 4096
"""In these tifffile writes the tags of a page."""


def tag_value(page: tifffile.TiffPage, tag: int, default: Any) -> Any:
    """The value of a tag; the default where it is absent or of another type."""
    found = page.tags.valueof(tag)
    return type(default)(found) if isinstance(found, type(default)) else default


def nodata_of(page: tifffile.TiffPage) -> float | None:
    """GDAL's no-data value, scaled and inverted as the pixels are."""
    try:
        value = float(str(page.tags.valueof(NODATA)).strip("\0 "))
    except ValueError:
        return None
    photometric, bits = tag_value(page, PHOTOMETRIC, 1), page.bitspersample
    if bits < 8 and photometric != 3 and value.is_integer():
        value = value * 255 // (2**bits - 1)
    return (1 << max(bits, 8)) - 1 - value if photometric == 0 and page.sampleformat == 1 else value


def georeference_of(page: tifffile.TiffPage) -> tuple[dict[int, Any], tuple[str, ...]]:
    """The tags of the georeference, and what is to be told of it; without any where one is damaged."""
    found = {tag: page.tags[tag].value for tag in GEO_TAGS if tag in page.tags}
    for tag, count in _GEO_COUNTS.items():
        values = np.atleast_1d(found.get(tag, ()))
        if values.dtype.kind not in "iuf" or not np.isfinite(values).all() or values.size % count:
            return {}, ("its georeference is damaged and left out",)
    return found, ()


def dpi_of(page: tifffile.TiffPage) -> tuple[float, float] | None:
    """Pixels per inch that the page gives; of a ratio without unit, None."""
    units = _INCHES.get(tag_value(page, exif.RESOLUTION_UNIT, 2), 0.0)
    ratios = (tag_value(page, tag, (0, 1)) for tag in exif.RESOLUTION)
    return checked_dpi([units * over / max(1, under) for over, under in ratios])


def gdal_metadata_of(page: tifffile.TiffPage) -> str:
    """GDAL's XML without statistics; empty where it has no other items."""
    found = page.tags.valueof(GDAL_METADATA) or ""
    text = found.decode("utf-8", "replace") if isinstance(found, bytes) else str(found)
    kept = _STATISTICS.sub("", text)
    return kept if "<Item" in kept else ""


def exif_of(stream: BinaryIO, page: tifffile.TiffPage) -> bytes | None:
    """The page's descriptive tags, orientation, EXIF and GPS directories as one EXIF block, if it has any."""
    from PIL import Image as PillowImage

    try:
        found, carried = PillowImage.Exif(), PillowImage.Exif()
        found.endian, found.bigtiff = page.parent.byteorder, page.parent.is_bigtiff
        found.load_from_fp(stream, page.offset)
        for tag in TEXT_TAGS:
            if tag in found and not (tag == 270 and _LAYOUT_DESCRIPTION.match(str(found[tag]))):
                carried[tag] = found[tag]
        for tag in DIRECTORIES:
            if tag in found:
                carried[tag] = dict(found.get_ifd(tag))
        if tag_value(page, exif.ORIENTATION, 1) != 1:
            carried[exif.ORIENTATION] = tag_value(page, exif.ORIENTATION, 0)
        block = carried.tobytes() if len(carried) else b""
    except Exception:  # Broken metadata must not stop an image whose pixels are fine.
        return None
    return block.removeprefix(exif.PREFIX) or None


def exif_tags(block: bytes | None) -> tuple[list[Any], dict[int, ImageFileDirectory_v2]]:
    """An EXIF block as tifffile's extra tags and inner directories; any error means damage."""
    from PIL import Image as PillowImage
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    if not block:
        return [], {}
    found = PillowImage.Exif()
    found.load(exif.PREFIX + block)
    tags = [
        (tag, "s", 0, str(found[tag]).encode("utf-8", "replace"), True) for tag in TEXT_TAGS if tag in found
    ]
    inner: dict[int, ImageFileDirectory_v2] = {}
    for tag in DIRECTORIES:
        for code, value in found.get_ifd(tag).items() if tag in found else ():
            if code != _INTEROPERABILITY and not isinstance(value, dict):
                inner.setdefault(tag, ImageFileDirectory_v2())[code] = value
    for directory in inner.values():
        directory.tobytes()
    return tags, inner


def append_directories(path: Path, directories: dict[int, ImageFileDirectory_v2]) -> None:
    """Append EXIF and GPS directories to a classic TIFF in which their tags wait for the offsets."""
    with path.open("r+b") as stream:
        head = stream.read(_HEAD_BYTES)
        for tag, directory in directories.items():
            offset = stream.seek(0, 2)
            stream.write(directory.tobytes(offset))
            stream.seek(head.index(struct.pack("<HHII", tag, 4, 1, 0)) + 8)
            stream.write(struct.pack("<I", offset))
