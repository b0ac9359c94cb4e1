"""`Image`: pixels with what has to travel with them from the file read to the file written."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from glualign.arrays import Array, Mask
from glualign.errors import ImageError

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
            indices into it. With ``extrasamples``, ``(H, W, C)`` with any number of bands.
        path: the file it came from.
        icc: ICC profile of the colours.
        exif: EXIF as a TIFF stream, without the ``Exif\\0\\0`` prefix; its orientation is already reset
            when the pixels were turned upright.
        palette: RGB triplets of an indexed image.
        is_labels: values are names rather than brightness (indexed, 1-bit, one band of 32-bit integers), so
            interpolating them makes no sense.
        extrasamples: what TIFF says of the bands behind grey or RGB (0: unspecified, 1 and 2: alpha), when
            they are not just one alpha channel; None for grey and RGB with or without alpha.
        nodata: value of pixels that hold no data; NaN always means that in float images.
        ignored: ``(H, W)`` bool, true at pixels that have no say in an alignment (sky, people, time stamps);
            treated as if they held no data.
        georeference: GeoTIFF tags (see `glualign.georeference`): where the pixel grid lies on the map.
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
    is_labels: bool = False
    extrasamples: tuple[int, ...] | None = None
    nodata: float | None = None
    ignored: Mask | None = None
    georeference: Mapping[int, Any] = field(default_factory=dict)
    pages: int = 1
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape, kind = self.pixels.shape, self.pixels.dtype.name
        many = self.extrasamples is not None
        channels_fit = len(shape) == 2 or (len(shape) == 3 and (many or shape[2] in (2, 3, 4)))
        if not channels_fit or kind not in DEPTHS:
            raise ImageError(
                f"{self.name}: {kind} pixels of shape {shape} are not an image; expected (H, W) or "
                "(H, W, 2 to 4), integers of up to 32 bit or floating point numbers"
            )
        if self.pixels.size == 0:
            raise ImageError(f"{self.name}: the image has no pixels (shape {shape})")

    def __repr__(self) -> str:
        return f"<Image {self.name}, {self.width} x {self.height}, {self.kind}>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        """The pixels: ``np.asarray(image)``."""
        changed = dtype is not None and np.dtype(dtype) != self.pixels.dtype
        return self.pixels.astype(dtype) if changed or copy else self.pixels

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])

    @property
    def size(self) -> tuple[int, int]:
        """``(height, width)``."""
        return self.height, self.width

    @property
    def channels(self) -> int:
        """1 grey, 2 grey + alpha, 3 RGB, 4 RGBA; the number of bands with ``extrasamples``."""
        return 1 if self.pixels.ndim == 2 else int(self.pixels.shape[2])

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.extrasamples is None and self.channels in (2, 4)

    @property
    def colours(self) -> int:
        """Channels of colour, in front of alpha or further bands: 1 or 3."""
        extra = int(self.has_alpha) if self.extrasamples is None else len(self.extrasamples)
        return self.channels - extra

    @property
    def depth(self) -> str:
        """``"8-bit"``, ``"16-bit"``, ``"float"`` and the like."""
        return DEPTHS[self.pixels.dtype.name]

    @property
    def kind(self) -> str:
        """What a person calls it, e.g. ``"16-bit RGBA"``."""
        if self.palette is not None:
            return f"{self.depth} palette"
        if self.extrasamples is not None:
            bands = f"RGB + {len(self.extrasamples)} bands" if self.colours == 3 else f"{self.channels} bands"
            return f"{self.depth} {bands}"
        return f"{self.depth} { {1: 'grey', 2: 'grey + alpha', 3: 'RGB', 4: 'RGBA'}[self.channels] }"

    @property
    def name(self) -> str:
        """The file's name, or ``"array"``."""
        return self.path.name if self.path is not None else "array"

    def missing(self) -> Mask | None:
        """``(H, W)`` bool, true where a pixel holds no data; None when all do.

        A pixel without data has the no-data value in all of its bands, or a NaN or infinity in any, or is
        ignored.
        """
        found = missing(self.pixels, self.nodata)
        if self.ignored is not None:
            found = self.ignored if found is None else found | self.ignored
        return None if found is None or not found.any() else found

    @property
    def blank(self) -> float:
        """Value of a pixel that shows nothing: the no-data value, 0 where there is none or alpha says it."""
        value = None if self.has_alpha else _as_stored(self.nodata, self.pixels.dtype)
        return 0.0 if value is None else float(value)

    def ignore(self, mask: Array | Image) -> Image:
        """The image with pixels ignored where ``mask``, of the same size, is black or, with alpha, clear.

        Black is less than an eighth of the mask's largest value: 0 in masks of 0 and 1 or 0 and 255, and what
        JPEG makes of it.

        Raises:
            ImageError: the mask has another size, or leaves nothing.
        """
        mask = mask if isinstance(mask, Image) else from_array(np.asarray(mask))
        name, values = mask.name if mask.path else "the mask", np.asarray(mask.as_colours())
        if values.shape[:2] != self.size:
            raise ImageError(
                f"{name}: a mask of {values.shape[1]} x {values.shape[0]} pixels does not fit {self.name}, "
                f"which has {self.width} x {self.height}; give one of the same size"
            )
        bands = values.reshape(*self.size, -1)[..., : mask.colours]
        ignored = (bands < max(bands.max() / 8, 0.5 if bands.dtype.kind != "f" else 1e-6)).all(axis=2)
        if mask.has_alpha:
            ignored |= values[..., -1] == 0
        if ignored.all():
            raise ImageError(f"{name}: leaves nothing of {self.name}; black is what is ignored")
        return self.replace(ignored=ignored)

    def replace(self, pixels: Array | None = None, **changes: Any) -> Image:
        """The same image with other pixels, or other fields: everything else is kept."""
        return replace(self, pixels=self.pixels if pixels is None else pixels, **changes)

    def as_colours(self) -> Image:
        """The image with the colours of its palette; itself when it has none."""
        if self.palette is None:
            return self
        table = np.frombuffer(self.palette.ljust(768, b"\0"), np.uint8)[:768].reshape(256, 3)
        return self.replace(table[self.pixels], palette=None, is_labels=False)


def missing(pixels: Array, nodata: float | None) -> Mask | None:
    """Where ``(H, W[, C])`` pixels hold no data, as in `Image.missing`; None where they cannot lack it."""
    bands = pixels.reshape(*pixels.shape[:2], -1)
    value = _as_stored(nodata, pixels.dtype)
    found = None if value is None else (bands == value).all(axis=2)
    if pixels.dtype.kind == "f":
        broken = ~np.isfinite(bands).all(axis=2)
        found = broken if found is None else found | broken
    return found


def _as_stored(value: float | None, dtype: np.dtype[Any]) -> Any:
    """A no-data value, kept as text in files, as a number of ``dtype``; None where it can hold none such."""
    if value is None or dtype.kind == "f":
        return None if value is None else dtype.type(value)
    limits = np.iinfo(dtype)
    fits = value == np.rint(value) and limits.min <= value <= limits.max
    return dtype.type(int(value)) if fits else None


def from_array(array: Array) -> Image:
    """An `Image` of an array; ``(H, W, 1)`` becomes ``(H, W)``, bool 0/255, float16/float64 float32."""
    pixels = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    is_labels = pixels.dtype == np.bool_ or (pixels.ndim == 2 and pixels.dtype.name in ("int32", "uint32"))
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    elif pixels.dtype in (np.float16, np.float64):
        pixels = pixels.astype(np.float32)
    elif not pixels.dtype.isnative:
        pixels = pixels.astype(pixels.dtype.newbyteorder("="))
    return Image(pixels, is_labels=is_labels)
