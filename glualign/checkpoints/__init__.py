"""Where weights come from: the registry, downloads, official files read safely, files written here.

The names below are imported on first use, so that listing the registry does not load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glualign.checkpoints.detect import detect_config
    from glualign.checkpoints.export import save_checkpoint
    from glualign.checkpoints.load import LoadedModel, load_model
    from glualign.checkpoints.read import Checkpoint, read_checkpoint

__all__ = ["Checkpoint", "LoadedModel", "detect_config", "load_model", "read_checkpoint", "save_checkpoint"]

_HOME = {
    "Checkpoint": "glualign.checkpoints.read",
    "LoadedModel": "glualign.checkpoints.load",
    "detect_config": "glualign.checkpoints.detect",
    "load_model": "glualign.checkpoints.load",
    "read_checkpoint": "glualign.checkpoints.read",
    "save_checkpoint": "glualign.checkpoints.export",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'glualign.checkpoints' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
