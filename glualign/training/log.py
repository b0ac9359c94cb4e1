"""The log of a run: CSV files that survive interruptions, and a plot of them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from glualign.files import atomic_path, write_text

Row = Mapping[str, float]


def append_row(path: Path, row: Row, columns: Sequence[str] = ()) -> None:
    """Add a row to a CSV file; cells it lacks, and values that are not finite, stay empty.

    The file begins with the columns pairs, stage and step, then ``columns`` and any others of its rows.
    """
    _write_rows(path, [*read_rows(path), row], columns)


def rewind(path: Path, pairs: int) -> None:
    """Keep the rows up to and including ``pairs``: what came later will be trained again."""
    if path.exists():
        _write_rows(path, [row for row in read_rows(path) if row["pairs"] <= pairs])


def _write_rows(path: Path, rows: Sequence[Row], columns: Sequence[str] = ()) -> None:
    names = dict.fromkeys(("pairs", "stage", "step", *columns, *(name for row in rows for name in row)))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(names), restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: f"{value:.6g}" for name, value in row.items() if math.isfinite(value)})
    write_text(path, text.getvalue())


def read_rows(path: Path) -> list[dict[str, float]]:
    """The rows of a log; empty cells are left out, and lines that are not whole."""
    if not path.exists():
        return []
    rows = []
    for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
        try:
            rows.append({k: float(v) for k, v in row.items() if k and v})
        except ValueError:
            continue
    return [row for row in rows if "pairs" in row]


def plot(rows: Sequence[Row], columns: Sequence[str], path: Path) -> None:
    """Write the curves of some columns over pairs as a PNG of 900 x 500 with logarithmic values.

    Without two positive values in any column nothing is written.
    """
    points = {c: [(r["pairs"], math.log10(r[c])) for r in rows if r.get(c, 0) > 0] for c in columns}
    curves = {c: _thinned(np.array(p)) for c, p in points.items() if len(p) > 1}
    if not curves:
        return
    width, height, margin = 900, 500, 60
    picture = np.full((height, width, 3), 255, np.uint8)
    everything = np.concatenate(list(curves.values()))
    low, high = everything.min(0), everything.max(0)
    scale = np.array([width - 2 * margin, -(height - 2 * margin)]) / np.maximum(high - low, 1e-6)

    def write(text: str, x: int, y: int, colour: Sequence[float] = (0, 0, 0)) -> None:
        cv2.putText(picture, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1, cv2.LINE_AA)

    for decade in range(math.ceil(low[1]), math.floor(high[1]) + 1):
        y = round((decade - low[1]) * scale[1]) + height - margin
        cv2.line(picture, (margin, y), (width - margin, y), (225, 225, 225), 1)
        write(f"{10**decade:g}", 5, y)
    for index, (name, curve) in enumerate(curves.items()):
        hue = np.array([[[index * 180 // len(curves), 200, 170]]], np.uint8)
        colour = cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0].tolist()
        line = (curve - low) * scale + (margin, height - margin)
        cv2.polylines(picture, [line.astype(np.int32)], False, colour, 1, cv2.LINE_AA)
        write(name, width - margin - 110, margin + 16 * index, colour)
    write(f"{10 ** high[1]:.3g}", 5, margin - 12)
    write(f"{10 ** low[1]:.3g}", 5, height - margin + 16)
    write(f"{high[0]:.0f} pairs", width - 150, height - 30)
    with atomic_path(path) as temporary:
        cv2.imwrite(str(temporary), picture)


def _thinned(points: np.typing.NDArray[np.float64], most: int = 400) -> np.typing.NDArray[np.float64]:
    """Means of runs of (N, 2) points, at most ``most`` of them, so that a long noisy log stays legible."""
    run = math.ceil(len(points) / most)
    return np.array([points[k : k + run].mean(axis=0) for k in range(0, len(points), run)])
