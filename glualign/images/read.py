"""Reading images: what a file is, whether it is whole and not too large, then its pixels and metadata."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from glualign.errors import GlualignError, ImageError, MissingExtraError
from glualign.images import decode, exif, png, pnm, tiff
from glualign.images.image import Image, from_array

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image as PillowImage

DEFAULT_MAX_PIXELS = 300_000_000
READABLE = ("JPEG", "PNG", "WebP", "TIFF", "BMP", "PPM/PGM", "AVIF", "HEIC")

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_AVIF_BRANDS = (b"avif", b"avis")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_HEAD_BYTES = 4096


def read_image(
    path: str | os.PathLike[str],
    *,
    apply_orientation: bool = True,
    page: int = 0,
    max_pixels: int | None = DEFAULT_MAX_PIXELS,
    keep_palette: bool = False,
) -> Image:
    """Read an image file with its depth, channels, ICC profile and EXIF.

    Args:
        path: JPEG, PNG, WebP, TIFF, BMP, PPM/PGM; AVIF and HEIC where the codec is installed. The
            content decides, not the extension.
        apply_orientation: turn the pixels the way the EXIF orientation says and reset the tag.
        page: page of a multi-page file, from 0.
        max_pixels: refuse larger images before decoding them; None for no limit.
        keep_palette: give the indices of a palette image (for label maps) instead of its colours.

    Raises:
        ImageError: the file is missing, a folder, empty, not an image, truncated, damaged or too large.
        MissingExtraError: an optional package is needed for this format.
    """
    location = Path(path)
    try:
        if location.is_dir():
            raise ImageError(f"{location}: is a folder; give an image file")
        with location.open("rb") as stream:
            image = _read(stream, location, page, max_pixels, keep_palette)
    except FileNotFoundError as error:
        raise ImageError(f"{location}: no such file") from error
    except OSError as error:
        raise ImageError(f"{location}: cannot be read ({error.strerror or error})") from error
    value = exif.orientation(image.exif)
    if not apply_orientation or value == 1 or image.exif is None:
        return image
    return Image(
        exif.upright(image.pixels, value),
        image.path,
        image.icc,
        exif.reset_orientation(image.exif),
        image.palette,
    )


def as_image(
    value: Image | str | os.PathLike[str] | npt.NDArray[Any] | PillowImage.Image, **options: Any
) -> Image:
    """An `Image` of a path (read with ``options`` of `read_image`), an array, a Pillow image or an `Image`.

    Raises:
        ImageError: as `read_image`, or the value is none of these, or its shape or type is not an image's.
    """
    if isinstance(value, Image):
        return value
    if isinstance(value, np.ndarray):
        return from_array(value)
    if isinstance(value, (str, os.PathLike)):
        return read_image(value, **options)
    from PIL import Image as PillowImage

    if isinstance(value, PillowImage.Image):
        return _from_pillow(value, options.get("apply_orientation", True))
    raise ImageError(f"{type(value).__name__} is not an image; give a path, a numpy array or a Pillow image")


def _from_pillow(picture: PillowImage.Image, apply_orientation: bool) -> Image:
    pixels, icc, _ = decode.with_pillow(picture, Path("Pillow image"), keep_palette=False)
    block = exif.strip_prefix(picture.getexif().tobytes()) if len(picture.getexif()) else None
    value = exif.orientation(block)
    if apply_orientation and block is not None and value != 1:
        pixels, block = exif.upright(pixels, value), exif.reset_orientation(block)
    return Image(pixels, None, icc, block)


def _read(stream: BinaryIO, path: Path, page: int, max_pixels: int | None, keep_palette: bool) -> Image:
    head = stream.read(_HEAD_BYTES)
    stream.seek(0)
    if not head:
        raise ImageError(f"{path}: the file is empty")
    kind = _sniff(head)
    if kind is None:
        raise ImageError(f"{path}: is not an image (its content is none of {', '.join(READABLE)})")
    if page < 0:
        raise ImageError(f"{path}: page {page} does not exist (the first is 0)")
    try:
        if kind == "TIFF":
            return _read_tiff(stream, path, page, max_pixels, keep_palette)
        if kind == "PNG":
            header = png.read_header(head, path)
            _check_size(header.width, header.height, max_pixels, path)
            chunks = png.check_whole(stream, path)
            if header.bits == 16:
                return _read_png16(stream, path, chunks)
        pnm_header = pnm.read_header(head) if kind == "PPM" else None
        if pnm_header is not None and pnm_header[3] > 255:
            _check_size(pnm_header[1], pnm_header[2], max_pixels, path)
            return Image(pnm.decode16(stream.read(), path), path)
        return _read_with_pillow(stream, path, kind, page, max_pixels, keep_palette)
    except (GlualignError, FileNotFoundError):
        raise
    except MemoryError as error:
        raise ImageError(f"{path}: there is not enough memory to decode it") from error
    except Exception as error:  # Decoders meet damaged files with errors of every kind.
        raise ImageError(f"{path}: cannot be decoded; the file is truncated or damaged ({error})") from error


def _sniff(head: bytes) -> str | None:
    """The format that the content shows, under Pillow's name for it."""
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(png.SIGNATURE):
        return "PNG"
    if head.startswith(_TIFF_MAGIC):
        return "TIFF"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] == b"BM":
        return "BMP"
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return "PPM"
    if head[4:8] == b"ftyp":
        if head[8:12] in _AVIF_BRANDS:
            return "AVIF"
        if head[8:12] in _HEIF_BRANDS:
            return "HEIF"
    return None


def _check_size(width: int, height: int, max_pixels: int | None, path: Path) -> None:
    if max_pixels is not None and width * height > max_pixels:
        raise ImageError(
            f"{path}: {width} x {height} pixels exceed the limit of {max_pixels / 1e6:g} megapixels; "
            "raise it with --max-pixels (max_pixels=) if you trust the file"
        )


def _read_png16(stream: BinaryIO, path: Path, chunks: dict[bytes, bytes]) -> Image:
    pixels = decode.with_opencv(png.pixels_only(stream), path)
    stream.seek(25)
    if stream.read(1) == b"\4" and pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels = pixels[..., [0, 3]]  # OpenCV expands grey + alpha to four channels.
    return Image(pixels, path, _profile(chunks.get(b"iCCP")), chunks.get(b"eXIf"))


def _profile(chunk: bytes | None) -> bytes | None:
    """The profile inside an iCCP chunk: name, 0, compression method, deflated profile."""
    import zlib

    _, _, rest = (chunk or b"").partition(b"\0")
    try:
        return zlib.decompressobj().decompress(rest[1:], 1 << 26) or None
    except zlib.error:
        return None


def _read_tiff(stream: BinaryIO, path: Path, index: int, max_pixels: int | None, keep_palette: bool) -> Image:
    page = tiff.read_page(stream, index, path)
    width, height = page.integer(tiff.WIDTH), page.integer(tiff.HEIGHT)
    _check_size(width, height, max_pixels, path)
    block, icc = tiff.read_exif(page), page.bytes(tiff.ICC_PROFILE)
    samples, bits = page.integer(tiff.SAMPLES, 1), page.integers(tiff.BITS) or [1]
    sample_format = page.integer(tiff.SAMPLE_FORMAT, 1)
    photometric = page.integer(tiff.PHOTOMETRIC, 1)
    palette = None
    if bits[0] <= 8 and sample_format == 1:
        picture = _open_pillow(page.isolate(), "TIFF", path)
        pixels, icc, palette = decode.with_pillow(picture, path, keep_palette=keep_palette)
    elif photometric > 2:
        raise ImageError(
            f"{path}: {bits[0]}-bit palette, CMYK or Lab TIFF is not supported; convert it to RGB"
        )
    elif samples in (1, 3, 4) and (bits[0], sample_format) in ((16, 1), (32, 3), (64, 3)):
        pixels = decode.with_opencv(page.isolate(), path)
    else:
        pixels = decode.with_tifffile(path, index)
    pixels = _checked_tiff_pixels(pixels, (height, width), path)
    if bits[0] == 16 and photometric == 0:
        pixels = np.uint16(65535) - pixels  # "white is zero"
    if bits[0] == 16 and page.integer(tiff.EXTRA_SAMPLES, 2) == 1 and pixels.ndim == 3:
        pixels = _straight_alpha(pixels)
    return Image(pixels, path, icc, block, palette)


def _checked_tiff_pixels(pixels: npt.NDArray[Any], size: tuple[int, int], path: Path) -> npt.NDArray[Any]:
    if pixels.ndim == 3 and pixels.shape[2] not in (1, 2, 3, 4):
        raise ImageError(
            f"{path}: {pixels.shape[2]} channels are not supported; split them into separate files"
        )
    if pixels.shape[:2] != size:
        raise ImageError(
            f"{path}: decoded to {pixels.shape[:2]} pixels where the file says {size}; it is damaged"
        )
    if pixels.dtype.name not in ("uint8", "uint16", "float16", "float32", "float64"):
        raise ImageError(
            f"{path}: {pixels.dtype.name} pixels are not supported; convert to 16 bit or float first"
        )
    return from_array(pixels).pixels


def _straight_alpha(pixels: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    out = pixels.copy()
    alpha = pixels[..., -1:].astype(np.float32)
    colour = pixels[..., :-1] * np.float32(65535) / np.maximum(alpha, 1)
    out[..., :-1] = np.minimum(colour + np.float32(0.5), 65535).astype(np.uint16)
    return out


def _open_pillow(stream: Any, kind: str, path: Path) -> PillowImage.Image:
    """Open with the decoder of that format only.

    Not ``PIL.Image.open``: it tries every format there is, and its size limit is a process-wide global.
    """
    from PIL import Image as PillowImage

    PillowImage.init()
    if kind == "HEIF" and kind not in PillowImage.OPEN:
        try:
            import pillow_heif
        except ImportError as error:
            raise MissingExtraError(
                f"{path}: HEIC needs pillow-heif; install it with: pip install 'glualign[heif]'"
            ) from error
        pillow_heif.register_heif_opener()
    if kind not in PillowImage.OPEN:
        raise MissingExtraError(
            f"{path}: this Pillow has no {kind} decoder; upgrade it, or convert the file to PNG"
        )
    picture: PillowImage.Image = PillowImage.OPEN[kind][0](stream, "")
    return picture


def _read_with_pillow(
    stream: BinaryIO, path: Path, kind: str, page: int, max_pixels: int | None, keep_palette: bool
) -> Image:
    stream.seek(0)
    picture = _open_pillow(stream, kind, path)
    pages = getattr(picture, "n_frames", 1)
    if page >= pages:
        raise ImageError(
            f"{path}: has {pages} page{'s' * (pages != 1)}; page {page} does not exist (the first is 0)"
        )
    if page:
        picture.seek(page)
    _check_size(*picture.size, max_pixels, path)
    pixels, icc, palette = decode.with_pillow(picture, path, keep_palette=keep_palette)
    block = picture.info.get("exif")
    return Image(pixels, path, icc, exif.strip_prefix(block) if block else None, palette)
