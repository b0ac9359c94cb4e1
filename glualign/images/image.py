"""`Image`: pixels with what travels with them from file to file, and what is seen of them as 8-bit RGB."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from glualign.arrays import Array, Bytes, Doubles, Mask
from glualign.errors import ImageError
from glualign.geometry import fill_unknown, size_of, strips

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Sample = TypeVar("Sample", np.uint8, np.float32)
DEPTHS = {
    "uint8": "8-bit",
    "int8": "signed 8-bit",
    "uint16": "16-bit",
    "int16": "signed 16-bit",
    "uint32": "32-bit",
    "int32": "signed 32-bit",
    "float32": "float",
    "float64": "64-bit float",
}
_SAMPLE_PIXELS = 1 << 19
# Percentiles that become black and white: a few outliers (hot pixels, spikes) must not set the range.
_PERCENTILES = (0.5, 99.5)
# A 16-bit or float image that uses less of its range is stretched: a quarter leaves 64 of 256 levels.
_NARROW = 0.25
_OVERSHOOT = 0.05
_FULL_RANGE = {"uint16": 65535.0, "float32": 1.0, "float64": 1.0}


@dataclass(frozen=True, eq=False)
class Image:
    """An image in memory.

    Attributes:
        pixels: ``(H, W)`` grey, ``(H, W, 2)`` grey + alpha, ``(H, W, 3)`` RGB or ``(H, W, 4)`` RGBA, of a
            type in `DEPTHS`. Alpha is straight, not premultiplied. With a ``palette``, ``(H, W)`` uint8
            indices into it. With ``extrasamples``, ``(H, W, C)`` with any number of bands. The array is not
            copied, except from foreign byte order.
        path: the file it came from.
        icc: ICC profile of the colours.
        exif: EXIF as a TIFF stream, without the ``Exif\\0\\0`` prefix; its orientation is already reset
            when the pixels were turned upright.
        palette: RGB triplets of an indexed image.
        palette_alpha: alpha of the first entries of the palette, empty where all are opaque.
        is_labels: values are names rather than brightness (indexed, 1-bit, one band of 32-bit integers), so
            interpolating them makes no sense.
        extrasamples: what TIFF says of the bands behind grey or RGB (0: unspecified, 1 and 2: alpha), when
            they are not just one alpha channel; None for grey and RGB with or without alpha.
        nodata: value of pixels that hold no data, None where the type of the pixels cannot hold it; NaN
            always means that in float images.
        dpi: pixels per inch of the printed or scanned page, ``(horizontal, vertical)``.
        gdal_metadata: what GDAL says of the values (XML: scale, offset, names of bands); TIFF only.
        ignored: ``(H, W)`` bool, true at pixels that have no say in an alignment (sky, people, time stamps,
            what the internal mask of a TIFF hides); treated as if they held no data.
        georeference: GeoTIFF tags (see `glualign.georeference`): where the pixel grid lies on the map.
        turned: the EXIF orientation (1 to 8) of the pixels in the file, before they were turned upright.
        pages: pages or frames in the file.
        notes: what the user should know of how the file was read, a short sentence each.

    Raises:
        ImageError: the array is empty, or its shape or type is none of the above.
    """

    pixels: Array
    path: Path | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    palette: bytes | None = None
    palette_alpha: bytes = b""
    is_labels: bool = False
    extrasamples: tuple[int, ...] | None = None
    nodata: float | None = None
    dpi: tuple[float, float] | None = None
    gdal_metadata: str = ""
    ignored: Mask | None = None
    georeference: Mapping[int, Any] = field(default_factory=dict)
    turned: int = 1
    pages: int = 1
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape, dtype = self.pixels.shape, self.pixels.dtype.newbyteorder("=")
        is_colour = len(shape) == 3 and (self.extrasamples is not None or shape[2] in (2, 3, 4))
        if not (len(shape) == 2 or is_colour) or dtype.name not in DEPTHS:
            raise ImageError(
                f"{self.name}: {dtype} pixels of shape {shape} are not an image; expected (H, W) or "
                "(H, W, 2 to 4), integers of up to 32 bit or floating point numbers"
            )
        if self.pixels.size == 0:
            raise ImageError(f"{self.name}: the image has no pixels (shape {shape})")
        nodata = self.nodata
        if nodata is not None and dtype.kind == "f":
            with np.errstate(over="ignore"):
                rounded = float(dtype.type(nodata))
            nodata = rounded if math.isinf(rounded) == math.isinf(nodata) else None
        elif nodata is not None:
            limits = np.iinfo(dtype)
            nodata = nodata if nodata == np.rint(nodata) and limits.min <= nodata <= limits.max else None
        vars(self).update(pixels=self.pixels.astype(dtype, copy=False), nodata=nodata)

    @property
    def name(self) -> str:
        """Of the file, or "array"."""
        return self.path.name if self.path else "array"

    @property
    def size(self) -> tuple[int, int]:
        """``(height, width)``."""
        return size_of(self.pixels)

    @property
    def height(self) -> int:
        """Rows."""
        return self.size[0]

    @property
    def width(self) -> int:
        """Columns."""
        return self.size[1]

    @property
    def channels(self) -> int:
        """1 grey, 2 grey + alpha, 3 RGB, 4 RGBA; with ``extrasamples`` the number of bands."""
        return self.pixels.shape[2] if self.pixels.ndim == 3 else 1

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.extrasamples is None and self.channels in (2, 4)

    @property
    def colours(self) -> int:
        """Channels in front of alpha or further bands: 1 or 3."""
        return self.channels - len(self.extrasamples or ()) - self.has_alpha

    @property
    def depth(self) -> str:
        """Of a sample: "8-bit", "16-bit", "float" and the like."""
        return DEPTHS[self.pixels.dtype.name]

    @property
    def kind(self) -> str:
        """What a person calls it, e.g. "16-bit RGBA"."""
        if self.palette is not None:
            return f"{self.depth} palette"
        if self.extrasamples is None:
            return f"{self.depth} {('grey', 'grey + alpha', 'RGB', 'RGBA')[self.channels - 1]}"
        bands = f"RGB + {len(self.extrasamples)} bands" if self.colours == 3 else f"{self.channels} bands"
        return f"{self.depth} {bands}"

    @property
    def blank(self) -> float:
        """Value of pixels that show nothing: no data, a clear label, or 0."""
        if self.nodata is not None and not self.has_alpha:
            return self.nodata
        return float(max(0, self.palette_alpha.find(0)))

    def __repr__(self) -> str:
        return f"<Image {self.name}, {self.width} x {self.height}, {self.kind}>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """The pixels: ``np.asarray(image)``."""
        changed = dtype is not None and np.dtype(dtype) != self.pixels.dtype
        return self.pixels.astype(dtype) if changed or copy else self.pixels

    @cached_property
    def missing(self) -> Mask | None:
        """``(H, W)`` bool, true where a pixel holds no data; None when all do.

        A pixel without data has the no-data value in all of its bands, or a NaN or infinity in any, or is
        ignored.
        """
        found = np.zeros(self.size, np.bool_) if self.ignored is None else self.ignored.copy()
        bands = self.pixels.reshape(*self.size, -1)
        if self.nodata is not None:
            found |= (bands == self.nodata).all(axis=2)
        if bands.dtype.kind == "f":
            found |= ~np.isfinite(bands).all(axis=2)
        return found if found.any() else None

    def ignore(self, mask: Array | Image) -> Image:
        """The image with pixels ignored where ``mask``, of the same size, is black or, with alpha, clear.

        `black` says what that is; of 64-bit integers, all but 0 is kept.

        Raises:
            ImageError: the mask has another size, or leaves nothing.
        """
        if not isinstance(mask, Image):
            mask = np.asarray(mask)
            mask = from_array(mask != 0 if mask.dtype.name in ("int64", "uint64") else mask)
        name = mask.name if mask.path else "the mask"
        if mask.size != self.size:
            raise ImageError(
                f"{name}: a mask of {mask.width} x {mask.height} pixels does not fit {self.name}, "
                f"which has {self.width} x {self.height}; give one of the same size"
            )
        ignored = black(mask)
        if self.ignored is not None:
            ignored |= self.ignored
        if ignored.all():
            raise ImageError(f"{name}: leaves nothing of {self.name}; black is what is ignored")
        return self.replace(ignored=ignored)

    def replace(self, pixels: Array | None = None, **changes: Any) -> Image:
        """The same image with other pixels, or other fields: everything else is kept."""
        return replace(self, pixels=self.pixels if pixels is None else pixels, **changes)

    def on_grid_of(self, target: Image) -> Image:
        """The image, whose pixels are those of ``target``, where that lies on the map and on paper."""
        return self.replace(georeference=target.georeference, dpi=target.dpi)

    @property
    def palette_table(self) -> Bytes:
        """``(256, 3)`` colours of the palette; black behind its end."""
        return np.frombuffer((self.palette or b"").ljust(768, b"\0"), np.uint8)[:768].reshape(256, 3)

    def as_colours(self) -> Image:
        """The image with the colours of its palette, RGB or RGBA; itself when it has none.

        What holds the no-data value is ignored: no colour has that meaning.
        """
        if self.palette is None:
            return self
        table = self.palette_table
        if self.palette_alpha:
            table = np.column_stack([table, np.frombuffer(self.palette_alpha.ljust(256, b"\xff"), np.uint8)])
        colours = {"palette": None, "palette_alpha": b"", "is_labels": False}
        return self.replace(table[self.pixels], nodata=None, ignored=self.missing, **colours)


def black(mask: Image) -> Mask:
    """``(H, W)`` bool, true where a mask is black or, with alpha, clear.

    Black is less than an eighth of the largest value: 0 in masks of 0 and 1 or 0 and 255, and what JPEG makes
    of it. NaN is black.
    """
    mask = mask.as_colours()
    bands = mask.pixels.reshape(*mask.size, -1)
    shown = bands[..., : mask.colours]
    least = max(np.fmax.reduce(shown, axis=None) / 8, 0.5 if shown.dtype.kind != "f" else 1e-6)
    found = ~(shown >= least).any(axis=2)
    return np.asarray(found | ~(bands[..., -1] > 0) if mask.has_alpha else found)


def from_array(array: Array) -> Image:
    """An `Image` of an array; ``(H, W, 1)`` becomes ``(H, W)``, bool 0/255, float16/float64 float32.

    Other types are not copied. What a masked array masks in any band is ignored.
    """
    pixels = np.ma.getdata(array)
    ignored = np.atleast_3d(np.ma.getmaskarray(array)).max(axis=2) if np.ma.is_masked(array) else None
    pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    is_labels = pixels.dtype == np.bool_ or (pixels.ndim == 2 and pixels.dtype.name in ("int32", "uint32"))
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    elif pixels.dtype in (np.float16, np.float64):
        pixels = pixels.astype(np.float32)
    return Image(pixels, ignored=ignored, is_labels=is_labels)


def reduce_image(image: npt.NDArray[Sample], max_side: int | None) -> npt.NDArray[Sample]:
    """The image ``(H, W[, C])`` with its longer side at most ``max_side``, by area averaging."""
    height, width = image.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return image
    scale = max_side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), image.dtype)


def to_rgb8(image: Image) -> Bytes:
    """Contiguous ``(H, W, 3)`` uint8 RGB: what the network and the pictures see of an image.

    Grey is repeated, alpha is ignored unless nothing else holds the picture, a palette is looked up. Of more
    bands, the first three are shown. 16 bit is scaled by 255/65535 and float from 0..1, but what
    uses less than a quarter of that range or exceeds it, and every other type, is stretched. Pixels without
    data continue their surroundings, so that their outline is no structure. 8-bit RGB is returned as it is,
    not as a copy: do not write to the result.
    """
    image = image.as_colours()
    hole = image.missing
    if image.pixels.dtype == np.uint8 and image.pixels.shape[2:] == (3,) and hole is None:
        return np.ascontiguousarray(image.pixels)
    out = np.empty((*image.size, 3), np.uint8)
    channels, stretched = _shown(image, hole)
    low, high = stretched or (np.zeros(1), _FULL_RANGE.get(image.pixels.dtype.name, 1.0))
    for top, bottom in strips(image.size):
        rows = image.pixels[top:bottom].reshape(-1, image.width, image.channels)[..., channels]
        if rows.dtype != np.uint8:
            finite = np.nan_to_num(rows.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
            unit = (finite - low) / np.where(high > low, high - low, 1.0)
            rows = np.clip(unit, 0.0, 1.0) * 255.0 + 0.5
        out[top:bottom] = rows.astype(np.uint8)
    if hole is not None and not hole.all():
        _continue_into(out, hole)
    return out


def _shown(image: Image, hole: Mask | None) -> tuple[list[int], tuple[Doubles, Doubles] | None]:
    """Channels that are shown, one or three, and values that are black and white: None for the full range.

    Alpha is shown where it holds shapes cut out of nothing. Values are percentiles of a sample.
    """
    colours = image.channels if image.extrasamples is not None else image.colours
    channels = [0, 1, 2] if colours >= 3 else [0]
    if image.has_alpha:
        pixels, colour = image.pixels, image.pixels[0, 0, :-1]
        same = (colour == pixels[:: max(1, image.height // 64)][..., :-1]).all()
        if same and (colour == pixels[..., :-1]).all() and np.ptp(pixels[..., -1]) > 0:
            channels = [image.channels - 1]
    if image.pixels.dtype == np.uint8:
        return channels, None
    step = max(1, math.isqrt(image.height * image.width // _SAMPLE_PIXELS))
    bands = image.pixels.reshape(*image.size, -1)[::step, ::step]
    sample = bands.reshape(-1, image.channels) if hole is None else bands[~hole[::step, ::step]]
    values = sample[:, channels].astype(np.float64)
    if not len(values):
        return channels, None
    # Bands of unlike units each have a range; the channels of a colour share one.
    axis = 0 if image.extrasamples is not None and image.colours == 1 else None
    low, high = (np.atleast_1d(edge) for edge in np.percentile(values, _PERCENTILES, axis=axis))
    least, most = np.min(values, axis=axis), np.max(values, axis=axis)
    low, high = np.where(high <= low, least, low), np.where(high <= low, most, high)
    full = _FULL_RANGE.get(image.pixels.dtype.name, math.nan)
    fits = min(low) >= -_OVERSHOOT * full and max(high) <= (1 + _OVERSHOOT) * full
    return channels, None if fits and max(high - low) >= _NARROW * full else (low, high)


def display_notes(image: Image) -> tuple[str, ...]:
    """What a user should know of how `to_rgb8` shows the image, a short sentence each."""
    image, notes = image.as_colours(), list[str]()
    shown, stretched = _shown(image, image.missing)
    if image.has_alpha and shown == [image.channels - 1]:
        notes.append("its colours are all the same: matched by its alpha channel")
    elif image.extrasamples is not None and image.channels > len(shown):
        notes.append(f"has {image.channels} bands: matched by the first {len(shown)}, all are kept")
    if stretched is not None:
        ranges = ", ".join(f"{low:.6g} to {high:.6g}" for low, high in zip(*stretched, strict=True))
        notes.append(f"values {ranges} are stretched for matching and pictures; results keep their values")
    return tuple(notes)


def _continue_into(rgb: Bytes, hole: Mask) -> None:
    """Fill ``hole`` with a smooth continuation of what surrounds it, in place."""
    rgb[hole] = 0
    share = reduce_image((~hole).astype(np.float32), 512)[..., None]
    colour = reduce_image(rgb, 512) / np.maximum(share, 1e-6)
    filled = fill_unknown(colour, share[..., 0] > 0)
    smooth = cv2.resize(filled, hole.shape[::-1], interpolation=cv2.INTER_LINEAR)
    rgb[hole] = np.clip(smooth[hole] + 0.5, 0, 255).astype(np.uint8)
