"""Reading one page of a TIFF through tifffile, with every band it has."""

from __future__ import annotations

import logging
import lzma
import struct
import zlib
from importlib.util import find_spec
from itertools import islice, takewhile
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from glualign.arrays import Array
from glualign.errors import ImageError, MissingExtraError
from glualign.geometry import size_of, strips
from glualign.images import decode, exif
from glualign.images.image import Image
from glualign.images.tiff_tags import (
    ICC_PROFILE,
    PHOTOMETRIC,
    dpi_of,
    exif_of,
    gdal_metadata_of,
    georeference_of,
    nodata_of,
    tag_value,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    import tifffile

_SUBFILE, _DNG_VERSION = 254, 50706
_SENSOR_DATA = (32803, 34892)
_PRINTED = {5: "CMYK", 8: "LAB", 9: "LAB"}
_YCBCR, _LAB_OFFSET = 6, 9
_YCBCR_USUAL = {529: (0.299, 0.587, 0.114), 532: (0, 255, 128, 255, 128, 255)}
"""Coefficients, and values of black and white, of the YCbCr that Pillow converts."""
_LIBTIFF = (2, 3, 4, 5, 6, 7, 8, 32773, 32946)
"""Compressions (fax, LZW, JPEG, deflate, PackBits) that Pillow and OpenCV bring."""
_LZMA = 34925
_JPEG = (6, 7)
_DEFLATE, _SLACK = (8, 32946), 1 << 20
_EMBEDDED = (33003, 33004, 33005, 34712, 34887, 34933, 50001)
"""Compressions whose segments are images with a size of their own: JPEG 2000, LERC, PNG, WebP."""
_SUPPORTED = (1, *_LIBTIFF, _LZMA, *_EMBEDDED, 50000)
_MAX_PAGES = 100_000

# tifffile logs what it finds odd; without a handler, Python would print that.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


def read(stream: BinaryIO, index: int, max_pixels: int | None) -> Image:
    """Page ``index`` of a TIFF, all bands, its samples as stored.

    Palettes stay; less than 8 bit is scaled to 8, "white is zero" inverted, premultiplied alpha made
    straight, 8-bit CMYK and Lab converted to sRGB, YCbCr to RGB. The orientation is left in ``exif``.
    """
    import tifffile

    with tifffile.TiffFile(stream) as file:
        pages, page, masks = _select(file, index)
        image = _decoded(stream, page, max_pixels)
        try:
            fitting = (mask for mask in masks if (mask.imagelength, mask.imagewidth) == image.size)
            if (mask := next(fitting, None)) is not None:
                shown = _decoded(stream, mask, max_pixels).pixels.reshape(*image.size, -1).any(axis=2)
                image = image.replace(ignored=~shown)
                image = image.noted("its internal mask says which pixels hold data; it is not copied")
        except Exception as error:  # The pixels are fine.
            image = image.noted(f"its internal mask cannot be read and is left out ({error})")
        place, faults = georeference_of(page)
        converted, bits = _is_converted(page), page.bitspersample
        if 1 < bits < 8 and tag_value(page, PHOTOMETRIC, 1) != 3:
            faults += decode.scaled(bits, 8)
        return image.noted(*faults).replace(
            exif=exif_of(stream, page),
            icc=image.icc if converted else tag_value(page, ICC_PROFILE, b"") or None,
            nodata=None if converted else nodata_of(page),
            dpi=dpi_of(page),
            gdal_metadata=gdal_metadata_of(page),
            georeference=place,
            pages=pages,
        )


def _decoded(stream: BinaryIO, page: tifffile.TiffPage, max_pixels: int | None) -> Image:
    """The pixels of a page that has been checked."""
    _check(page, page.parent.filehandle.size, max_pixels)
    _check_segments(stream, page)
    try:
        # (planes, depth, height, width, interleaved samples), whether planar or not, in strips or tiles
        samples = page.asarray(squeeze=False)
        if samples.ndim != 5:
            kind = f"{page.bitspersample} bit and format {page.sampleformat}"
            raise ValueError(f"samples of {kind} not supported")
        pixels = samples[0, 0] if samples.shape[0] == 1 else np.moveaxis(samples[:, 0, :, :, 0], 0, -1)
        return _interpreted(page, np.ascontiguousarray(pixels))
    except Exception as error:
        needs_codecs = "imagecodecs" in str(error) or isinstance(error, NotImplementedError)
        if not needs_codecs or find_spec("imagecodecs"):
            raise
        return _without_codecs(stream, page, error)


def _select(
    file: tifffile.TiffFile, index: int
) -> tuple[int, tifffile.TiffPage, Iterator[tifffile.TiffPage]]:
    """``(number of pages, page, masks behind it)``; of a thumbnail in front, what it is one of."""
    import tifffile

    handle, form = file.filehandle, file.tiff
    handle.seek(form.offsetsize)  # 4 in a classic TIFF, 8 in a BigTIFF
    # Offset -> NewSubfileType. tifffile's own list finds few of the chains that never end.
    chain: dict[int, int] = {}
    (offset,) = struct.unpack(form.offsetformat, handle.read(form.offsetsize))
    while offset:
        if offset in chain or len(chain) >= _MAX_PAGES or offset >= handle.size:
            raise ImageError("the TIFF is truncated or its page list is broken")
        handle.seek(offset)
        (count,) = struct.unpack(form.tagnoformat, handle.read(form.tagnosize))
        if count > 4096:
            raise ImageError(f"the TIFF directory is broken ({count} entries)")
        entries = handle.read(count * form.tagsize + form.offsetsize)
        chain[offset] = 0
        for at in range(0, count * form.tagsize, form.tagsize):
            (tag,) = struct.unpack_from(form.byteorder + "H", entries, at)
            if tag == _SUBFILE:
                value = at + form.tagsize - form.offsetsize
                (chain[offset],) = struct.unpack_from(form.byteorder + "I", entries, value)
            if tag >= _SUBFILE:  # entries are sorted
                break
        (offset,) = struct.unpack(form.offsetformat, entries[-form.offsetsize :])
    # Reduced images and masks (1 and 4) are no pages, unless there is nothing else.
    whole = [offset for offset, kind in chain.items() if not kind & 5] or list(chain)[:1]
    if index >= len(whole):
        raise decode.no_page(index, len(whole))

    def page_at(offset: int) -> tifffile.TiffPage:
        handle.seek(offset)
        return tifffile.TiffPage(file, index=0)

    first, page = page_at(next(iter(chain))), page_at(whole[index])
    inner = [page_at(offset) for offset in list(first.subifds or ())[:16] if offset]
    raw = any(tag_value(each, PHOTOMETRIC, 0) in _SENSOR_DATA for each in (first, page, *inner))
    if raw or _DNG_VERSION in first.tags:
        raise ImageError("is the raw file of a camera; develop it to TIFF, PNG or JPEG first")
    if chain[page.offset] & 1:
        page = next((each for each in inner if not tag_value(each, _SUBFILE, 0) & 1), page)
    after = list(chain)[list(chain).index(page.offset) + 1 :] if page.offset in chain else []
    own = takewhile(lambda offset: chain[offset] & 5, after)  # reduced, a mask, or both: not the next page
    masks = (page_at(offset) for offset in islice(own, 16) if chain[offset] & 4)
    return len(whole), page, masks


def _check(page: tifffile.TiffPage, size: int, max_pixels: int | None) -> None:
    width, height, samples = page.imagewidth, page.imagelength, page.samplesperpixel
    tile, bits = (page.tilewidth, page.tilelength, page.rowsperstrip), page.bitspersample
    # Of a damaged tag, tifffile gives several numbers: a tuple times a number would fill the memory.
    whole = all(isinstance(number, int) for number in (width, height, samples, bits, *tile, page.imagedepth))
    if not whole or not width or not height or not samples or not page.dataoffsets:
        raise ImageError("the TIFF directory is broken (no size or no pixels)")
    held = (max(width, page.tilewidth), max(height, page.tilelength)) if page.is_tiled else (width, height)
    decode.check_size(*held, max_pixels, samples * max(1, bits // 8))
    if any(o + n > size for o, n in zip(page.dataoffsets, page.databytecounts, strict=False)):
        raise ImageError("the TIFF is truncated (pixels lie beyond its end)")
    if page.imagedepth != 1:
        raise ImageError("volumes are not supported; save its planes as pages")
    if page.compression not in _SUPPORTED:
        raise ImageError(f"TIFF compression {_compression(page)} is not supported; save it with another")


def _check_segments(stream: BinaryIO, page: tifffile.TiffPage) -> None:
    """Refuse segments that hold more than their place.

    Decoders of images with a size of their own would allocate all of it, and tifffile without imagecodecs
    holds whatever comes of deflate and LZMA in memory.
    """
    inflated = page.compression in (*_DEFLATE, _LZMA) and not find_spec("imagecodecs")
    if not inflated and page.compression not in _EMBEDDED:
        return
    height = page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength)
    width = page.tilewidth if page.is_tiled else page.imagewidth
    most = height * width * page.samplesperpixel * max(1, page.bitspersample // 8) + _SLACK
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
        stream.seek(offset)
        if inflated:
            packed = lzma.LZMADecompressor() if page.compression == _LZMA else zlib.decompressobj()
            fits = len(packed.decompress(stream.read(count), most)) < most
        else:
            size = decode.claimed_size(stream.read(min(count, 256)))
            fits = size[0] <= width and size[1] <= height
        if not fits:
            raise ImageError("the TIFF is damaged (it holds more pixels than it claims)")


def _interpreted(page: tifffile.TiffPage, pixels: Array) -> Image:
    """The `Image` that ``(H, W, C)`` samples and tags mean."""
    photometric, bits = tag_value(page, PHOTOMETRIC, 1), page.bitspersample
    if pixels.dtype == np.float16:
        pixels = pixels.astype(np.float32)
    if photometric == 3:
        if pixels.dtype != np.uint8 or pixels.shape[2] != 1 or page.colormap is None:
            raise ImageError(f"palettes of {bits} bit are not supported; convert it to RGB")
        table = np.asarray(page.colormap, np.uint16)  # 16 bit by the standard; some programs write 8
        table = (table >> 8 if table.max() > 255 else table).astype(np.uint8)
        return Image(pixels[..., 0], palette=table.T.tobytes(), is_labels=True)
    if bits == 1:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    elif bits < 8:
        pixels = (pixels.astype(np.uint16) * 255 // (2**bits - 1)).astype(np.uint8)
    if photometric == 0 and pixels.dtype.kind == "u":  # "white is zero"
        pixels = pixels.dtype.type((1 << max(bits, 8)) - 1) - pixels
    if _is_converted(page):
        return _converted(page, pixels)
    if photometric not in (0, 1, 2, 4, _YCBCR):
        raise ImageError(f"colours of kind {photometric} are not supported; convert it to RGB")
    if pixels.dtype.name in ("int64", "uint64") or pixels.dtype.kind == "c":
        raise ImageError(f"{pixels.dtype.name} pixels are not supported; convert to 32 bit or float")
    extra = _extra_samples(page, pixels.shape[2])
    if len(extra) == 1 and extra[0] in (1, 2):
        return Image(straight_alpha(pixels) if extra[0] == 1 else pixels)
    if extra:
        return Image(pixels, extrasamples=extra)
    if pixels.shape[2] == 3:
        return Image(pixels)
    return Image(pixels[..., 0], is_labels=bits == 1 or pixels.dtype.name in ("int32", "uint32"))


def _extra_samples(page: tifffile.TiffPage, count: int) -> tuple[int, ...]:
    """ExtraSamples for each of the bands behind grey or RGB; 0 (unspecified) where the file says nothing."""
    base = 3 if tag_value(page, PHOTOMETRIC, 1) in (2, _YCBCR) else 1
    if count < base:
        raise ValueError(f"{count} of {base} colours")
    said = tuple(int(value) for value in page.extrasamples or ())
    return (said + (0,) * count)[: count - base]


def _is_converted(page: tifffile.TiffPage) -> bool:
    """Whether the colours are CMYK, Lab or YCbCr; of JPEG and its like, decoders give RGB."""
    photometric = tag_value(page, PHOTOMETRIC, 0)
    is_raw = page.compression not in (*_JPEG, *_EMBEDDED)
    return photometric in _PRINTED or (photometric == _YCBCR and is_raw)


def _converted(page: tifffile.TiffPage, pixels: Array) -> Image:
    """CMYK and Lab as sRGB, YCbCr as RGB; pixels without data are ignored, for their value changes."""
    from PIL import Image as PillowImage

    photometric = tag_value(page, PHOTOMETRIC, 0)
    mode = _PRINTED.get(photometric, "YCbCr")
    colours = 4 if mode == "CMYK" else 3
    if pixels.dtype != np.uint8 or pixels.shape[2] < colours:
        raise ImageError(f"{page.bitspersample}-bit {mode} is not supported; convert it to RGB")
    for tag, usual in _YCBCR_USUAL.items() if mode == "YCbCr" else ():
        ratios = np.reshape(tag_value(page, tag, ()), (-1, 2))
        if len(ratios) and not np.allclose(ratios[:, 0], ratios[:, 1] * usual, rtol=1e-3):
            raise ImageError("YCbCr of unusual coefficients or range is not supported; convert it to RGB")
    nodata = nodata_of(page)
    hole = None if nodata is None else (pixels == nodata).all(axis=2)
    values = np.ascontiguousarray(pixels[..., :colours])
    if photometric == _LAB_OFFSET:
        values[..., 1:] ^= 128  # `frombytes` takes a and b signed, as the other Lab of TIFF has them
    picture = PillowImage.frombytes(mode, (values.shape[1], values.shape[0]), values.tobytes())
    picture.info["icc_profile"] = tag_value(page, ICC_PROFILE, b"") or None
    image = decode.from_pillow(picture).replace(ignored=hole)
    return image.noted("its extra channels are dropped") if pixels.shape[2] > colours else image


def straight_alpha(pixels: Array) -> Array:
    """Premultiplied colours divided by their alpha, the last channel."""
    full = 1.0 if pixels.dtype.kind == "f" else float(np.iinfo(pixels.dtype).max)
    out = pixels.copy()
    for top, bottom in strips(size_of(pixels)):
        rows = pixels[top:bottom].astype(np.float64)
        alpha = rows[..., -1:]
        colour = np.divide(rows[..., :-1] * full, alpha, out=np.zeros_like(rows[..., :-1]), where=alpha > 0)
        if pixels.dtype.kind == "u":
            colour = np.minimum(colour + 0.5, full)
        out[top:bottom, :, :-1] = colour.astype(pixels.dtype)
    return out


def _without_codecs(stream: BinaryIO, page: tifffile.TiffPage, error: Exception) -> Image:
    """The page as the TIFF decoders of Pillow (up to 8 bit) and OpenCV (16 bit, float) give it."""
    stream.seek(0)
    data = bytearray(stream.read())
    # Both read the first page, and turn it where it says so.
    form = page.parent.tiff
    struct.pack_into(form.offsetformat, data, form.offsetsize, page.offset)
    if (turned := page.tags.get(exif.ORIENTATION)) is not None and turned.dtype == 3:
        struct.pack_into(form.byteorder + "H", data, turned.valueoffset, 1)
    extra = _extra_samples(page, page.samplesperpixel) if page.photometric in (0, 1, 2) else ()
    known, kind = page.compression in _LIBTIFF, (page.bitspersample, page.sampleformat)
    if known and page.bitspersample <= 8 and len(extra) <= 1 and 0 not in extra and page.sampleformat == 1:
        return decode.decode("TIFF", bytes(data))
    chunky = page.samplesperpixel in (1, 3) and page.planarconfig == 1
    if known and chunky and kind in ((16, 1), (32, 3), (64, 3)):
        return _interpreted(page, np.atleast_3d(decode.with_opencv(data)))
    raise MissingExtraError(
        f"this variety of TIFF ({_compression(page)}, {page.bitspersample} bit) needs imagecodecs; "
        "install it with: pip install 'glualign[tiff]'"
    ) from error


def _compression(page: tifffile.TiffPage) -> str:
    return str(getattr(page.compression, "name", page.compression))
