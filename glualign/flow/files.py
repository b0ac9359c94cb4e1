"""Flow files: the format from the extension.

Messages of what the formats raise begin with what is wrong: the file's name is put in front here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from glualign.arrays import Array
from glualign.errors import FlowError, GlualignError
from glualign.files import atomic_path, reading
from glualign.flow import archives, itk, raw
from glualign.flow.field import Flow
from glualign.flow.raw import MAX_FLOW_PIXELS, check_grid

_Reader = Callable[[Path, BinaryIO, int | None], Flow]
_Writer = Callable[[Path, Flow], object]
_FORMATS: dict[str, tuple[_Reader, _Writer]] = {
    ".flo": (raw.read_flo, raw.write_flo),
    ".png": (raw.read_kitti, raw.write_kitti),
    ".pfm": (raw.read_pfm, raw.write_pfm),
    ".npy": (archives.read_npy, archives.write_npy),
    ".npz": (archives.read_npz, archives.write_npz),
    ".flo5": (archives.read_flo5, archives.write_flo5),
    ".nrrd": (itk.read, itk.write),
    ".mha": (itk.read, itk.write),
}
FLOW_EXTENSIONS = tuple(_FORMATS)


def read_flow(path: str | os.PathLike[str], *, max_pixels: int | None = MAX_FLOW_PIXELS) -> Flow:
    """Read a flow file: ``.flo``, KITTI ``.png``, ``.pfm .npy .npz .flo5 .nrrd .mha``.

    Sizes are checked against the length of the file, and against ``max_pixels``, before anything is
    allocated. Unknown pixels, however the format marks them, are NaN in the result.

    Raises:
        FlowError: the file is missing, empty, truncated, damaged, too large, or holds no known pixel.
        MissingExtraError: ``.flo5`` without h5py, ``.nrrd`` or ``.mha`` without SimpleITK.
    """
    location = Path(path)
    with reading(location, FlowError) as stream:
        _check_extension(location)
        if stream.seek(0, 2) == 0:
            raise FlowError("the file is empty")
        stream.seek(0)
        flow = _FORMATS[location.suffix.lower()][0](location, stream, max_pixels)
        if flow.source_size is not None:
            check_grid(flow.source_size[1], flow.source_size[0], max_pixels, "a source of ")
        if not flow.known.any():
            raise FlowError("holds no known flow; every pixel is NaN or marked unknown")
    return flow


def write_flow(path: str | os.PathLike[str], flow: Flow | Array) -> None:
    """Write a flow atomically in the format of the extension; unknown pixels as the format marks them.

    ``.npz``, ``.nrrd``, ``.mha`` and ``.flo5`` also store the source size and the direction. KITTI
    ``.png`` rounds to 1/64 px.

    Raises:
        FlowError: unknown extension, or values that the format cannot hold.
        OutputError: the file cannot be written.
    """
    location = Path(path)
    _check_extension(location)
    with atomic_path(location) as temporary:
        try:
            _FORMATS[location.suffix.lower()][1](temporary, flow if isinstance(flow, Flow) else Flow(flow))
        except GlualignError as error:
            raise type(error)(f"{location}: {error}") from error


def _check_extension(path: Path) -> None:
    if path.suffix.lower() not in _FORMATS:
        kind = path.suffix or "a name without extension"
        raise FlowError(f"{path}: {kind} is not a flow format; use one of {' '.join(FLOW_EXTENSIONS)}")
