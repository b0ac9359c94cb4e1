"""What the two ITK displacement-field formats share: values after a text header, and the source frame.

ITK's direction is ours: the field on the fixed (target) image points into the moving (source) image.
Spacing 1 and origin 0 make ITK's physical units pixels; other geometry is refused rather than guessed.
Unknown pixels are NaN.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from glualign.errors import FlowError
from glualign.flow.formats.checks import MAX_DEFLATE_RATIO, check_grid, check_length, unknown_to_nan

HEADER_BYTES = 65536
"""A header longer than this is taken for damage."""


@dataclass(frozen=True)
class Body:
    """Where the values of a file are, and how they are stored.

    Attributes:
        width: of the field in pixels.
        height: of the field in pixels.
        dtype: of the values, with byte order.
        offset: bytes before the values.
        window: zlib's window bits if the values are deflated (15: zlib stream, 31: gzip), else None.
    """

    width: int
    height: int
    dtype: np.dtype[np.floating]
    offset: int
    window: int | None

    def read(self, path: Path, max_pixels: int | None) -> npt.NDArray[np.float32]:
        """``(height, width, 2)`` with NaN where unknown.

        Raises:
            FlowError: too large, truncated, or longer than the header says; nothing is allocated before that.
        """
        check_grid(path, self.width, self.height, max_pixels)
        needed = 2 * self.width * self.height * self.dtype.itemsize
        held = path.stat().st_size - self.offset
        if self.window is None:
            check_length(path, held, needed, self.width, self.height)
            values = np.fromfile(path, self.dtype, 2 * self.width * self.height, offset=self.offset)
        else:
            if needed > held * MAX_DEFLATE_RATIO + 1024:
                raise FlowError(
                    f"{path}: is truncated (too little data for {self.width} x {self.height} pixels)"
                )
            stream = path.read_bytes()[self.offset :]
            inflated = zlib.decompressobj(self.window).decompress(stream, needed + 1)
            check_length(path, len(inflated), needed, self.width, self.height)
            values = np.frombuffer(inflated, self.dtype)
        return unknown_to_nan(values.reshape(self.height, self.width, 2))


def source_frame(text: str | None) -> tuple[int, int] | None:
    """``(height, width)`` from the two numbers that our own files note, or None."""
    parts = (text or "").split()
    if len(parts) == 2 and all(part.isdigit() and len(part) < 10 for part in parts):
        return int(parts[0]), int(parts[1])
    return None
