"""What every flow reader checks before it allocates; `read_flow` puts the file's name before its messages."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from glualign.arrays import Array, Floats
from glualign.errors import FlowError, MissingExtraError

MAX_FLOW_PIXELS = 300_000_000
# Middlebury's rule: a component beyond this marks the pixel as unknown.
UNKNOWN_ABOVE = 1e9
# Deflate cannot shrink more than this (RFC 1951), so a shorter stream cannot hold the field.
MAX_DEFLATE_RATIO = 1032
DIRECTION = "target -> source: target pixel (x, y) shows source position (x + u, y + v), in pixels"


def check_grid(width: int, height: int, max_pixels: int | None, what: str = "") -> None:
    """Refuse a size, of the field or of ``what``, that is not positive or exceeds the limit."""
    if width <= 0 or height <= 0:
        raise FlowError(f"the header claims {what}{width} x {height} pixels; the file is damaged")
    if max_pixels is not None and width * height > max_pixels:
        raise FlowError(
            f"{what}{width} x {height} pixels exceed the limit of {max_pixels / 1e6:g} megapixels; "
            "read_flow(..., max_pixels=None) reads it if you trust the file"
        )


def check_length(found: int, expected: int) -> None:
    """Refuse a file that holds fewer or more bytes of values than its header says."""
    if found != expected:
        problem = "is truncated" if found < expected else "has bytes left over"
        raise FlowError(f"{problem} (its values need {expected} bytes, the file holds {found})")


def import_extra(module: str, extra: str) -> Any:
    """The optional module that a format needs; MissingExtraError when it is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"this format needs {module}; install it with: pip install 'glualign[{extra}]'"
        ) from error


def unknown_to_nan(data: Array) -> Floats:
    """``(H, W, 2)`` as float32 with every pixel that is NaN, infinite or beyond 1e9 set to NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        out = np.asarray(data, np.float32)
        unknown = ~(np.abs(out) <= UNKNOWN_ABOVE).all(axis=2, keepdims=True)
    return np.where(unknown, np.float32(np.nan), out) if unknown.any() else out
