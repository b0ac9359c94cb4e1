"""Where weights come from: the registry, downloads, official files read safely, files written here.

The names below are imported on first use, so that listing the registry does not load torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glualign.checkpoints.detect import detect_config
    from glualign.checkpoints.export import save_checkpoint
    from glualign.checkpoints.load import Checkpoint, LoadedModel, load_model, read_checkpoint

__all__ = ["Checkpoint", "LoadedModel", "detect_config", "load_model", "read_checkpoint", "save_checkpoint"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'glualign.checkpoints' has no attribute {name!r}")
    module = "export" if name == "save_checkpoint" else "load"
    return getattr(import_module(f"glualign.checkpoints.{module}"), name)
