"""`Image`: pixels with what travels with them from file to file."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from glualign.arrays import Array, Bytes, Mask
from glualign.errors import ImageError
from glualign.geometry import size_of, wxh

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

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
        return f"<Image {self.name}, {wxh(self.size)}, {self.kind}>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """The pixels: ``np.asarray(image)``."""
        changed = dtype is not None and np.dtype(dtype) != self.pixels.dtype
        return self.pixels.astype(dtype) if changed or copy else self.pixels

    @cached_property
    def lacking(self) -> Mask | None:
        """``(H, W, C)`` bool, true where a band holds no data: the no-data value, a NaN or infinity.

        None when all do. The channels of a colour hold the no-data value together or not at all: it may be
        that of one of them. A NaN in an image with alpha takes the whole pixel along.
        """
        bands = self.pixels.reshape(*self.size, -1)
        if self.nodata is None and bands.dtype.kind != "f":
            return None
        found = np.asarray(~np.isfinite(bands))
        if self.has_alpha:
            found |= found.any(axis=2, keepdims=True)
        if self.nodata is not None:
            same, together = bands == self.nodata, self.colours + self.has_alpha
            same[..., :together] = same[..., :together].all(axis=2, keepdims=True)
            found |= same
        return found if found.any() else None

    @cached_property
    def missing(self) -> Mask | None:
        """``(H, W)`` bool, true where a pixel is ignored or none of its bands holds data; None: nowhere."""
        found = np.zeros(self.size, np.bool_) if self.ignored is None else self.ignored.copy()
        if self.lacking is not None:
            found |= self.lacking.all(axis=2)
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
                f"{name}: a mask of {wxh(mask.size)} pixels does not fit {self.name}, "
                f"which has {wxh(self.size)}; give one of the same size"
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

    def noted(self, *notes: str) -> Image:
        """The image with further notes."""
        return self.replace(notes=(*self.notes, *notes))

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
