"""Pillow and OpenCV as decoders of pictures of any mode, and PNG as chunks, checked for being whole.

`read_image` names the file in errors.
"""

from __future__ import annotations

import io
import struct
import threading
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from glualign.arrays import Array
from glualign.errors import ImageError, MissingExtraError, import_extra
from glualign.geometry import strips
from glualign.images import exif
from glualign.images.image import Image

if TYPE_CHECKING:
    from PIL import Image as PillowImage

_DIRECT = ("L", "LA", "RGB", "RGBA", "I", "I;16", "I;16B", "I;16L", "F")
_CONVERSIONS = {"1": "L", "La": "LA", "RGBa": "RGBA", "RGBX": "RGB", "YCbCr": "RGB", "HSV": "RGB"}
_LIMIT_LOCK = threading.Lock()
INCH = 0.0254  # metres
_DENSEST = 100_000.0  # pixels per inch; EXIF holds 32 bits, of which the ratios take 10,000 as denominator
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_USUAL_GAMMA = 0.4545  # 1 / 2.2, near that of sRGB
# Deflate cannot shrink more than this (RFC 1951: 258 bytes in 2 bits), so shorter data cannot hold the image.
MAX_DEFLATE_RATIO = 1032


def check_size(width: int, height: int, max_pixels: int | None, pixel_bytes: int = 1) -> None:
    """Refuse an image of over ``max_pixels``; one of more than 16 bytes (float RGBA) counts for several."""
    if max_pixels is not None and width * height * max(1, pixel_bytes / 16) > max_pixels:
        size = f" of {pixel_bytes} bytes" if pixel_bytes > 16 else ""
        raise ImageError(
            f"{width} x {height} pixels{size} exceed the limit of {max_pixels / 1e6:g} megapixels; "
            "raise it with --max-pixels (max_pixels=) if you trust the file"
        )


def no_page(page: int, pages: int) -> ImageError:
    """The error about a page that a file of ``pages`` does not have."""
    return ImageError(f"has {pages} page{'s' * (pages != 1)}; page {page} does not exist (the first is 0)")


def scaled(bits: int, to: int) -> tuple[str, ...]:
    """The note on values of ``bits`` that are read as ``to`` bits; none where these are the same."""
    return (f"its {bits}-bit values are scaled to {to} bit",) if bits != to else ()


def claimed_size(head: bytes) -> tuple[int, int]:
    """``(width, height)`` that the head of a PNG, WebP, JPEG 2000 or LERC claims; 0, 0 of other files."""
    number = int.from_bytes
    if head.startswith(b"\x89PNG"):
        return number(head[16:20], "big"), number(head[20:24], "big")
    if head.startswith(b"Lerc2 "):
        return number(head[18:22], "little"), number(head[14:18], "little")
    if (at := head.find(b"\xff\x4f\xff\x51")) >= 0:
        return number(head[at + 8 : at + 12], "big"), number(head[at + 12 : at + 16], "big")
    if not head.startswith(b"RIFF"):
        return 0, 0
    if head[12:16] == b"VP8X":
        return 1 + number(head[24:27], "little"), 1 + number(head[27:30], "little")
    if head[12:16] == b"VP8L":
        bits = number(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return number(head[26:28], "little") & 0x3FFF, number(head[28:30], "little") & 0x3FFF


def register_heif(where: str = "") -> None:
    """Let Pillow read and write HEIC; without pillow-heif a MissingExtraError that begins with ``where``."""
    heif = import_extra("pillow_heif", "heif", f"{where}HEIC needs pillow-heif; install it with")
    heif.register_heif_opener()


def decode(kind: str, source: BinaryIO | bytes, page: int = 0, max_pixels: int | None = None) -> Image:
    """One page of a file in the format ``kind``, Pillow's name for it, with its EXIF.

    Not by ``PIL.Image.open``: it tries every format there is, and has one limit of its own for the process.
    """
    from PIL import Image as PillowImage

    PillowImage.init()
    if kind == "HEIF" and kind not in PillowImage.OPEN:
        register_heif()
    if kind not in PillowImage.OPEN:
        raise MissingExtraError(f"this Pillow has no {kind} decoder; upgrade it, or convert the file to PNG")
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    with _LIMIT_LOCK:  # The decoders of WebP and GIF look at Pillow's limit; ours was checked before.
        limit, PillowImage.MAX_IMAGE_PIXELS = PillowImage.MAX_IMAGE_PIXELS, None
        try:
            picture: PillowImage.Image = PillowImage.OPEN[kind][0](stream, "")
        finally:
            PillowImage.MAX_IMAGE_PIXELS = limit
    check_size(*picture.size, max_pixels)
    try:
        pages = getattr(picture, "n_frames", 1)
    except Exception:  # A damaged later frame must not stop the first.
        pages = 1
    if page >= pages:
        raise no_page(page, pages)
    picture.seek(page)
    block = picture.info.get("exif") or b""
    return from_pillow(picture).replace(exif=block.removeprefix(exif.PREFIX) or None, pages=pages)


def from_pillow(picture: PillowImage.Image) -> Image:
    """The `Image` of an opened Pillow image, without its EXIF.

    A palette is kept with its transparency; with alpha beside it (PA) it becomes RGBA. CMYK and Lab are
    converted to sRGB, CMYK through its own profile when it has one; other modes keep their samples.
    """
    icc: bytes | None = picture.info.get("icc_profile") or None
    mode, clear, palette, alpha = picture.mode, picture.info.get("transparency"), None, b""
    notes, is_gif = tuple[str, ...](), picture.format == "GIF"
    if mode == "P":
        palette = bytes(picture.convert("P").getpalette("RGB") or b"")
        if clear is not None:  # alpha of the first entries, or the one entry that is clear
            alpha = clear if isinstance(clear, bytes) else b"\xff" * clear + b"\0"
    elif mode == "PA" or clear is not None:
        picture = picture.convert({"L": "LA", "1": "LA"}.get(mode, "RGBA"))
    elif mode in ("CMYK", "LAB"):
        picture, icc = _to_srgb(picture, icc)
        notes = (f"its {mode} colours are converted to sRGB",)
    elif mode in _CONVERSIONS:
        picture = picture.convert(_CONVERSIONS[mode])
    elif mode not in _DIRECT:
        raise ImageError(f"pixel mode {mode} is not supported; convert it to grey or RGB first")
    width, height = picture.size
    # In strips: one call for all samples would hold the image three times.
    pixel = np.asarray(picture.crop((0, 0, 1, 1)))
    pixels = np.empty((height, width, *pixel.shape[2:]), pixel.dtype.newbyteorder("="))
    for top, bottom in strips((height, width)):
        pixels[top:bottom] = np.asarray(picture.crop((0, top, width, bottom)))
    if mode == "I" and pixels.min(initial=0) >= 0 and pixels.max(initial=0) <= 65535:
        pixels = pixels.astype(np.uint16)  # 16-bit grey in older Pillow
    # Pillow draws the later frames of a GIF in RGB.
    is_labels = mode in ("P", "PA", "1") or pixels.dtype == np.int32 or (is_gif and mode.startswith("RGB"))
    image = Image(pixels, icc=icc, palette=palette, palette_alpha=alpha, is_labels=is_labels, notes=notes)
    return image.replace(dpi=checked_dpi(picture.info.get("dpi")))


def checked_dpi(dpi: Any) -> tuple[float, float] | None:
    """Two densities in pixels per inch, where they are such: files hold anything."""
    try:
        across, down = (round(float(each), 4) for each in dpi)
    except (TypeError, ValueError, OverflowError):
        return None
    return (across, down) if all(0 < each < _DENSEST for each in (across, down)) else None


def _to_srgb(picture: PillowImage.Image, icc: bytes | None) -> tuple[PillowImage.Image, bytes | None]:
    """A CMYK or Lab picture as RGB, and the profile that the RGB is in, if one was applied."""
    from PIL import ImageCms

    srgb = ImageCms.createProfile("sRGB")
    source: Any = None
    try:
        if icc:
            source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        elif picture.mode == "LAB":
            source = ImageCms.createProfile("LAB")
        if source is not None:
            converted = ImageCms.profileToProfile(picture, source, srgb, outputMode="RGB")
            if converted is not None:
                return converted, ImageCms.ImageCmsProfile(srgb).tobytes()
    except (ImageCms.PyCMSError, OSError):  # The profile is broken or does not fit the mode.
        pass
    return picture.convert("RGB"), None


def with_opencv(data: bytes | bytearray) -> Array:
    """Pixels of an encoded 16-bit or float image, in RGB order: Pillow has no such modes."""
    import cv2

    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise ImageError("cannot be decoded; it is damaged or of a variety OpenCV cannot read")
    if pixels.ndim == 3 and pixels.shape[2] in (3, 4):
        pixels[..., [0, 2]] = pixels[..., [2, 0]]
    return np.asarray(pixels)


def decode_png(stream: BinaryIO, page: int, max_pixels: int | None) -> Image:
    """Read a PNG of any depth; damaged metadata is left out with a note, what the pixels need is refused."""
    head = stream.read(33)
    width, height, bits, colour_type = struct.unpack(">IIBB", head[16:26])
    if head[12:16] != b"IHDR" or not (width and height) or colour_type not in _PNG_SAMPLES:
        raise ImageError(f"the PNG header is broken ({width} x {height}, colour type {colour_type})")
    check_size(width, height, max_pixels)
    data = head + stream.read()
    chunks, damaged = _png_chunks(data)
    raw_bytes = ((width * _PNG_SAMPLES[colour_type] * bits + 7) // 8 + 1) * height
    if raw_bytes > MAX_DEFLATE_RATIO * sum(len(c) for name, c in chunks if name == b"IDAT") + 1024:
        raise ImageError(f"the PNG claims {width} x {height} pixels but holds too little data")
    bodies = {name: bytes(chunk[8:-4]) for name, chunk in chunks if name != b"IDAT"}
    if bits == 16:
        image = _deep_png(chunks, bodies, colour_type)
    else:
        mended = PNG_SIGNATURE + b"".join(chunk for _, chunk in chunks) if damaged else data
        image = decode("PNG", mended, page)
    notes = tuple(f"its {name.decode()} chunk is damaged and left out" for name in damaged)
    gamma = int.from_bytes(bodies.get(b"gAMA", b""), "big") / 100_000
    if gamma and abs(gamma - _USUAL_GAMMA) > 0.01 and not bodies.keys() & {b"sRGB", b"iCCP"}:
        notes += (f"its gamma {gamma:g} is left out: viewers show the result with {_USUAL_GAMMA}",)
    if bits in (2, 4) and colour_type == 0:
        notes += scaled(bits, 8)
    block = (bodies.get(b"eXIf") or _exif_in_text(chunks)).removeprefix(exif.PREFIX) or None
    return image.replace(exif=block, notes=notes)


def _png_chunks(data: bytes) -> tuple[list[tuple[bytes, memoryview]], list[bytes]]:
    """Name and whole of every good chunk; names of damaged ones that the pixels do not need."""
    chunks, damaged, view, at = [], [], memoryview(data), len(PNG_SIGNATURE)
    name = b""
    while name != b"IEND":
        if at + 12 > len(data):
            raise ImageError("the PNG is truncated (it ends without its IEND chunk)")
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise ImageError(f"the PNG is truncated (inside its {name.decode('latin-1')} chunk)")
        if struct.unpack_from(">I", data, end - 4) == (zlib.crc32(view[at + 4 : end - 4]),):
            chunks.append((name, view[at:end]))
        elif name[0] & 32 and name.isalpha() and name != b"tRNS":  # a small letter: the pixels do not need it
            damaged.append(name)
        else:
            raise ImageError(f"the PNG is damaged ({name.decode('latin-1')} chunk: wrong checksum)")
        at = end
    return chunks, damaged


def _deep_png(chunks: list[tuple[bytes, memoryview]], bodies: dict[bytes, bytes], colour_type: int) -> Image:
    """Pixels, profile and density of a PNG of 16 bit, of its chunks as a whole and what is in them."""
    # libpng prints warnings about profiles it dislikes; and OpenCV makes alpha of tRNS for colour only.
    needed = PNG_SIGNATURE + b"".join(c for name, c in chunks if name in (b"IHDR", b"PLTE", b"IDAT", b"IEND"))
    pixels = with_opencv(needed)
    if colour_type == 4 and pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels = pixels[..., [0, 3]]  # OpenCV expands grey + alpha to four channels.
    if b"tRNS" in bodies and colour_type in (0, 2):
        bands = np.atleast_3d(pixels)
        clear = (bands == np.frombuffer(bodies[b"tRNS"], ">u2", bands.shape[2])).all(axis=2)
        pixels = np.dstack([bands, np.where(clear, 0, 65535).astype(np.uint16)])
    profile = None
    with suppress(zlib.error):  # name, 0, compression method, deflated profile
        packed = bodies.get(b"iCCP", b"").partition(b"\0")[2][1:]
        profile = zlib.decompressobj().decompress(packed, 1 << 26) or None
    across, down, unit = struct.unpack(">IIB", bodies.get(b"pHYs", b"").ljust(9, b"\0")[:9])
    dpi = checked_dpi((across * INCH, down * INCH)) if unit == 1 else None  # in pixels per metre
    return Image(pixels, icc=profile, dpi=dpi)


def _exif_in_text(chunks: list[tuple[bytes, memoryview]]) -> bytes:
    """EXIF as hexadecimal text, where ImageMagick and ExifTool put it before PNG had a chunk for it."""
    for name, body in ((name, bytes(chunk[8:-4])) for name, chunk in chunks if name in (b"tEXt", b"zTXt")):
        key, _, text = body.partition(b"\0")
        if key == b"Raw profile type exif":
            with suppress(zlib.error, ValueError):
                if name == b"zTXt":  # compression method, deflated text
                    text = zlib.decompressobj().decompress(text[1:], 1 << 26)
                return bytes.fromhex("".join(text.decode("latin-1").split("\n")[3:]))
    return b""
