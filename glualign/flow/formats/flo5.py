"""``.flo5`` of the Spring data set: HDF5 with one data set ``flow`` (H, W, 2) float32, NaN where unknown."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from glualign.errors import FlowError
from glualign.flow.field import Flow
from glualign.flow.formats.checks import (
    DIRECTION,
    MAX_DEFLATE_RATIO,
    check_grid,
    import_extra,
    unknown_to_nan,
)

# HDF5's numbers of the filters deflate, shuffle, Fletcher's checksum and LZF; others are plugins or rare.
_FILTERS = (1, 2, 3, 32000)


def read(path: Path, max_pixels: int | None) -> Flow:
    """Read a ``.flo5`` whose values lie in the file itself."""
    h5py = import_extra("h5py", "hdf5")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise FlowError("is not an HDF5 file, or is truncated") from error
    with file:
        # Any other link, external storage and virtual data sets lead to other files of the user.
        link = file.get("flow", getlink=True) if "flow" in file.id else None
        if link is not None and not isinstance(link, h5py.HardLink):
            raise FlowError("its flow is a link to another place, which is not followed")
        data = file.get("flow")
        plain = isinstance(data, h5py.Dataset) and data.dtype.kind == "f"
        if not plain or len(data.shape or ()) != 3 or data.shape[2] != 2:
            raise FlowError("has no data set 'flow' of numbers (height, width, 2)")
        if data.external or data.is_virtual:
            raise FlowError("keeps its flow in another file, which is not followed")
        check_grid(data.shape[1], data.shape[0], max_pixels)
        _check_storage(path, data)
        stored = file.attrs.get_id("source_size") if "source_size" in file.attrs else None
        sized = stored is not None and stored.shape == (2,) and stored.dtype.kind in "iu"
        source_size = file.attrs["source_size"] if sized else None
        return Flow(unknown_to_nan(np.asarray(data)), source_size)


def write(path: Path, flow: Flow) -> None:
    """Write a compressed ``.flo5`` with source size and direction as attributes."""
    h5py = import_extra("h5py", "hdf5")
    with h5py.File(path, "w") as file:
        file.create_dataset("flow", data=flow.data, compression="gzip", compression_opts=5, shuffle=True)
        file.attrs["source_size"] = flow.source_frame
        file.attrs["direction"] = DIRECTION


def _check_storage(path: Path, data: Any) -> None:
    """Refuse a data set that has fewer bytes in the file than it needs."""
    properties = data.id.get_create_plist()
    filters = [properties.get_filter(index)[0] for index in range(properties.get_nfilters())]
    if len(set(filters)) != len(filters) or not set(filters) <= set(_FILTERS):
        raise FlowError("uses HDF5 filters that are not supported; save it with gzip")
    held = min(data.id.get_storage_size(), path.stat().st_size)
    missing = data.size * data.dtype.itemsize > held * (MAX_DEFLATE_RATIO if filters else 1)
    if data.chunks:
        wanted = math.prod(-(-side // step) for side, step in zip(data.shape, data.chunks, strict=True))
        oversized = any(step > side for side, step in zip(data.shape, data.chunks, strict=True))
        missing = missing or oversized or data.id.get_num_chunks() != wanted
    if missing:
        raise FlowError("is truncated or was never written (it claims more values than it holds)")
