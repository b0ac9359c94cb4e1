"""NumPy ``.npy``: the array ``(H, W, 2)``, float32, NaN where unknown; ``(2, H, W)`` is read too."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from glualign.errors import FlowError
from glualign.flow.field import Flow
from glualign.flow.formats.checks import check_grid, unknown_to_nan


def read(path: Path, max_pixels: int | None) -> Flow:
    """Read a ``.npy`` flow; never unpickles.

    Raises:
        FlowError: no array of numbers ``(H, W, 2)`` or ``(2, H, W)``, truncated or too large.
    """
    with path.open("rb") as stream:
        shape, dtype = read_header(stream, path)
        height, width = grid(path, shape)
        if dtype.kind not in "fiu" or dtype.itemsize > 8:
            raise FlowError(f"{path}: holds {dtype} values, not a flow; save it as float32")
        check_grid(path, width, height, max_pixels)
        needed, offset = 2 * height * width * dtype.itemsize, stream.tell()
        found = stream.seek(0, 2) - offset
        if found < needed:
            raise FlowError(f"{path}: is truncated ({found} of {needed} bytes of values)")
        stream.seek(0)
        return Flow(as_field(np.lib.format.read_array(stream, allow_pickle=False)))


def write(path: Path, flow: Flow) -> None:
    """Write the array as little-endian float32."""
    with path.open("wb") as stream:
        np.save(stream, flow.data.astype("<f4", copy=False), allow_pickle=False)


def read_header(stream: IO[bytes], path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type that an ``.npy`` stream announces; the stream is left at its values.

    Raises:
        FlowError: no ``.npy`` header, or one with Python objects.
    """
    try:
        version = np.lib.format.read_magic(stream)
        readers = np.lib.format.read_array_header_1_0, np.lib.format.read_array_header_2_0
        shape, _, dtype = readers[version != (1, 0)](stream)
    except Exception as error:  # numpy parses the header as Python literals; anything may come of it.
        raise FlowError(
            f"{path}: has no valid .npy header; the file is damaged or of another kind"
        ) from error
    if dtype.hasobject:
        raise FlowError(f"{path}: holds Python objects, which are never loaded; save it as a float32 array")
    return shape, dtype


def grid(path: Path, shape: tuple[int, ...]) -> tuple[int, int]:
    """``(height, width)`` of a flow of that shape.

    Raises:
        FlowError: neither ``(H, W, 2)`` nor ``(2, H, W)``.
    """
    if len(shape) != 3 or 2 not in (shape[0], shape[2]):
        raise FlowError(f"{path}: is an array of shape {shape}, not a flow (height, width, 2)")
    return (shape[0], shape[1]) if shape[2] == 2 else (shape[1], shape[2])


def as_field(array: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """``(H, W, 2)`` or ``(2, H, W)`` as ``(H, W, 2)`` float32 with NaN where unknown."""
    return unknown_to_nan(array if array.shape[2] == 2 else np.moveaxis(array, 0, 2))
