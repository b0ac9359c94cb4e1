"""The log of a run: CSV files that survive interruptions, and a plot of them."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from glualign.files import atomic_path, write_text

PLACE = ("pairs", "stage", "step")
"""First columns of every log: pairs seen so far, and the stage and step of the row."""


def append_row(path: Path, row: Mapping[str, float], columns: Sequence[str] = ()) -> None:
    """Append one row to a CSV file; cells it lacks, and values that are not finite, stay empty.

    A new file has the columns `PLACE` and ``columns``. Where the row has others, the file is written anew.
    """
    header = path.read_text(encoding="utf-8").partition("\n")[0].split(",") if path.exists() else []
    wanted = list(dict.fromkeys([*(header or PLACE), *columns, *row]))
    if wanted != header:
        lines = [_line(former, wanted) for former in read_rows(path)]
        write_text(path, "\n".join([",".join(wanted), *lines]) + "\n")
    with path.open("a", encoding="utf-8") as stream:
        stream.write(_line(row, wanted) + "\n")


def rewind(path: Path, pairs: int) -> None:
    """Keep the rows up to and including ``pairs``: what came later will be trained again."""
    if not path.exists():
        return
    header, *_ = path.read_text(encoding="utf-8").splitlines() or [""]
    lines = [_line(row, header.split(",")) for row in read_rows(path) if row["pairs"] <= pairs]
    write_text(path, "\n".join([header, *lines]) + "\n")


def _line(row: Mapping[str, float], columns: Sequence[str]) -> str:
    return ",".join(f"{row[c]:.6g}" if c in row and math.isfinite(row[c]) else "" for c in columns)


def read_rows(path: Path) -> list[dict[str, float]]:
    """The rows of a log; empty cells are left out, a half-written last line too."""
    if not path.exists():
        return []
    rows = []
    with path.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            try:
                rows.append({k: float(v) for k, v in row.items() if k and v})
            except ValueError:
                continue
    return [row for row in rows if "pairs" in row]


def plot(rows: Sequence[Mapping[str, float]], columns: Sequence[str], path: Path) -> None:
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
