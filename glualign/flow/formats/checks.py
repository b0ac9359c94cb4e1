"""What every flow reader checks before it allocates."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from glualign.errors import FlowError, MissingExtraError

MAX_FLOW_PIXELS = 300_000_000
# Middlebury's rule: a component beyond this marks the pixel as unknown.
UNKNOWN_ABOVE = 1e9
# Deflate cannot shrink more than this (RFC 1951), so a shorter stream cannot hold the field.
MAX_DEFLATE_RATIO = 1032
DIRECTION = "target -> source: target pixel (x, y) shows source position (x + u, y + v), in pixels"


def check_grid(path: Path, width: int, height: int, max_pixels: int | None, what: str = "") -> None:
    """Refuse a size, of the field or of ``what``, that is not positive or exceeds the limit."""
    if width <= 0 or height <= 0:
        raise FlowError(f"{path}: the header claims {what}{width} x {height} pixels; the file is damaged")
    if max_pixels is not None and width * height > max_pixels:
        raise FlowError(
            f"{path}: {what}{width} x {height} pixels exceed the limit of {max_pixels / 1e6:g} megapixels; "
            "read_flow(..., max_pixels=None) reads it if you trust the file"
        )


def check_length(path: Path, found: int, expected: int, width: int, height: int) -> None:
    """Refuse a file whose values are fewer or more than its header says."""
    if found != expected:
        problem = "is truncated" if found < expected else "has bytes left over"
        raise FlowError(
            f"{path}: {problem} ({width} x {height} pixels need {expected} bytes, the file holds {found})"
        )


def import_extra(path: Path, module: str, extra: str) -> Any:
    """The optional module that a format needs; MissingExtraError when it is not installed."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{path}: {path.suffix} needs {module}; install it with: pip install 'glualign[{extra}]'"
        ) from error


def unknown_to_nan(data: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """``(H, W, 2)`` as float32 with every pixel that is NaN, infinite or beyond 1e9 set to NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        out = np.asarray(data, np.float32)
        unknown = ~(np.abs(out) <= UNKNOWN_ABOVE).all(axis=2)
    if unknown.any():
        out = out.copy()
        out[unknown] = np.nan
    return out
