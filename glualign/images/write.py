"""Writing images: the format from the extension, the depth and channels of the array, or a clear refusal."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from glualign.arrays import Array
from glualign.errors import ImageError
from glualign.files import atomic_path
from glualign.geometry import size_of, strips, wxh
from glualign.images import exif, tiff_tags
from glualign.images.decode import INCH, PNG_SIGNATURE, register_heif
from glualign.images.image import DEPTHS, Image, from_array

if TYPE_CHECKING:
    import os

DEFAULT_QUALITY = 95


class Format(NamedTuple):
    """What a format can hold: sample types, numbers of channels, the longest side."""

    name: str
    types: tuple[str, ...]
    channels: tuple[int, ...]
    max_side: int = 2**31 - 1


_JPEG = Format("JPEG", ("uint8",), (1, 3), 65_500)
_PNG = Format("PNG", ("uint8", "uint16"), (1, 2, 3, 4))
_TIFF = Format("TIFF", tuple(DEPTHS), (1, 2, 3, 4))
_FORMATS = {
    **dict.fromkeys((".jpg", ".jpeg"), _JPEG),
    ".png": _PNG,
    # WebP and AVIF store grey as RGB: the samples stay the same, so grey is let through.
    ".webp": Format("WebP", ("uint8",), (1, 2, 3, 4), 16_383),
    ".avif": Format("AVIF", ("uint8",), (1, 2, 3, 4), 65_536),
    **dict.fromkeys((".heic", ".heif"), Format("HEIF", ("uint8",), (1, 2, 3, 4), 16_384)),
    **dict.fromkeys((".tif", ".tiff"), _TIFF),
    ".bmp": Format("BMP", ("uint8",), (1, 3)),
    ".ppm": Format("PPM", ("uint8", "uint16"), (3,)),
    ".pgm": Format("PGM", ("uint8", "uint16"), (1,)),
    ".pnm": Format("PNM", ("uint8", "uint16"), (1, 3)),
}
WRITABLE = tuple(_FORMATS)
_WITH_PALETTE = ("PNG", "TIFF", "BMP")
_PNM = ("PPM", "PGM", "PNM")
_JPEG_EXIF_BYTES = 65_533 - len(exif.PREFIX)
_LARGE = 1 << 27
"""Samples of an 8-bit PNG from which Pillow's copy of it, four bytes a pixel, is avoided."""
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
_STRIP_BYTES = 1 << 20
_CLASSIC_TIFF_LIMIT = 2**32 - 2**26
_SUB = 1  # PNG's filter: difference to the pixel on the left. Paeth is 1 % smaller on 16-bit photographs.


def write_image(
    path: str | os.PathLike[str], image: Image | Array, *, quality: int | None = None
) -> tuple[str, ...]:
    """Write an image atomically, in the format of the extension, with its ICC profile and EXIF.

    Nothing is converted silently: an image the format cannot hold (16 bit or alpha in a JPEG, float in a
    PNG) is refused with the formats that can. Metadata that the format does not hold is left out, and told.

    Args:
        path: ``.jpg .png .webp .tif .bmp .ppm .pgm .avif .heic`` and their variants.
        image: an `Image`, or an array as `as_image` takes it.
        quality: 1 to 100 for JPEG, WebP, AVIF and HEIC. Default 95; WebP is lossless by default.

    Returns:
        What the user should know of metadata left out, a short sentence each.

    Raises:
        ImageError: unknown extension, or the format cannot hold this image.
        OutputError: the file cannot be written.
    """
    location = Path(path)
    picture = from_array(image) if isinstance(image, np.ndarray) else image
    form = check_writable(location, picture)
    if quality is not None and not 1 <= quality <= 100:
        raise ImageError(f"{location}: quality {quality} is outside 1 to 100")
    block = exif.for_pixels(picture.exif, picture.size, picture.dpi) if picture.exif else None
    notes = _left_out(form, picture)
    if block and form is _JPEG and len(block) > _JPEG_EXIF_BYTES:
        block = exif.oriented(turn) if (turn := exif.orientation(block)) != 1 else None
        notes = ("its EXIF exceeds the 64 kB that JPEG holds and is left out", *notes)
    with atomic_path(location) as temporary:
        try:
            return notes + _encode(form, temporary, _held_by(form, picture), block, quality)
        except Exception as error:  # Encoders refuse with errors of every kind.
            if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno):
                raise  # The disk is full or the like, which is no fault of the image.
            raise ImageError(f"{location}: cannot be encoded as {form.name} ({error})") from error


def _left_out(form: Format, image: Image) -> tuple[str, ...]:
    """What a file of the format does not say of the image, a short sentence each."""
    notes: tuple[str, ...] = ()
    if form is _TIFF:
        return notes
    if image.nodata is not None:
        notes += (f"its no-data value {image.nodata:g} is left out; write .tif to keep it",)
    if image.gdal_metadata:
        notes += ("its GDAL metadata (scale, offset, names of bands) are left out; write .tif to keep them",)
    if image.georeference:
        notes += ("the georeference is left out; write .tif to keep it",)
    # Some formats hold a density in their EXIF alone.
    without = form.name in _PNM or (form.name in ("WebP", "AVIF", "HEIF") and not image.exif)
    bare = form.name in ("BMP", *_PNM)
    had = {
        "EXIF": bare and image.exif,
        "colour profile": bare and image.icc,
        "density": without and image.dpi,
    }
    if lost := [what for what, value in had.items() if value]:
        notes += (f"written without its {' and '.join(lost)}, which {form.name} cannot hold",)
    return notes


def _encode(
    form: Format, path: Path, image: Image, block: bytes | None, quality: int | None
) -> tuple[str, ...]:
    """Write an image that the format holds, with EXIF in ``block``; notes on what of that is damaged."""
    from PIL import Image as PillowImage

    pixels = image.pixels
    if form is _TIFF:
        return _write_tiff(path, image, block)
    if form.name in _PNM:
        magic, depth = b"P5" if pixels.ndim == 2 else b"P6", pixels.dtype.newbyteorder(">")
        head = b"%s\n%d %d\n%d\n" % (magic, image.width, image.height, np.iinfo(depth).max)
        path.write_bytes(head + pixels.astype(depth).tobytes())
        return ()
    if form is _PNG and image.palette is None and (pixels.itemsize > 1 or pixels.size > _LARGE):
        with path.open("wb") as stream:
            stream.writelines(png_parts(pixels, image.icc, block, image.dpi))
        return ()
    options: dict[str, Any] = {
        "exif": exif.PREFIX + block if block else None,
        "icc_profile": image.icc,
        "dpi": image.dpi,
        "quality": quality or DEFAULT_QUALITY,
        # For WebP: keep colours under transparent pixels. For PNG: speed.
        "lossless": quality is None,
        "exact": True,
        "compress_level": 4,
    }
    sharp = options["quality"] >= 90  # full colour resolution wherever that says that it matters
    if form is _JPEG:
        options["subsampling"] = 0 if sharp else 2
    elif sharp and image.colours == 3:  # the names of AVIF and HEIC
        options |= {"subsampling": "4:4:4", "chroma": 444}
    drawn = PillowImage.fromarray(np.ascontiguousarray(pixels))
    if image.palette is not None:
        drawn.putpalette(image.palette)
        options["transparency"] = image.palette_alpha or None
    given = {key: value for key, value in options.items() if value is not None}
    drawn.save(path, form.name.upper(), **given)
    return ()


def check_writable(path: Path, image: Image) -> Format:
    """The format of ``path`` (call it before hours of work).

    An `ImageError` says that it cannot hold ``image``, a `MissingExtraError` that its package is missing.
    """
    form = _FORMATS.get(path.suffix.lower())
    if form is None:
        kind = path.suffix or "a name without extension"
        raise ImageError(f"{path}: cannot write images as {kind}; use one of {' '.join(WRITABLE)}")
    if form.name == "HEIF":
        register_heif(f"{path}: ")
    size, image = image.size, _held_by(form, image.replace(image.pixels[:1, :1]))
    bands = image.extrasamples is not None and image.channels != 3  # three bands pass as a colour
    fitting = [
        suffix
        for suffix, each in _FORMATS.items()
        if image.pixels.dtype.name in each.types
        and (each is _TIFF or (image.channels in each.channels and not bands))
    ]
    if path.suffix.lower() not in fitting:
        instead = " or ".join(suffix for suffix in (".png", ".tif") if suffix in fitting)
        raise ImageError(f"{path}: {form.name} cannot hold {image.kind} pixels; write {instead} instead")
    if max(size) > form.max_side:
        raise ImageError(
            f"{path}: {form.name} holds at most {form.max_side} pixels a side, "
            f"the image is {wxh(size)}; write .png or .tif instead"
        )
    return form


def _held_by(form: Format, image: Image) -> Image:
    """The image with its palette where the format has them, with alpha in PNG only; else with its colours."""
    kept = form is _PNG if image.palette_alpha else form.name in _WITH_PALETTE
    return image if kept else image.as_colours()


def png_parts(
    pixels: Array,
    icc: bytes | None = None,
    exif: bytes | None = None,
    dpi: tuple[float, float] | None = None,
    text: str = "",
) -> Iterator[bytes]:
    """A PNG of uint8 or uint16 ``(H, W[, C])`` pixels with its profile, EXIF, density, a comment, in parts.

    Rows are deflated a strip at a time, each pixel as the difference to its left neighbour.
    """
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    pixel_bytes, deflate = pixels.itemsize * channels, zlib.compressobj(4)

    def chunk(name: bytes, data: bytes) -> bytes:
        check = zlib.crc32(data, zlib.crc32(name))
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", check)

    form = (8 * pixels.itemsize, _COLOUR_TYPES[channels], 0, 0, 0)
    yield PNG_SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", *pixels.shape[1::-1], *form))
    if icc:
        yield chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(icc))
    if exif:
        yield chunk(b"eXIf", exif)
    if dpi:
        yield chunk(b"pHYs", struct.pack(">IIB", *(round(each / INCH) for each in dpi), 1))
    if text:
        yield chunk(b"tEXt", b"Comment\0" + text.encode("latin-1", "replace"))
    for top, bottom in strips(size_of(pixels), _STRIP_BYTES // pixel_bytes):
        strip = np.ascontiguousarray(pixels[top:bottom], pixels.dtype.newbyteorder(">"))
        rows = strip.reshape(len(strip), -1).view(np.uint8)
        filtered = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
        filtered[:, 0] = _SUB
        filtered[:, 1:] = rows
        filtered[:, 1 + pixel_bytes :] -= rows[:, :-pixel_bytes]
        if block := deflate.compress(filtered.tobytes()):
            yield chunk(b"IDAT", block)
    yield chunk(b"IDAT", deflate.flush()) + chunk(b"IEND", b"")


def _write_tiff(path: Path, image: Image, block: bytes | None) -> tuple[str, ...]:
    """Write a TIFF of one page, deflated, with everything that travels with pixels; damaged EXIF is noted.

    More than 4 GB of pixels become a BigTIFF, without EXIF and GPS directories: Pillow, which lays these out,
    knows classic TIFF only.
    """
    import tifffile

    pixels, extras, predictor = image.pixels, image.extrasamples, image.pixels.dtype.kind in "iu"
    if image.palette is not None:
        photometric, predictor = "palette", False
        colormap = image.palette_table.T.astype(np.uint16) * np.uint16(257)
    else:
        photometric, colormap = ("rgb" if image.colours == 3 else "minisblack"), None
        extras = (2,) if image.has_alpha else extras
    notes = tuple[str, ...]()
    try:
        tags, directories = tiff_tags.exif_tags(block)
    except Exception:  # Damaged metadata must not stop an image; Pillow meets it with any error.
        tags, directories, notes = [], {}, ("its EXIF is damaged and left out",)
    big = pixels.nbytes > _CLASSIC_TIFF_LIMIT
    if big:
        directories = {}
    tags += [(exif.ORIENTATION, "H", 1, exif.orientation(block), True)]
    if image.icc:  # tifffile has a parameter for it only since 2024.5.22
        tags.append((tiff_tags.ICC_PROFILE, "B", len(image.icc), image.icc, True))
    if image.nodata is not None:
        tags.append((tiff_tags.NODATA, "s", 0, f"{image.nodata:.17g}", True))
    if image.gdal_metadata:
        tags.append((tiff_tags.GDAL_METADATA, "s", 0, image.gdal_metadata.encode(), True))
    tags += [
        (tag, tiff_tags.GEO_TAGS[tag], len(value), value, True) for tag, value in image.georeference.items()
    ]
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
        extratags=[*tags, *((tiff_tags.DIRECTORIES[tag], "I", 1, 0, True) for tag in directories)],
        resolution=image.dpi,
        resolutionunit=2 if image.dpi else None,
    )
    if directories:
        tiff_tags.append_directories(path, directories)
    return notes
