"""Line up any two images: dense GLU-Net flow as a library and a command-line tool.

The names below are the public interface; they are imported on first use, so that ``import glualign``
and ``glualign --help`` load neither torch nor OpenCV.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from glualign.aligner import Aligner as Aligner
    from glualign.alignment import Alignment as Alignment
    from glualign.batch import align_batch as align_batch
    from glualign.checkpoints.load import load_model as load_model
    from glualign.flow import Flow as Flow
    from glualign.flow import read_flow as read_flow
    from glualign.flow import write_flow as write_flow

_HOME = {
    "Aligner": "glualign.aligner",
    "Alignment": "glualign.alignment",
    "align_batch": "glualign.batch",
    "Flow": "glualign.flow",
    "load_model": "glualign.checkpoints.load",
    "read_flow": "glualign.flow",
    "write_flow": "glualign.flow",
}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'glualign' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
