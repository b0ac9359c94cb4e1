"""NumPy ``.npz``: ``flow`` (H, W, 2) float32 with NaN where unknown, ``source_size`` and ``direction``.

An archive of others is read when it has ``flow`` or just one array; ``valid`` (H, W), where there is
one, marks the known pixels.
"""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import numpy as np

from glualign.errors import FlowError
from glualign.flow.field import Flow
from glualign.flow.formats.checks import DIRECTION, MAX_DEFLATE_RATIO
from glualign.flow.formats.npy import as_field, check_header, read_header

if TYPE_CHECKING:
    from pathlib import Path


def read(path: Path, max_pixels: int | None) -> Flow:
    """Read a ``.npz`` flow; never unpickles.

    Raises:
        FlowError: no archive, no flow in it, truncated, damaged or too large.
    """
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise FlowError(f"{path}: is not an .npz archive, or is truncated") from error
    with archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        name = "flow" if "flow" in members else next(iter(members), "") if len(members) == 1 else ""
        if not name:
            raise FlowError(
                f"{path}: has no array named flow (it holds {', '.join(sorted(members)[:8]) or 'none'})"
            )
        with archive.open(members[name]) as stream:
            needed = check_header(stream, path, max_pixels)  # type: ignore[arg-type]
        info = members[name]
        if needed > info.file_size or info.file_size > info.compress_size * MAX_DEFLATE_RATIO + 1024:
            raise FlowError(f"{path}: is truncated or damaged (its flow needs {needed} bytes)")
        height_width = _small_shape(archive, members.get("valid"), path)
        source_shape = _small_shape(archive, members.get("source_size"), path)
    with np.load(path, allow_pickle=False) as arrays:
        data = as_field(arrays[name])
        if height_width == data.shape[:2]:
            data = data.copy()
            data[~arrays["valid"].astype(bool)] = np.nan
        source_size = None
        if source_shape == (2,):
            height, width = (int(side) for side in arrays["source_size"])
            source_size = (height, width)
    return Flow(data, source_size)


def _small_shape(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo | None, path: Path
) -> tuple[int, ...] | None:
    """The shape a member announces, before it is loaded; None when it is absent or no numbers."""
    if info is None:
        return None
    with archive.open(info) as stream:
        shape, dtype = read_header(stream, path)  # type: ignore[arg-type]
    return shape if dtype.kind in "biuf" else None


def write(path: Path, flow: Flow) -> None:
    """Write a compressed archive."""
    with path.open("wb") as stream:
        np.savez_compressed(
            stream,
            flow=flow.data.astype("<f4", copy=False),
            source_size=np.array(flow.source_frame, np.int64),
            direction=np.array(DIRECTION),
        )
