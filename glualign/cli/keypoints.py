"""Keypoint files: CSV and JSON in, the same file with moved points out."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glualign.errors import GlualignError
from glualign.files import read_bytes

KEYPOINT_EXTENSIONS = (".csv", ".json")
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_LONGEST_FILE = 1 << 29  # bytes


@dataclass(frozen=True)
class Keypoints:
    """Points ``(x, y)`` in pixels, and how to put others in their place.

    Attributes:
        points: one ``(x, y)`` per keypoint; NaN where the file leaves it open (an empty cell, nan, null).
        render: the file's text with the given points instead; a None is a point that has no position.
    """

    points: list[tuple[float, float]]
    render: Callable[[list[tuple[float, float] | None]], str]


def read_keypoints(path: str, frame: str = "source") -> Keypoints:
    """Read a CSV (columns x, y by header, or the first two) or a JSON file.

    A table of matches, whose columns are source_x, source_y, target_x and target_y, gives those of ``frame``.

    JSON is a list of points, or an object with a list ``keypoints`` or ``points``; a point is ``[x, y, ...]``
    or ``{"x": ..., "y": ...}``. What else the file holds is kept.

    Raises:
        GlualignError: the file is missing or holds no points of that form.
    """
    try:
        text = read_bytes(path, _LONGEST_FILE).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise GlualignError(f"{path}: is not text in UTF-8") from error
    found = _from_json(text, path) if Path(path).suffix.lower() == ".json" else _from_csv(text, path, frame)
    if not found.points:
        raise GlualignError(f"{path}: holds no keypoints")
    return found


def _from_csv(text: str, path: str, frame: str) -> Keypoints:
    delimiter = ","
    with suppress(csv.Error):
        delimiter = csv.Sniffer().sniff(text[:4096], ",;\t ").delimiter
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]
    except csv.Error as error:
        raise GlualignError(f"{path}: cannot be read as CSV ({error})") from error
    if not rows:
        raise GlualignError(f"{path}: holds no keypoints")
    names = [name.strip().lower() for name in rows[0]]
    try:
        numbers = [float(cell or "nan") for cell in rows[0][:2]]
    except ValueError:
        numbers = []
    has_header = not numbers
    columns = ("x", "y") if "x" in names else (f"{frame}_x", f"{frame}_y")
    if has_header and not set(columns) <= set(names):
        raise GlualignError(f"{path}: its header has no columns x and y (it has {', '.join(rows[0])})")
    at_x, at_y = (names.index(columns[0]), names.index(columns[1])) if has_header else (0, 1)
    body = rows[1:] if has_header else rows
    points = []
    for line, row in enumerate(body, start=2 if has_header else 1):
        if len(row) <= max(at_x, at_y):
            raise GlualignError(f"{path}: row {line} has no x and y")
        points.append((_number(row[at_x], path, f"row {line}"), _number(row[at_y], path, f"row {line}")))

    def render(moved: list[tuple[float, float] | None]) -> str:
        out = io.StringIO()
        writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
        if has_header:
            writer.writerow(rows[0])
        for row, point in zip(body, moved, strict=True):
            cells = list(row)
            cells[at_x], cells[at_y] = ("", "") if point is None else (f"{point[0]:.4f}", f"{point[1]:.4f}")
            writer.writerow(cells)
        return out.getvalue()

    return Keypoints(points, render)


def _from_json(text: str, path: str) -> Keypoints:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise GlualignError(f"{path}: is not valid JSON ({error})") from error
    key = None
    if isinstance(document, dict):
        key = next((name for name in ("keypoints", "points") if name in document), None)
    listed = document[key] if key is not None else document
    if not isinstance(listed, list):
        raise GlualignError(f"{path}: is not a list of points, nor an object with 'keypoints' or 'points'")
    points = []
    for number, item in enumerate(listed):
        where = f"point {number}"
        if isinstance(item, dict) and "x" in item and "y" in item:
            points.append((_number(item["x"], path, where), _number(item["y"], path, where)))
        elif isinstance(item, list) and len(item) >= 2:
            points.append((_number(item[0], path, where), _number(item[1], path, where)))
        else:
            raise GlualignError(f"{path}: {where} is neither [x, y] nor an object with x and y")

    def render(moved: list[tuple[float, float] | None]) -> str:
        out: list[Any] = []
        for item, point in zip(listed, moved, strict=True):
            x, y = (None, None) if point is None else (round(point[0], 4), round(point[1], 4))
            out.append({**item, "x": x, "y": y} if isinstance(item, dict) else [x, y, *item[2:]])
        whole = out if key is None else {**document, key: out}
        # A lone surrogate is text in JSON, but not in UTF-8.
        return json.dumps(whole, ensure_ascii=bool(_SURROGATE.search(text)), indent=1) + "\n"

    return Keypoints(points, render)


def _number(value: Any, path: str, where: str) -> float:
    """A coordinate; NaN for what marks a point without position."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.inf
    if math.isinf(number):
        raise GlualignError(f"{path}: {where}: {str(value)[:40]!r} is not a coordinate")
    return number
