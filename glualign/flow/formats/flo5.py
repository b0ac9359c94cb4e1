"""``.flo5`` of the Spring data set: HDF5 with one data set ``flow`` (H, W, 2) float32, NaN where unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from glualign.errors import FlowError, MissingExtraError
from glualign.flow.field import Flow
from glualign.flow.formats.checks import DIRECTION, check_grid, unknown_to_nan

if TYPE_CHECKING:
    from pathlib import Path


def read(path: Path, max_pixels: int | None) -> Flow:
    """Read a ``.flo5``.

    Raises:
        FlowError: no HDF5, no data set ``flow`` of that shape, or too large.
        MissingExtraError: h5py is not installed.
    """
    h5py = _h5py(path)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise FlowError(f"{path}: is not an HDF5 file, or is truncated") from error
    with file:
        data = file.get("flow")
        if (
            not isinstance(data, h5py.Dataset)
            or data.ndim != 3
            or data.shape[2] != 2
            or data.dtype.kind != "f"
        ):
            raise FlowError(f"{path}: has no data set 'flow' of shape (height, width, 2)")
        check_grid(path, data.shape[1], data.shape[0], max_pixels)
        stored = file.attrs.get("source_size")
        source_size = None
        if stored is not None and np.shape(stored) == (2,):
            source_size = (int(stored[0]), int(stored[1]))
        return Flow(unknown_to_nan(np.asarray(data)), source_size)


def write(path: Path, flow: Flow) -> None:
    """Write a compressed ``.flo5`` with source size and direction as attributes."""
    h5py = _h5py(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("flow", data=flow.data, compression="gzip", compression_opts=5, shuffle=True)
        file.attrs["source_size"] = flow.source_frame
        file.attrs["direction"] = DIRECTION


def _h5py(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError(
            f"{path.name}: .flo5 needs h5py; install it with: pip install 'glualign[hdf5]'"
        ) from error
    return h5py
