"""Flow files, chosen by extension; each format is a module with ``read`` and ``write``.

Messages of what they raise begin with what is wrong: the file's name is put in front here.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

from glualign.arrays import Array
from glualign.errors import FlowError, GlualignError
from glualign.files import atomic_path, reading
from glualign.flow.field import Flow, FlowRows
from glualign.flow.formats.checks import MAX_FLOW_PIXELS, check_grid

_MODULES = {
    ".flo": "flo",
    ".png": "kitti",
    ".pfm": "pfm",
    ".npy": "numpy_files",
    ".npz": "numpy_files",
    ".flo5": "flo5",
    ".nrrd": "itk",
    ".mha": "itk",
}
FLOW_EXTENSIONS = tuple(_MODULES)


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
        module = _module(location, stream)
        flow: Flow = module.read(location, max_pixels)
        if flow.source_size is not None:
            check_grid(flow.source_size[1], flow.source_size[0], max_pixels, "a source of ")
        if not flow.known.any():
            raise FlowError("holds no known flow; every pixel is NaN or marked unknown")
    return flow


def open_flow(path: str | os.PathLike[str], *, max_pixels: int | None = MAX_FLOW_PIXELS) -> FlowRows:
    """Open a flow file for reading in strips: ``.flo`` stays on disk, other formats are read whole.

    Raises:
        FlowError: as `read_flow`; damaged values are found when their rows are read.
    """
    location = Path(path)
    if location.suffix.lower() != ".flo":
        return read_flow(location, max_pixels=max_pixels)
    with reading(location, FlowError) as stream:
        rows: FlowRows = _module(location, stream).open_rows(location, max_pixels)
    return rows


def write_flow(path: str | os.PathLike[str], flow: Flow | Array) -> None:
    """Write a flow atomically in the format of the extension; unknown pixels as the format marks them.

    ``.npz``, ``.nrrd``, ``.mha`` and ``.flo5`` also store the source size and the direction. KITTI
    ``.png`` rounds to 1/64 px.

    Raises:
        FlowError: unknown extension, or values that the format cannot hold.
        OutputError: the file cannot be written.
    """
    location = Path(path)
    module = _module(location)
    with atomic_path(location) as temporary:
        try:
            module.write(temporary, flow if isinstance(flow, Flow) else Flow(flow))
        except GlualignError as error:
            raise type(error)(f"{location}: {error}") from error


def _module(path: Path, stream: BinaryIO | None = None) -> ModuleType:
    """The format's module, chosen by the extension; an empty ``stream`` is refused."""
    name = _MODULES.get(path.suffix.lower())
    if name is None:
        kind = path.suffix or "a name without extension"
        raise FlowError(f"{path}: {kind} is not a flow format; use one of {' '.join(FLOW_EXTENSIONS)}")
    if stream is not None and stream.seek(0, 2) == 0:
        raise FlowError("the file is empty")
    return import_module(f"glualign.flow.formats.{name}")
