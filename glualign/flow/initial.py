"""A motion that is known before matching, read from a matrix, a flow or point pairs."""

from __future__ import annotations

import csv
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from glualign.arrays import Doubles
from glualign.errors import FlowError
from glualign.files import read_bytes
from glualign.flow.field import Flow, from_transform
from glualign.flow.files import FLOW_EXTENSIONS, read_flow
from glualign.geometry import transform_fault, wxh
from glualign.geometry.robust import MINIMAL_POINTS, fit_points

INITIAL_FORMS = (
    "a 3x3 matrix target to source (.txt, .json), a flow, or point pairs (.csv: source x, y, target x, y)"
)
# The point pairs from which a model is fitted: of a homography two more than determine it.
_MODELS = {**MINIMAL_POINTS, "homography": 6}
_PAIR_THRESHOLD = 10.0
"""Source pixels by which a point set by hand may be off before it counts as wrong."""
_LARGEST_FILE = 16 << 20
_COLUMNS = ("source_x", "source_y", "target_x", "target_y")


def read_initial(
    path: str | os.PathLike[str], target_size: tuple[int, int], source_size: tuple[int, int]
) -> Flow:
    """Read a known motion as a flow.

    Args:
        path: a flow file; ``.json`` or text with a 3x3 matrix, target pixel -> source pixel, as
            ``glualign warp --matrix`` writes it; or a table of point pairs, columns source_x, source_y,
            target_x, target_y by header, or in that order without one. One pair gives a translation, 2 a
            similarity, 3 an affine map, 6 and more a homography, robustly.
        target_size: ``(height, width)`` of the target.
        source_size: ``(height, width)`` of the source.

    Raises:
        FlowError: the file cannot be read, holds none of these, is of another size, or describes a motion
            that shows no picture (singular, horizon in the frame, scale beyond 50).
    """
    path = Path(path)
    sizes = {"target": target_size, "source": source_size}
    if path.suffix.lower() in FLOW_EXTENSIONS:
        flow = read_flow(path)
        _check_sizes(path, sizes, {"target": flow.size, "source": flow.source_size})
        return Flow(flow.data, source_size)
    try:
        text = read_bytes(path, _LARGEST_FILE, error=FlowError).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refusal(path, "is not text in UTF-8") from error
    table = _from_json(path, text, sizes) if path.suffix.lower() == ".json" else _from_text(path, text)
    if not np.isfinite(table).all():
        raise FlowError(f"{path}: holds a number that is not finite")
    if table.shape != (3, 3):
        model = next(model for model, count in _MODELS.items() if len(table) >= count)
        try:
            table = fit_points(table[:, 2:], table[:, :2], model, threshold=_PAIR_THRESHOLD)
        except FlowError as error:
            raise FlowError(f"{path}: {len(table)} point pairs determine no {model} ({error})") from error
    fault = "is singular" if np.linalg.matrix_rank(table) < 3 else transform_fault(table, target_size)
    if fault:
        raise FlowError(f"{path}: the transform {fault}; it must map target pixels to source pixels")
    return from_transform(table, target_size, source_size)


def _from_json(path: Path, text: str, sizes: dict[str, tuple[int, int]]) -> Doubles:
    """The 3x3 matrix that the document is, or has as ``matrix``."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _refusal(path, "is not valid JSON") from error
    if isinstance(content, dict):
        _check_sizes(path, sizes, {name: content.get(f"{name}_size") for name in sizes})
        content = content.get("matrix")
    with suppress(TypeError, ValueError, OverflowError):
        if (matrix := np.array(content, np.float64)).shape == (3, 3):
            return matrix
    raise _refusal(path, "holds no 3x3 matrix")


def _from_text(path: Path, text: str) -> Doubles:
    """A 3x3 matrix, or point pairs ``(N, 4)``."""
    try:
        table = np.array(_rows(text), np.float64)
    except (csv.Error, IndexError, ValueError) as error:
        raise _refusal(path, "is no table of numbers") from error
    if table.shape != (3, 3) and table.shape[1:] != (4,):
        raise _refusal(path, f"holds {' x '.join(map(str, table.shape))} numbers")
    return table


def _refusal(path: Path, what: str) -> FlowError:
    return FlowError(f"{path}: {what}; --init takes {INITIAL_FORMS}")


def _rows(text: str) -> list[list[str]]:
    """The cells of a table; with a header, those of `_COLUMNS`."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    rows = [
        [cell.strip() for cell in cells] if len(cells) > 1 else cells[0].split()
        for cells in csv.reader(line.replace(";", ",").replace("\t", ",") for line in lines)
    ]
    header = [cell.lower() for cell in rows[0]] if rows else []
    if set(_COLUMNS) <= set(header):
        return [[row[header.index(name)] for name in _COLUMNS] for row in rows[1:]]
    return rows


def _check_sizes(path: Path, sizes: dict[str, tuple[int, int]], found: dict[str, Any]) -> None:
    for name, size in found.items():
        if isinstance(size, (list, tuple)) and len(size) == 2 and tuple(size) != sizes[name]:
            raise FlowError(
                f"{path}: is for a {name} of {wxh(size)} pixels, the {name} is {wxh(sizes[name])}"
            )
