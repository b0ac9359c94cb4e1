"""The errors glualign raises. Each message says what is wrong, which file, and what to do."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class GlualignError(Exception):
    """Base of every error raised on purpose; the command line prints it as one line and exits with 1."""


class ImageError(GlualignError):
    """An image cannot be read, understood or written."""


class FlowError(GlualignError):
    """A flow field or flow file is malformed, or two fields do not fit together."""


class CheckpointError(GlualignError):
    """A file of weights is unreadable, unsafe, of an unknown architecture, or does not fit its model."""


class DownloadError(CheckpointError):
    """Weights could not be fetched, or what arrived is not what was asked for."""


class OptionError(GlualignError, ValueError):
    """An option is unknown, or its value is not one of those allowed."""


class DeviceError(GlualignError):
    """The requested device or precision is not available on this machine."""


class DatasetError(GlualignError):
    """A data set or a folder of pairs does not have the layout it should have."""


class TrainingError(GlualignError):
    """A recipe is invalid, or a training run cannot start or resume."""


class BatchError(GlualignError):
    """A batch cannot start or go on as a whole (single failed pairs are recorded, not raised)."""


class OutputError(GlualignError):
    """A result cannot be written where it was asked for."""


class MissingExtraError(GlualignError):
    """An optional package is needed; the message names the extra to install."""


def import_extra(module: str, extra: str, need: str) -> Any:
    """An optional module; where it is not installed, a `MissingExtraError` that begins with ``need``."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(f"{need}: pip install 'glualign[{extra}]'") from error
