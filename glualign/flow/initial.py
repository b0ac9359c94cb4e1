"""A motion that is known before matching, read from a matrix, a flow or point pairs."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from glualign.arrays import Doubles
from glualign.errors import FlowError
from glualign.files import read_bytes
from glualign.flow.field import Flow, from_transform
from glualign.flow.files import FLOW_EXTENSIONS, read_flow
from glualign.geometry import TransformModel, fit_points, transform_fault

INITIAL_FORMS = (
    "a 3x3 matrix target to source (.txt, .json), a flow, or point pairs (.csv: source x, y, target x, y)"
)
# A model of ever more freedom, and the point pairs from which each is fitted: two more than determine it.
_MODELS: tuple[tuple[int, TransformModel], ...] = (
    (6, "homography"),
    (3, "affine"),
    (2, "similarity"),
    (1, "translation"),
)
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
    if path.suffix.lower() in FLOW_EXTENSIONS:
        flow = read_flow(path)
        _require_size(path, "target", flow.size, target_size)
        if flow.source_size:
            _require_size(path, "source", flow.source_size, source_size)
        return Flow(flow.data, source_size)
    if path.suffix.lower() == ".json":
        matrix = _json_matrix(path, target_size, source_size)
    else:
        table = _table(path)
        matrix = table if table.shape == (3, 3) else _fit_pairs(path, table)
    fault = "is singular" if np.linalg.matrix_rank(matrix) < 3 else transform_fault(matrix, target_size)
    if fault:
        raise FlowError(f"{path}: the transform {fault}; it must map target pixels to source pixels")
    return from_transform(matrix, target_size, source_size)


def _fit_pairs(path: Path, table: Doubles) -> Doubles:
    model = next(model for count, model in _MODELS if len(table) >= count)
    try:
        return fit_points(table[:, 2:], table[:, :2], model, threshold=_PAIR_THRESHOLD)
    except FlowError as error:
        raise FlowError(f"{path}: {len(table)} point pairs determine no {model} ({error})") from error


def _json_matrix(path: Path, target_size: tuple[int, int], source_size: tuple[int, int]) -> Doubles:
    try:
        content: Any = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise FlowError(f"{path}: is not valid JSON") from error
    if isinstance(content, dict):
        for name, size in (("target", target_size), ("source", source_size)):
            if isinstance(found := content.get(f"{name}_size"), list) and len(found) == 2:
                _require_size(path, name, (found[0], found[1]), size)
        content = content.get("matrix")
    try:
        matrix = np.asarray(content, np.float64)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        raise FlowError(f"{path}: holds no 3x3 matrix; --init takes {INITIAL_FORMS}")
    return matrix


def _table(path: Path) -> Doubles:
    """Finite numbers, 3x3 or ``(N, 4)`` in the order of `_COLUMNS`."""
    lines = [line for line in _text(path).splitlines() if line.strip() and not line.lstrip().startswith("#")]
    try:
        rows = [
            [cell.strip() for cell in cells] if len(cells) > 1 else cells[0].split()
            for cells in csv.reader(line.replace(";", ",").replace("\t", ",") for line in lines)
        ]
        header = [cell.lower() for cell in rows[0]] if rows else []
        if set(_COLUMNS) <= set(header):
            rows = [[row[header.index(name)] for name in _COLUMNS] for row in rows[1:]]
        table = np.array(rows, np.float64)
    except (csv.Error, IndexError, ValueError) as error:
        raise FlowError(f"{path}: is no table of numbers; --init takes {INITIAL_FORMS}") from error
    if not (table.shape == (3, 3) or (table.ndim == 2 and table.shape[1] == 4 and len(table))):
        shape = " x ".join(map(str, table.shape))
        raise FlowError(f"{path}: holds {shape} numbers; --init takes {INITIAL_FORMS}")
    if not np.isfinite(table).all():
        raise FlowError(f"{path}: holds a number that is not finite")
    return table


def _text(path: Path) -> str:
    try:
        return read_bytes(path, _LARGEST_FILE, error=FlowError).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FlowError(f"{path}: is not text in UTF-8; --init takes {INITIAL_FORMS}") from error


def _require_size(path: Path, name: str, found: tuple[int, int], size: tuple[int, int]) -> None:
    if tuple(found) != size:
        raise FlowError(
            f"{path}: is for a {name} of {found[1]} x {found[0]} pixels, the {name} is {size[1]} x {size[0]}"
        )
