"""Writing images: the format from the extension, the depth and channels of the array, or a clear refusal."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from glualign.arrays import Array
from glualign.errors import GlualignError, ImageError
from glualign.files import atomic_path
from glualign.images import exif, pillow, png, pnm, tiff_write
from glualign.images.image import DEPTHS, Image, from_array

if TYPE_CHECKING:
    import os


DEFAULT_QUALITY = 95


class Format(NamedTuple):
    """What a format can hold: sample types, numbers of channels, the longest side, and metadata."""

    name: str
    types: tuple[str, ...]
    channels: tuple[int, ...]
    max_side: int = 2**31 - 1
    lossy: bool = False


_JPEG = Format("JPEG", ("uint8",), (1, 3), 65_500, lossy=True)
_PNG = Format("PNG", ("uint8", "uint16"), (1, 2, 3, 4))
# WebP and AVIF store grey as RGB: the samples stay the same, so grey is let through.
_WEBP = Format("WebP", ("uint8",), (1, 2, 3, 4), 16_383, lossy=True)
_AVIF = Format("AVIF", ("uint8",), (1, 2, 3, 4), 65_536, lossy=True)
_HEIF = Format("HEIF", ("uint8",), (1, 2, 3, 4), 16_384, lossy=True)
_TIFF = Format("TIFF", tuple(DEPTHS), (1, 2, 3, 4))
_BMP = Format("BMP", ("uint8",), (1, 3), 2**31 - 1)
_FORMATS = {
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".png": _PNG,
    ".webp": _WEBP,
    ".avif": _AVIF,
    ".heic": _HEIF,
    ".heif": _HEIF,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".bmp": _BMP,
    ".ppm": Format("PPM", ("uint8", "uint16"), (3,)),
    ".pgm": Format("PGM", ("uint8", "uint16"), (1,)),
    ".pnm": Format("PNM", ("uint8", "uint16"), (1, 3)),
}
WRITABLE = tuple(_FORMATS)
_WITH_PALETTE = ("PNG", "TIFF", "BMP")
_JPEG_EXIF_BYTES = 65_533 - len(exif.PREFIX)
_LARGE = 1 << 27
"""Samples of an 8-bit PNG from which Pillow's copy of it, four bytes a pixel, is avoided."""


def write_image(
    path: str | os.PathLike[str], image: Image | Array, *, quality: int | None = None
) -> tuple[str, ...]:
    """Write an image atomically, in the format of the extension, with its ICC profile and EXIF.

    Nothing is converted silently: an image the format cannot hold (16 bit or alpha in a JPEG, float in a
    PNG) is refused with the formats that can. BMP and PPM/PGM hold no metadata, so none is written.

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
    block = exif.for_size(picture.exif, picture.width, picture.height) if picture.exif else None
    notes: tuple[str, ...] = ()
    if block and form is _JPEG and len(block) > _JPEG_EXIF_BYTES:
        block, notes = None, ("its EXIF exceeds the 64 kB that JPEG holds and is left out",)
    with atomic_path(location) as temporary:
        try:
            if form is _TIFF:
                tiff_write.write(temporary, picture, block)
                return notes
            parts = _encode(form, picture, block, quality)
        except MemoryError:
            raise
        except GlualignError as error:
            raise type(error)(f"{location}: {error}") from error
        except Exception as error:  # Encoders refuse with errors of every kind.
            if isinstance(error, OSError) and error.errno:
                raise  # The disk is full or the like, which is no fault of the image.
            raise ImageError(f"{location}: cannot be encoded as {form.name} ({error})") from error
        with temporary.open("wb") as stream:
            stream.writelines(parts)
    return notes


def check_writable(path: Path, image: Image) -> Format:
    """The format of ``path``, after checking that it can hold ``image`` (call it before hours of work).

    Raises:
        ImageError: unknown extension, or depth, channels or size that the format cannot hold.
    """
    form = _FORMATS.get(path.suffix.lower())
    if form is None:
        raise ImageError(
            f"{path}: cannot write images as {path.suffix or 'a name without extension'}; "
            f"use one of {' '.join(WRITABLE)}"
        )
    if not _holds(form, image):
        fitting = [s for s in (".png", ".tif") if _holds(_FORMATS[s], image)]
        raise ImageError(
            f"{path}: {form.name} cannot hold {image.kind} pixels; write {' or '.join(fitting)} instead"
        )
    if max(image.size) > form.max_side:
        raise ImageError(
            f"{path}: {form.name} holds at most {form.max_side} pixels a side, "
            f"the image is {image.width} x {image.height}; write .png or .tif instead"
        )
    return form


def _holds(form: Format, image: Image) -> bool:
    bands = image.extrasamples is not None and image.channels != 3  # three bands pass as a colour
    return image.pixels.dtype.name in form.types and (
        form is _TIFF or (image.channels in form.channels and not bands)
    )


def _encode(form: Format, image: Image, block: bytes | None, quality: int | None) -> list[bytes]:
    if image.palette is not None and form.name not in _WITH_PALETTE:
        image = image.as_colours()
    large = image.pixels.size > _LARGE and image.palette is None
    if form.name == "PNG" and (image.pixels.dtype == np.uint16 or large):
        return png.encode(image.pixels, image.icc, block)
    if form.name in ("PPM", "PGM", "PNM"):
        return [pnm.encode(image.pixels)]
    return [_with_pillow(form, image, block, quality)]


def _with_pillow(form: Format, image: Image, block: bytes | None, quality: int | None) -> bytes:
    from PIL import Image as PillowImage

    picture = PillowImage.fromarray(np.ascontiguousarray(image.pixels))
    if image.palette is not None:
        picture.putpalette(image.palette)
    options: dict[str, Any] = {}
    if form.name != "BMP":
        options["exif"] = exif.PREFIX + block if block else None
        options["icc_profile"] = image.icc
    if form.lossy:
        options["quality"] = quality or DEFAULT_QUALITY
    if form.name == "JPEG":
        # Full colour resolution wherever the quality says that it matters.
        options["subsampling"] = 0 if options["quality"] >= 90 else 2
    elif form.name == "WebP":
        options["lossless"] = quality is None
        options["exact"] = True  # Keep the colours under transparent pixels.
    elif form.name == "PNG":
        options["compress_level"] = 4
    elif form.name == "HEIF":
        pillow.register_heif()
    buffer = io.BytesIO()
    picture.save(
        buffer, form.name.upper(), **{key: value for key, value in options.items() if value is not None}
    )
    return buffer.getvalue()
