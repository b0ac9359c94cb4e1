"""`Flow`: where in the source each target pixel comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from glualign.arrays import Array, Floats, Mask
from glualign.errors import FlowError
from glualign.geometry import inside, positions, strips


class FlowRows(Protocol):
    """A flow that is read a strip at a time: a `Flow`, or a file too large to hold in memory."""

    @property
    def size(self) -> tuple[int, int]:
        """``(height, width)`` of the target grid."""
        ...

    @property
    def source_size(self) -> tuple[int, int] | None:
        """``(height, width)`` of the source image, where it is known."""
        ...

    def rows(self, start: int, stop: int) -> Floats:
        """Rows ``start`` to ``stop`` as ``(stop - start, W, 2)``; unknown pixels are NaN."""
        ...


@dataclass(frozen=True, eq=False)
class Flow:
    """A dense flow field, target -> source: target pixel ``(x, y)`` shows source position ``(x + u, y + v)``.

    Attributes:
        data: ``(H, W, 2)`` float32 on the target grid, ``u`` to the right and ``v`` downwards in source
            pixels. Unknown pixels are NaN in both components.
        source_size: ``(height, width)`` of the source image; None when it equals the target's.

    Raises:
        FlowError: the array is not ``(H, W, 2)`` real numbers, is empty, or holds infinite values.
    """

    data: Floats
    source_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        data: Array = np.asarray(self.data)
        if data.ndim != 3 or data.shape[2] != 2 or data.size == 0:
            raise FlowError(f"a flow is an array (height, width, 2); got shape {data.shape}")
        if data.dtype.kind not in "fiu":
            raise FlowError(f"a flow holds real numbers; got {data.dtype}")
        data = np.ascontiguousarray(data, np.float32)
        unknown = np.isnan(data).any(axis=2)
        if np.isinf(data).any():
            raise FlowError("the flow holds infinite values; mark unknown pixels with NaN")
        if unknown.any() and not np.isnan(data[unknown]).all():
            data = data.copy()
            data[unknown] = np.nan
        object.__setattr__(self, "data", data)
        if self.source_size is not None:
            height, width = (int(side) for side in self.source_size)
            if height <= 0 or width <= 0:
                raise FlowError(f"the source size must be positive; got {self.source_size}")
            object.__setattr__(self, "source_size", (height, width))

    def __repr__(self) -> str:
        source = self.source_frame
        return f"<Flow {self.width} x {self.height}, source {source[1]} x {source[0]}>"

    @property
    def height(self) -> int:
        """Rows of the target grid."""
        return int(self.data.shape[0])

    @property
    def width(self) -> int:
        """Columns of the target grid."""
        return int(self.data.shape[1])

    @property
    def size(self) -> tuple[int, int]:
        """``(height, width)`` of the target grid."""
        return self.height, self.width

    @property
    def source_frame(self) -> tuple[int, int]:
        """``(height, width)`` of the source: its own size where it is known, else the target's."""
        return self.source_size or self.size

    @property
    def known(self) -> Mask:
        """``(H, W)`` bool: the pixel has a flow at all."""
        return ~np.isnan(self.data[..., 0])

    @property
    def magnitude(self) -> Floats:
        """``(H, W)`` length of the flow in pixels; NaN where unknown."""
        return np.hypot(self.data[..., 0], self.data[..., 1])

    def valid(self) -> Mask:
        """``(H, W)`` bool: known, and the source position lies inside ``[0, W-1] x [0, H-1]``."""
        out = np.empty(self.size, np.bool_)
        for top, bottom in strips(self.size):
            out[top:bottom] = inside(*positions(self.data[top:bottom], top), self.source_frame)
        return out

    def rows(self, start: int, stop: int) -> Floats:
        """Rows ``start`` to ``stop`` as ``(stop - start, W, 2)``."""
        return self.data[start:stop]
