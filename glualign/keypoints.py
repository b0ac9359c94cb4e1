"""Files of key points, ``.csv`` and ``.json``: read, and written again with other positions."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from glualign.arrays import Doubles
from glualign.errors import GlualignError
from glualign.files import read_bytes

KEYPOINT_EXTENSIONS = (".csv", ".json")
_LONGEST_FILE = 1 << 29  # bytes


def read_keypoints(path: str, frame: str = "source") -> tuple[Doubles, Callable[[Doubles], str]]:
    """Read a CSV (columns x and y, or ``frame`` _x and _y, by header, or the first two) or a JSON file.

    JSON is a list of points, or an object with a list ``keypoints`` or ``points``; a point is ``[x, y, ...]``
    or ``{"x": ..., "y": ...}``.

    Returns:
        ``(points, text_with)``: ``(N, 2)`` float64 in pixels, NaN for a point without position (an empty
        cell, nan, null), and what makes the file's text with other points.
    """
    try:
        text = read_bytes(path, _LONGEST_FILE).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise GlualignError(f"{path}: is not text in UTF-8") from error
    form: Callable[[float], Any]
    if Path(path).suffix.lower() == ".json":
        cells, empty, dump = _from_json(text, path)
        form = partial(round, ndigits=4)
    else:
        cells, empty, dump = _from_csv(text, path, frame)
        form = "{:.4f}".format
    if not cells:
        raise GlualignError(f"{path}: holds no keypoints")
    points = [[_number(item[key], f"{path}: {where}") for key in keys] for where, item, keys in cells]

    def text_with(moved: Doubles) -> str:
        for (_, item, keys), point in zip(cells, moved.tolist(), strict=True):
            for key, value in zip(keys, point, strict=True):
                item[key] = empty if math.isnan(value) else form(value)
        return dump()

    return np.array(points), text_with


Cells = list[tuple[str, Any, tuple[Any, Any]]]
"""Points of a document: for messages, the list or object that holds one, and its keys of x and y there."""


def _from_csv(text: str, path: str, frame: str) -> tuple[Cells, str, Callable[[], str]]:
    """The points, what stands for no position, and what makes the file's text."""
    delimiter = "," if "," in text else " "
    with suppress(csv.Error):  # which columns aligned by spaces raise
        delimiter = csv.Sniffer().sniff(text[:4096], ",;\t ").delimiter
    aligned = delimiter == " "  # by any number of spaces, so that no cell is empty
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=aligned)
    try:
        rows = [row for row in reader if row]
    except csv.Error as error:
        raise GlualignError(f"{path}: cannot be read as CSV ({error})") from error
    if aligned:
        rows = [row if row[-1] else row[:-1] for row in rows]  # without the spaces at the end of a line
        for line, row in enumerate(rows, 1):
            if len(row) != len(rows[0]):
                counts = f"row {line} has {len(row)} values, the first {len(rows[0])}"
                raise GlualignError(f"{path}: {counts}; between spaces none can be empty, use commas")
    keys, first = (0, 1), 0
    try:
        [float(cell or "nan") for row in rows[:1] for cell in row[:2]]
    except ValueError:  # a header
        names = [name.strip().lower() for name in rows[0]]
        columns = ("x", "y") if "x" in names else (f"{frame}_x", f"{frame}_y")
        if not set(columns) <= set(names):
            raise GlualignError(
                f"{path}: its header has no columns x and y (it has {', '.join(rows[0])})"
            ) from None
        keys, first = (names.index(columns[0]), names.index(columns[1])), 1
    cells: Cells = [(f"row {line}", row, keys) for line, row in enumerate(rows, 1)][first:]
    if short := [where for where, row, _ in cells if len(row) <= max(keys)]:
        raise GlualignError(f"{path}: {short[0]} has no x and y")

    def dump() -> str:
        out = io.StringIO()
        csv.writer(out, delimiter=delimiter, lineterminator="\n").writerows(rows)
        return out.getvalue()

    return cells, "nan" if aligned else "", dump


def _from_json(text: str, path: str) -> tuple[Cells, None, Callable[[], str]]:
    """The same of a document."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise GlualignError(f"{path}: is not valid JSON ({error})") from error
    listed = document
    if isinstance(document, dict):
        listed = document.get("keypoints", document.get("points"))
    if not isinstance(listed, list):
        raise GlualignError(f"{path}: is not a list of points, nor an object with 'keypoints' or 'points'")
    cells: Cells = []
    for number, item in enumerate(listed):
        if isinstance(item, dict) and {"x", "y"} <= item.keys():
            cells.append((f"point {number}", item, ("x", "y")))
        elif isinstance(item, list) and len(item) >= 2:
            cells.append((f"point {number}", item, (0, 1)))
        else:
            raise GlualignError(f"{path}: point {number} is neither [x, y] nor an object with x and y")
    # A lone surrogate is text in JSON, but not in UTF-8.
    ascii_only = re.search(r"\\u[dD][89a-fA-F]", text) is not None
    return cells, None, lambda: json.dumps(document, ensure_ascii=ascii_only, indent=1) + "\n"


def _number(value: Any, where: str) -> float:
    """A coordinate; NaN for what marks a point without position."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.inf
    if math.isinf(number):
        raise GlualignError(f"{where}: {str(value)[:40]!r} is not a coordinate")
    return number
