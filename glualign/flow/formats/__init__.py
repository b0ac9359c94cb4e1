"""Flow files, chosen by extension; each format is a module whose ``read`` and ``write`` raise FlowError."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from glualign.errors import FlowError, GlualignError
from glualign.files import atomic_path, open_regular
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
    location, module = _existing(path)
    try:
        flow: Flow = module.read(location, max_pixels)
    except GlualignError:
        raise
    except MemoryError as error:
        raise FlowError(f"{location}: there is not enough memory to read it") from error
    except Exception as error:  # Damaged files upset the decoders in every way there is.
        raise FlowError(f"{location}: cannot be read as a flow; the file is damaged ({error})") from error
    if flow.source_size is not None:
        check_grid(location, flow.source_size[1], flow.source_size[0], max_pixels, "a source of ")
    if not flow.known.any():
        raise FlowError(f"{location}: holds no known flow; every pixel is NaN or marked unknown")
    return flow


def open_flow(path: str | os.PathLike[str], *, max_pixels: int | None = MAX_FLOW_PIXELS) -> FlowRows:
    """Open a flow file for reading in strips: ``.flo`` stays on disk, other formats are read whole.

    Raises:
        FlowError: as `read_flow`; damaged values are found when their rows are read.
    """
    location, _ = _existing(path)
    if location.suffix.lower() == ".flo":
        from glualign.flow.formats import flo

        return flo.open_rows(location, max_pixels)
    return read_flow(path, max_pixels=max_pixels)


def write_flow(path: str | os.PathLike[str], flow: Flow | npt.NDArray[Any]) -> None:
    """Write a flow atomically in the format of the extension; unknown pixels as the format marks them.

    ``.npz``, ``.nrrd``, ``.mha`` and ``.flo5`` also store the source size and the direction. KITTI
    ``.png`` rounds to 1/64 px.

    Raises:
        FlowError: unknown extension, or values that the format cannot hold.
        OutputError: the file cannot be written.
    """
    location = Path(path)
    field = Flow(flow) if isinstance(flow, np.ndarray) else flow
    module = _module(location)
    with atomic_path(location) as temporary:
        try:
            module.write(temporary, field)
        except FlowError as error:
            raise FlowError(f"{location}: {error}") from error


def _existing(path: str | os.PathLike[str]) -> tuple[Path, ModuleType]:
    location = Path(path)
    with open_regular(location, error=FlowError) as stream:
        length = stream.seek(0, 2)
    module = _module(location)
    if length == 0:
        raise FlowError(f"{location}: the file is empty")
    return location, module


def _module(path: Path) -> ModuleType:
    name = _MODULES.get(path.suffix.lower())
    if name is None:
        kind = path.suffix or "a name without extension"
        raise FlowError(f"{path}: {kind} is not a flow format; use one of {' '.join(FLOW_EXTENSIONS)}")
    return import_module(f"glualign.flow.formats.{name}")
