"""`Image`: pixels with what has to travel with them from the file read to the file written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from glualign.errors import ImageError

if TYPE_CHECKING:
    from pathlib import Path

PIXEL_TYPES = ("uint8", "uint16", "float32")


@dataclass(frozen=True, eq=False)
class Image:
    """An image in memory.

    Attributes:
        pixels: ``(H, W)`` grey, ``(H, W, 2)`` grey + alpha, ``(H, W, 3)`` RGB or ``(H, W, 4)`` RGBA;
            uint8, uint16 or float32. Alpha is straight, not premultiplied. With a ``palette``,
            ``(H, W)`` uint8 indices into it.
        path: the file it came from.
        icc: ICC profile of the colours.
        exif: EXIF as a TIFF stream, without the ``Exif\\0\\0`` prefix; its orientation is already reset
            when the pixels were turned upright.
        palette: RGB triplets, only when the image was read with ``keep_palette`` (label maps).

    Raises:
        ImageError: the array is empty, or its shape or type is none of the above.
    """

    pixels: npt.NDArray[Any]
    path: Path | None = None
    icc: bytes | None = None
    exif: bytes | None = None
    palette: bytes | None = None

    def __post_init__(self) -> None:
        shape, kind = self.pixels.shape, self.pixels.dtype.name
        channels_fit = len(shape) == 2 or (len(shape) == 3 and shape[2] in (2, 3, 4))
        if not channels_fit or kind not in PIXEL_TYPES:
            raise ImageError(
                f"{self.name}: {kind} pixels of shape {shape} are not an image; "
                "expected (H, W) or (H, W, 2 to 4) in uint8, uint16 or float32"
            )
        if self.pixels.size == 0:
            raise ImageError(f"{self.name}: the image has no pixels (shape {shape})")

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
        """1 grey, 2 grey + alpha, 3 RGB, 4 RGBA."""
        return 1 if self.pixels.ndim == 2 else int(self.pixels.shape[2])

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.channels in (2, 4)

    @property
    def depth(self) -> str:
        """``"8-bit"``, ``"16-bit"`` or ``"float"``."""
        return {"uint8": "8-bit", "uint16": "16-bit", "float32": "float"}[self.pixels.dtype.name]

    @property
    def kind(self) -> str:
        """What a person calls it, e.g. ``"16-bit RGBA"``."""
        colour = {1: "grey", 2: "grey + alpha", 3: "RGB", 4: "RGBA"}[self.channels]
        return f"{self.depth} {'palette' if self.palette else colour}"

    @property
    def name(self) -> str:
        """The file's name, or ``"array"``."""
        return self.path.name if self.path is not None else "array"

    def replace(self, pixels: npt.NDArray[Any]) -> Image:
        """The same image with other pixels: path, profile, EXIF and palette are kept."""
        return replace(self, pixels=pixels)


def from_array(array: npt.NDArray[Any]) -> Image:
    """An `Image` of an array; ``(H, W, 1)`` becomes ``(H, W)``, bool 0/255, float16/float64 float32."""
    pixels = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    elif pixels.dtype in (np.float16, np.float64):
        pixels = pixels.astype(np.float32)
    elif not pixels.dtype.isnative:
        pixels = pixels.astype(pixels.dtype.newbyteorder("="))
    return Image(pixels)
