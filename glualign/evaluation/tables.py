"""From results to tables: per group and over all pairs, as text and as a JSON document."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from glualign.evaluation.datasets.base import Dataset
from glualign.evaluation.environment import environment
from glualign.evaluation.methods import Method
from glualign.evaluation.metrics import (
    ALPHAS,
    CURVE_ALPHAS,
    PIXEL_THRESHOLDS,
    GroupMetrics,
    PairMetrics,
    mean_of,
    summarise,
)
from glualign.evaluation.results import PairResult
from glualign.files import write_text
from glualign.plain import plain

ALL = ""  # the row of all pairs
MEAN_OF_GROUPS = "mean of groups"
HEADERS = (
    "group", "method", "pairs", "AEPE", "median", "PCK-1", "PCK-3", "PCK-5", "PCK@0.05", "Fl", "s/pair",
    "notes",
)  # fmt: skip
RIGHT_ALIGNED = tuple(range(2, 11))
_MISSING = "-"
_DIGITS = 6  # digits after the point; more is noise that makes two documents look different

Row = dict[str, Any]
"""One method on one group of pairs, as JSON has it.

``group`` is the group's name (`ALL` for all pairs, `MEAN_OF_GROUPS` for the mean of the groups), ``method``
the method's; ``failed`` the number of pairs without a result, ``unsolved`` of those that a baseline answered
with the identity; ``seconds_per_pair`` the median time, NaN or None without any; ``metrics`` those of
`GroupMetrics`, with PCK by threshold, or None when every pair failed.
"""


def group_results(dataset: Dataset, results: Sequence[PairResult]) -> list[Row]:
    """Those of every group and then of the whole data set, the methods in their order inside each."""
    methods = list(dict.fromkeys(result.method for result in results))
    groups = [group for group in dataset.groups if group != ALL]
    found: list[Row] = []
    metrics: dict[str, list[GroupMetrics]] = {method: [] for method in methods}
    for group in (*groups, ALL):
        for method in methods:
            chosen = [r for r in results if r.method == method and group in (ALL, r.group)]
            measured = _measured(chosen, dataset.pooled_pck)
            seconds = [result.seconds for result in chosen if result.metrics]
            found.append(
                {
                    "group": group,
                    "method": method,
                    "failed": sum(result.metrics is None for result in chosen),
                    "unsolved": sum(bool(result.note) for result in chosen if result.metrics),
                    "seconds_per_pair": float(np.median(seconds)) if seconds else math.nan,
                    "metrics": _as_json(measured) if measured else None,
                }
            )
            if measured and group != ALL:
                metrics[method].append(measured)
    if len(groups) < 2:
        return found
    for method in methods:
        of_groups = [row for row in found if row["method"] == method and row["group"] != ALL]
        seconds = [row["seconds_per_pair"] for row in of_groups if row["metrics"]]
        found.append(
            {
                "group": MEAN_OF_GROUPS,
                "method": method,
                "failed": sum(row["failed"] for row in of_groups),
                "unsolved": sum(row["unsolved"] for row in of_groups),
                "seconds_per_pair": float(np.mean(seconds)) if seconds else math.nan,
                "metrics": _as_json(mean_of(metrics[method])) if metrics[method] else None,
            }
        )
    return found


def _measured(results: Sequence[PairResult], pooled: bool) -> GroupMetrics | None:
    """The metrics of a group: inside a scene over its pairs, then the mean of the scenes."""
    scenes: dict[str, list[PairMetrics]] = {}
    for result in results:
        if result.metrics:
            scenes.setdefault(result.subgroup, []).append(result.metrics)
    found = [summarise(pairs, pooled_pck=pooled) for pairs in scenes.values()]
    return mean_of(found) if len(found) > 1 else next(iter(found), None)


def _as_json(metrics: GroupMetrics) -> dict[str, Any]:
    return {
        **{name: getattr(metrics, name) for name in ("pairs", "aepe", "median", "fl")},
        "pck_px": {f"{key:g}": value for key, value in zip(PIXEL_THRESHOLDS, metrics.pck, strict=True)},
        "pck_alpha": {f"{key:g}": value for key, value in zip(ALPHAS, metrics.pck_alpha, strict=True)},
        "curve_pck": list(metrics.curve),
    }


def table_cells(dataset: str, rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The table as text under `HEADERS`, with what was published for a group below our rows of it."""
    cells: list[tuple[str, ...]] = []
    for name in dict.fromkeys(row["group"] for row in rows):
        ours = [row for row in rows if row["group"] == name]
        cells += map(_cells, ours)
        most = max((row["metrics"]["pairs"] for row in ours if row["metrics"]), default=0)
        for published in _published():
            if (published["dataset"], published["group"]) == (dataset, name):
                aepe, *shares = (
                    float(published[key]) if published[key] else None
                    for key in ("aepe", "pck_1", "pck_3", "pck_5", "pck_005", "fl")
                )
                pairs = published["pairs"]
                lead = name or "all pairs", f"{published['method']} (published)", pairs or _MISSING
                note = f"official set: {pairs} pairs" if pairs not in ("", str(most)) else ""
                cells.append((*lead, _pixels(aepe), _MISSING, *map(_percent, shares), _MISSING, note))
    return cells


@cache
def _published() -> list[dict[str, str]]:
    """Numbers published for GLU-Net, which hold for the official data and weights.

    Lengths are in pixels, shares are fractions; ``pairs`` is the number of pairs of the official set or
    group. A cell is empty where nothing was published.
    """
    with Path(__file__).with_name("published.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _cells(row: Row) -> tuple[str, ...]:
    notes = [f"{row['failed']} failed"] if row["failed"] else []
    notes += [f"no alignment for {row['unsolved']}"] if row["unsolved"] else []
    lead, note = (row["group"] or "all pairs", row["method"]), ", ".join(notes)
    metrics = row["metrics"]
    if metrics is None:
        return (*lead, "0", *[_MISSING] * 8, note)
    shares = (*(metrics["pck_px"][key] for key in "135"), metrics["pck_alpha"]["0.05"], metrics["fl"])
    lengths = _pixels(metrics["aepe"]), _pixels(metrics["median"])
    seconds = f"{row['seconds_per_pair']:.3f}"
    return (*lead, str(metrics["pairs"]), *lengths, *map(_percent, shares), seconds, note)


def _pixels(value: float | None) -> str:
    return _MISSING if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return _MISSING if value is None else f"{100 * value:.1f}"


def header(kind: str, title: str) -> dict[str, Any]:
    """What every JSON document of measurements begins with: what, when and where it was measured."""
    date = datetime.now(timezone.utc).date().isoformat()
    return {"kind": kind, "title": title, "date": date, "machine": environment()}


def document(
    dataset: Dataset, methods: Sequence[Method], rows: Sequence[Row], results: Sequence[PairResult]
) -> dict[str, Any]:
    """Everything a table or a plot needs, with where and from what it was measured. Shares are fractions."""
    return {
        **header("evaluation", dataset.title),
        "dataset": dataset.name,
        "pairs": len(dataset),
        "methods": {method.name: dict(method.settings) for method in methods},
        "curve_alpha": CURVE_ALPHAS.tolist(),
        "rows": [row if row["group"] == ALL else _without_curve(row) for row in rows],
        "failures": [{"pair": r.pair, "method": r.method, "error": r.error} for r in results if r.error],
        "unsolved": [{"pair": r.pair, "method": r.method, "note": r.note} for r in results if r.note],
    }


def _without_curve(row: Row) -> Row:
    metrics = row["metrics"]
    return {**row, "metrics": metrics and {name: metrics[name] for name in metrics if name != "curve_pck"}}


def write_document(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON document, atomically; NaN becomes null."""
    write_text(path, json.dumps(_rounded(plain(content)), indent=1, ensure_ascii=False) + "\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, _DIGITS) if isinstance(value, float) else value


SPEED_HEADERS = ("size", "threads", "model", "precision", "layout", "s/pair", "fastest", "speed-up")
SPEED_RIGHT_ALIGNED = (1, 5, 6, 7)


def speed_cells(rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """The rows of a speed document as text under `SPEED_HEADERS`."""
    for row in rows:
        yield (
            f"{row['width']}x{row['height']}",
            *(str(row[name]) for name in ("threads", "model", "precision", "layout")),
            *(f"{row[name]:.3f}" for name in ("seconds_median", "seconds_min")),
            f"{row['speedup']:.1f}" if row["speedup"] else _MISSING,
        )
