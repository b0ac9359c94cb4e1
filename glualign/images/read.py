"""Reading images: what a file is, whether it is whole and not too large, then its pixels and metadata."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np

from glualign.arrays import Array
from glualign.errors import GlualignError, ImageError
from glualign.files import mask_beside, reading
from glualign.images import decode, exif, tiff
from glualign.images.image import Image, from_array

if TYPE_CHECKING:
    from PIL import Image as PillowImage

MaskFrom = Literal["alpha", "file"]
DEFAULT_MAX_PIXELS = 300_000_000
READABLE = ("JPEG", "PNG", "WebP", "TIFF", "BMP", "PPM/PGM", "GIF", "JPEG 2000", "AVIF", "HEIC")

_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"), "HEIF"),
}
_PILLOWS_NAMES = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM", "GIF", "JPEG2000")
_HEAD_BYTES = 1 << 16  # a profile may lie in front of the depth
# Magic, width, height, maximum; comments run from # to the end of the line; one white space ends it.
_GAP = rb"(?:\s|#[^\n]*\n)+"
_SIZED_PPM = re.compile(rb"P([2356])" + (_GAP + rb"(\d{1,10})") * 3 + rb"\s")
_END_OF_JPEG = b"\xff\xd9"
# The depth of the channels in AVIF and HEIC (ISO 23008-12, 6.5.6), where it is more than 8 bit.
_DEEP_HEIF = re.compile(rb"pixi\0\0\0\0[\x01-\x04]([\x09-\x10])")
_TAILS = (b"\xca\x58" * 512, b"\xfe\x7f" * 512)
# What decoders say of a variety that they do not know, as opposed to damage.
_UNSUPPORTED = re.compile(
    "not (supported|available|implemented)|unsupported|cannot handle|unknown|requires (?!a buffer)", re.I
)


def read_image(
    path: str | os.PathLike[str],
    *,
    apply_orientation: bool = True,
    page: int = 0,
    max_pixels: int | None = DEFAULT_MAX_PIXELS,
    mask_from: MaskFrom | None = None,
) -> Image:
    """Read an image file with its depth, channels, palette, ICC profile and EXIF.

    Args:
        path: JPEG, PNG, WebP, TIFF, BMP, PPM/PGM, GIF, JPEG 2000; AVIF and HEIC where the codec is
            installed. The content decides, not the extension.
        apply_orientation: turn the pixels the way the EXIF orientation says and reset the tag.
        page: page of a multi-page file, from 0.
        max_pixels: refuse larger images before decoding them; None for no limit.
        mask_from: which pixels to ignore (`Image.ignored`): those that are clear by their ``alpha``, or black
            in ``NAME_mask.png`` beside the file, where there is one (``file``).

    Returns:
        The image; its ``notes`` say what was left out, mended, or is shown otherwise than stored.

    Raises:
        ImageError: the file is missing, a folder or pipe, empty, not an image, truncated, damaged, too large
            or of a variety that is not supported.
        MissingExtraError: an optional package is needed for this format.
    """
    location = Path(path)
    with reading(location, ImageError) as stream:
        image = _read(stream, page, max_pixels).replace(path=location)
    if image.pages > 1:
        pages = f"has {image.pages} pages or frames: number {page} is read (--page N reads another)"
        image = image.noted(pages)
    image = _upright(image) if apply_orientation else image
    mask = mask_beside(location)
    if mask_from == "alpha" and (seen := image.as_colours()).has_alpha:
        clear = seen.pixels[..., -1] == 0
        return image.replace(ignored=clear if image.ignored is None else clear | image.ignored)
    if mask_from == "file" and mask.is_file():
        return image.ignore(read_image(mask, apply_orientation=apply_orientation, max_pixels=max_pixels))
    return image


def as_image(value: Image | str | os.PathLike[str] | Array | PillowImage.Image) -> Image:
    """An `Image` of a path (read by `read_image`), an array, a Pillow image or an `Image`.

    An array is copied, so that its owner may fill it with the next frame of a video.

    Raises:
        ImageError: as `read_image`, or the value is none of these, or its shape or type is not an image's.
    """
    if isinstance(value, Image):
        return value
    if isinstance(value, np.ndarray):
        return from_array(value.copy())
    if isinstance(value, (str, os.PathLike)):
        return read_image(value)
    from PIL import Image as PillowImage

    if not isinstance(value, PillowImage.Image):
        raise ImageError(
            f"{type(value).__name__} is not an image; give a path, a numpy array or a Pillow image"
        )
    image = decode.from_pillow(value)
    if len(value.getexif()):
        image = image.replace(exif=value.getexif().tobytes().removeprefix(exif.PREFIX))
    return _upright(image)


def _upright(image: Image) -> Image:
    """The image turned the way its EXIF orientation says, the tag reset."""
    if image.exif is None or (value := exif.orientation(image.exif)) == 1:
        return image
    upright = image.replace(
        exif.upright(image.pixels, value),
        exif=exif.patched(image.exif, {exif.ORIENTATION: 1}),
        turned=value,
        dpi=image.dpi[::-1] if image.dpi and value >= 5 else image.dpi,
        ignored=None if image.ignored is None else exif.upright(image.ignored, value),
        georeference={},
    )
    lost = "its georeference is left out: its pixels are turned upright (--no-exif does not)"
    return upright.noted(lost) if image.georeference else upright


def _read(stream: BinaryIO, page: int, max_pixels: int | None) -> Image:
    from PIL import Image as PillowImage

    if not (head := _head(stream)):
        raise ImageError("the file is empty")
    PillowImage.init()
    kind = _BRANDS.get(head[8:12]) if head[4:8] == b"ftyp" else None
    for name in _PILLOWS_NAMES if kind is None else ():
        accepts = PillowImage.OPEN[name][1]
        if accepts is not None and accepts(head):
            kind = name
    if kind is None:
        raise ImageError(f"is not an image (its content is none of {', '.join(READABLE)})")
    if page < 0:
        raise ImageError(f"page {page} does not exist (the first is 0)")
    try:
        image = _READERS.get(kind, partial(decode.decode, kind))(stream, page, max_pixels)
    except (GlualignError, MemoryError):
        raise
    except Exception as error:  # Decoders meet damaged files with errors of every kind.
        unsupported = isinstance(error, NotImplementedError) or _UNSUPPORTED.search(str(error))
        if not unsupported or getattr(error, "errno", None):
            raise
        raise ImageError(
            f"this variety of {kind} is not supported ({error}); convert it to PNG or plain TIFF"
        ) from error
    if page >= image.pages:  # of formats with one
        raise decode.no_page(page, image.pages)
    return image


def _head(stream: BinaryIO) -> bytes:
    """The first bytes of a file, from whose beginning is read on."""
    head = stream.read(_HEAD_BYTES)
    stream.seek(0)
    return head


def _read_webp(stream: BinaryIO, page: int, max_pixels: int | None) -> Image:
    # The decoder allocates the canvas before it can be asked.
    decode.check_size(*decode.claimed_size(_head(stream)), max_pixels)
    return decode.decode("WEBP", stream, page, max_pixels)


def _read_jpeg2000(stream: BinaryIO, page: int, max_pixels: int | None) -> Image:
    """With its depth, which Pillow reduces to 8 bit in colour, refused or noted."""
    head, bits = _head(stream), 0
    if 0 <= (size := head.find(b"\xff\x4f\xff\x51")) < len(head) - 43:
        channels = int.from_bytes(head[size + 40 : size + 42], "big")
        depths = head[size + 42 : size + 42 + 3 * channels : 3]
        bits = max(depth & 127 for depth in depths) + 1
        if max(depths) > 127:
            raise ImageError("signed JPEG 2000 is not supported; convert it to TIFF")
        if channels > 1 and bits > 8:
            raise ImageError(f"{bits}-bit JPEG 2000 in colour is not supported; convert it to TIFF")
    image = decode.decode("JPEG2000", stream, page, max_pixels)
    return image.noted(*decode.scaled(bits, 8 * image.pixels.itemsize)) if bits else image


def _read_heif(kind: str, stream: BinaryIO, page: int, max_pixels: int | None) -> Image:
    match = _DEEP_HEIF.search(_head(stream))
    image = decode.decode(kind, stream, page, max_pixels)
    return image.noted(*decode.scaled(match[1][0], 8 * image.pixels.itemsize)) if match else image


def _read_ppm(stream: BinaryIO, page: int, max_pixels: int | None) -> Image:
    """A PGM or PPM, its values scaled to 255, those of 16 bit to 65535.

    Pillow reduces 16 bit to 8, and OpenCV does not scale it.
    """
    match = _SIZED_PPM.match(_head(stream))
    kind, width, height, maximum = (int(group) for group in match.groups()) if match else (0, 0, 0, 255)
    most = 255 if maximum <= 255 else 65535
    notes = (f"its values, 0 to {maximum}, are scaled to {most}",) if maximum != most else ()
    if match is None or maximum <= 255:
        return decode.decode("PPM", stream, page, max_pixels).noted(*notes)
    decode.check_size(width, height, max_pixels)
    if kind in (2, 3) or maximum > 65535:
        raise ImageError("PGM/PPM of more than 8 bit is read as binary of up to 16 bit only; save it so")
    shape = (height, width) if kind == 5 else (height, width, 3)
    stream.seek(match.end())
    pixels = np.frombuffer(stream.read(2 * math.prod(shape)), ">u2").astype(np.uint32).reshape(shape)
    scaled = np.minimum((pixels * 65535 + maximum // 2) // maximum, 65535).astype(np.uint16)
    return Image(scaled, notes=notes)


def _read_jpeg(stream: BinaryIO, page: int, max_pixels: int | None) -> Image:
    """A JPEG, also one that lacks nothing but the marker of its end; a note where its data end early.

    Of 240 files cut by 1 to 8 bytes more than the marker, none that lacks pixels is accepted.
    """
    try:
        image = decode.decode("JPEG", stream, page, max_pixels)
    except OSError as error:
        if "truncated" not in str(error):
            raise
        stream.seek(0)
        data = stream.read().rstrip(b"\xff")
        image = decode.decode("JPEG", data + _END_OF_JPEG, max_pixels=max_pixels)
        if _lacks_pixels(data, image.pixels, _END_OF_JPEG, _TAILS):
            raise
        return image.noted("its end marker is missing; the pixels are complete")
    # Where data end early, decoders repeat the last colour: the whole last row of blocks has it.
    if (image.pixels[-8:] == image.pixels[-1, -1]).all():
        stream.seek(0)
        data, end, rest = stream.read().rpartition(_END_OF_JPEG)
        if _lacks_pixels(data, image.pixels, end + rest, _TAILS[:1]):
            return image.noted("its data end early: one colour fills the rest")
    return image


def _lacks_pixels(data: bytes, pixels: Array, end: bytes, tails: Sequence[bytes]) -> bool:
    """Whether bytes between a JPEG's data and their end make a difference to its pixels.

    Decoders go on with zeros where data are missing, and skip what comes after the last pixel.
    """
    return any(not np.array_equal(decode.decode("JPEG", data + t + end).pixels, pixels) for t in tails)


_READERS: dict[str, Callable[[BinaryIO, int, int | None], Image]] = {
    "TIFF": tiff.read,
    "PNG": decode.decode_png,
    "JPEG": _read_jpeg,
    "PPM": _read_ppm,
    "WEBP": _read_webp,
    "JPEG2000": _read_jpeg2000,
    "AVIF": partial(_read_heif, "AVIF"),
    "HEIF": partial(_read_heif, "HEIF"),
}
"""Of the formats about which Pillow has to be told something, or is not asked at all."""
