"""Writing an `Image` as a TIFF of one page through tifffile, with everything that travels with its pixels."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np

from glualign.images import exif
from glualign.images.tiff import DIRECTORIES, GEO_TAGS, ICC_PROFILE, NODATA, RESOLUTION_TAGS, TEXT_TAGS

if TYPE_CHECKING:
    from pathlib import Path

    from glualign.images.image import Image

_INTEROPERABILITY = 0xA005
_STRIP_BYTES = 1 << 20
_CLASSIC_LIMIT = 2**32 - 2**26
_HEAD_BYTES = 4096
"""In these tifffile writes the tags of a page."""


def write(path: Path, image: Image, block: bytes | None) -> None:
    """Write an `Image`, deflated, with ``block`` as its EXIF.

    More than 4 GB of pixels become a BigTIFF, without EXIF and GPS directories: Pillow, which lays these out,
    knows classic TIFF only.
    """
    import tifffile

    pixels, extras, predictor = image.pixels, image.extrasamples, image.pixels.dtype.kind in "iu"
    if image.palette is not None:
        photometric = "palette"
        table = np.frombuffer(image.palette.ljust(768, b"\0"), np.uint8)[:768].reshape(256, 3)
        colormap = table.T.astype(np.uint16) * np.uint16(257)
        predictor = False
    else:
        photometric, colormap = ("rgb" if image.colours == 3 else "minisblack"), None
        extras = (2,) if image.has_alpha else extras
    tags, resolution, directories = _tags(block)
    big = pixels.nbytes > _CLASSIC_LIMIT
    if big:
        directories = {}
    tags += [(exif.ORIENTATION, "H", 1, exif.orientation(block), True)]
    if image.icc:
        tags.append((ICC_PROFILE, "B", len(image.icc), image.icc, True))
    if image.nodata is not None:
        tags.append((NODATA, "s", 0, f"{image.nodata:.17g}", True))
    tags += [(tag, GEO_TAGS[tag], len(value), value, True) for tag, value in image.georeference.items()]
    tifffile.imwrite(
        path,
        pixels,
        byteorder="<",
        bigtiff=big,
        photometric=photometric,
        colormap=colormap,
        planarconfig="contig" if pixels.ndim == 3 else None,
        extrasamples=extras,
        rowsperstrip=max(1, _STRIP_BYTES // (pixels.nbytes // image.height)),
        compression="zlib",
        compressionargs={"level": 4},
        predictor=predictor,
        metadata=None,
        software=False,
        # By name: tifffile does not write these by number. Their offset follows below.
        extratags=[*tags, *((DIRECTORIES[tag], "I", 1, 0, True) for tag in directories)],
        **resolution,
    )
    if directories:
        _append_directories(path, directories)


def _tags(block: bytes | None) -> tuple[list[Any], dict[str, Any], dict[int, Any]]:
    """An EXIF block as tifffile's extra tags, its arguments of resolution, and inner directories."""
    from PIL import Image as PillowImage

    if not block:
        return [], {}, {}
    found = PillowImage.Exif()
    found.load(exif.PREFIX + block)
    tags = [
        (tag, "s", 0, str(found[tag]).encode("utf-8", "replace"), True) for tag in TEXT_TAGS if tag in found
    ]
    resolution: dict[str, Any] = {}
    if all(tag in found for tag in RESOLUTION_TAGS) and int(found[296]) in (1, 2, 3):
        # Rationals of Pillow, or numbers that lack these attributes.
        over = [int(getattr(found[tag], "numerator", found[tag])) for tag in RESOLUTION_TAGS[:2]]
        under = [max(1, int(getattr(found[tag], "denominator", 1))) for tag in RESOLUTION_TAGS[:2]]
        resolution = {"resolution": (*zip(over, under, strict=True),), "resolutionunit": int(found[296])}
    inner = {tag: dict(found.get_ifd(tag)) for tag in DIRECTORIES if tag in found}
    return tags, resolution, {tag: values for tag, values in inner.items() if values}


def _append_directories(path: Path, directories: dict[int, dict[int, Any]]) -> None:
    """Append EXIF and GPS directories to a classic TIFF in which their tags wait for the offsets."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    with path.open("r+b") as stream:
        head = stream.read(_HEAD_BYTES)
        for tag, values in directories.items():
            directory = ImageFileDirectory_v2()
            for code, value in values.items():
                if code != _INTEROPERABILITY and not isinstance(value, dict):
                    directory[code] = value
            offset = stream.seek(0, 2)
            stream.write(directory.tobytes(offset))
            stream.seek(head.index(struct.pack("<HHII", tag, 4, 1, 0)) + 8)
            stream.write(struct.pack("<I", offset))
