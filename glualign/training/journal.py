"""The run's log: a CSV that survives interruptions, and a plot of it."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from glualign.files import atomic_path, write_text

Row = Mapping[str, float]


class Journal:
    """Rows appended to ``NAME.csv``; a resumed run first drops the rows after its checkpoint."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.columns = ("pairs", "stage", "step", *columns)

    def rewind(self, pairs: int) -> None:
        """Keep the rows up to and including ``pairs``: what came later will be trained again."""
        rows = [row for row in read_rows(self.path) if row["pairs"] <= pairs]
        lines = [",".join(self.columns)] + [self._line(row) for row in rows]
        write_text(self.path, "\n".join(lines) + "\n")

    def add(self, row: Row) -> None:
        """Append one row; columns it lacks stay empty."""
        new = not self.path.exists()
        with self.path.open("a", encoding="utf-8") as stream:
            if new:
                stream.write(",".join(self.columns) + "\n")
            stream.write(self._line(row) + "\n")

    def _line(self, row: Row) -> str:
        return ",".join(f"{row[c]:.6g}" if c in row and math.isfinite(row[c]) else "" for c in self.columns)


def read_rows(path: Path) -> list[dict[str, float]]:
    """The rows of a journal; empty cells are left out, a half-written last line too."""
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


def plot(rows: Sequence[Row], columns: Sequence[str], path: Path) -> None:
    """Curves of some columns over pairs, logarithmic, as a PNG: matplotlib if installed, else OpenCV."""
    curves = {c: [(r["pairs"], r[c]) for r in rows if r.get(c, 0) > 0] for c in columns}
    curves = {c: _thinned(points) for c, points in curves.items() if len(points) > 1}
    if not curves:
        return
    with atomic_path(path) as temporary:
        try:
            import matplotlib
        except ImportError:
            _plot_with_opencv(curves, temporary)
        else:
            matplotlib.use("Agg")
            _plot_with_matplotlib(curves, temporary)


Curves = dict[str, list[tuple[float, float]]]


def _thinned(points: list[tuple[float, float]], most: int = 400) -> list[tuple[float, float]]:
    """Means of runs of points, so that a long noisy log stays legible."""
    run = math.ceil(len(points) / most)
    parts = [np.mean(points[k : k + run], axis=0) for k in range(0, len(points), run)]
    return [(float(x), float(y)) for x, y in parts]


def _plot_with_matplotlib(curves: Curves, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.add_subplot(yscale="log", xlabel="pairs", ylabel="value")
    for name, points in curves.items():
        axes.plot(*zip(*points, strict=True), label=name, linewidth=1)
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend(fontsize=8, ncols=2)
    figure.savefig(path, dpi=110, format="png")


def _plot_with_opencv(curves: Curves, path: Path) -> None:
    height, width, margin = 500, 900, 60
    picture = np.full((height, width, 3), 255, np.uint8)
    every = np.array([point for points in curves.values() for point in points])
    every[:, 1] = np.log10(every[:, 1])
    low, high = every.min(0), every.max(0)
    span = np.maximum(high - low, 1e-6)
    scale = np.array([width - 2 * margin, -(height - 2 * margin)]) / span
    for index, (name, points) in enumerate(curves.items()):
        hue = np.array([[[index * 180 // len(curves), 200, 170]]], np.uint8)
        colour = cv2.cvtColor(hue, cv2.COLOR_HSV2BGR)[0, 0].tolist()
        logs = np.array([(x, math.log10(y)) for x, y in points])
        line = (logs - low) * scale + (margin, height - margin)
        cv2.polylines(picture, [line.astype(np.int32)], False, colour, 1, cv2.LINE_AA)
        cv2.putText(
            picture, name, (margin + 10, margin + 18 * index), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1
        )
    for y, value in ((margin, high[1]), (height - margin, low[1])):
        cv2.putText(picture, f"{10**value:.3g}", (5, y), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1)
    cv2.putText(
        picture,
        f"{high[0]:.0f} pairs",
        (width - 150, height - 30),
        cv2.FONT_HERSHEY_SIMPLEX,
        0.4,
        (0, 0, 0),
        1,
    )
    cv2.imwrite(str(path), picture)
