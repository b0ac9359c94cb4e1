"""From results to tables: per group and over all pairs, as text and as a JSON document."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from glualign.evaluation.datasets.base import Dataset
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
from glualign.evaluation.provenance import header
from glualign.evaluation.runner import PairResult

ALL = ""  # the row of all pairs
MEAN_OF_GROUPS = "mean of groups"
HEADERS = (
    "group", "method", "pairs", "AEPE", "median", "PCK-1", "PCK-3", "PCK-5", "PCK@0.05", "Fl", "s/pair",
    "notes",
)  # fmt: skip
RIGHT_ALIGNED = tuple(range(2, 11))
SPEED_HEADERS = ("size", "threads", "model", "precision", "layout", "s/pair", "fastest", "speed-up")
SPEED_RIGHT_ALIGNED = (1, 5, 6, 7)
_MISSING = "-"

Measured = tuple[GroupMetrics, float]
"""Metrics of a group and seconds of a pair."""
Row = dict[str, Any]
"""One method on one group of pairs, as JSON has it.

``group`` is a group's name, `ALL` or `MEAN_OF_GROUPS`; ``failed`` counts pairs without a result, ``unsolved``
those that a baseline answered with the identity; ``seconds_per_pair`` is the median time, NaN or None without
any; ``metrics`` are those of `GroupMetrics`, PCK by threshold and the curve of `ALL` alone, None without any.
"""


def group_results(dataset: Dataset, results: Sequence[PairResult]) -> list[Row]:
    """Those of every group and then of the whole data set, the methods in their order inside each."""
    methods = list(dict.fromkeys(result.method for result in results))
    groups = [group for group in dataset.groups if group != ALL]
    rows: list[Row] = []
    measured: dict[str, list[Measured]] = defaultdict(list)
    for group, method in product((*groups, ALL), methods):
        chosen = [r for r in results if r.method == method and group in (ALL, r.group)]
        # Inside a scene over its pairs, then the mean of the scenes.
        scenes: dict[str, list[PairMetrics]] = defaultdict(list)
        for result in chosen:
            if result.metrics:
                scenes[result.subgroup].append(result.metrics)
        found: list[Measured] = []
        if scenes:
            metrics = mean_of([summarise(p, pooled_pck=dataset.pooled_pck) for p in scenes.values()])
            found = [(metrics, float(np.median([r.seconds for r in chosen if r.metrics])))]
        rows.append(_row(group, method, chosen, found))
        measured[method] += found if group != ALL else []
    for method in methods if len(groups) > 1 else ():
        chosen = [r for r in results if r.method == method and r.group != ALL]
        rows.append(_row(MEAN_OF_GROUPS, method, chosen, measured[method]))
    return rows


def _row(group: str, method: str, results: Sequence[PairResult], measured: Sequence[Measured]) -> Row:
    """A row with the mean of what was ``measured``, which is nothing where all ``results`` failed."""
    metrics = mean_of([each for each, _ in measured]) if measured else None
    seconds = float(np.mean([each for _, each in measured])) if measured else math.nan
    return {
        "group": group,
        "method": method,
        "failed": sum(result.metrics is None for result in results),
        "unsolved": sum(bool(result.note) for result in results if result.metrics),
        "seconds_per_pair": seconds,
        "metrics": metrics
        and {
            **{name: getattr(metrics, name) for name in ("pairs", "aepe", "median", "fl")},
            "pck_px": {f"{key:g}": value for key, value in zip(PIXEL_THRESHOLDS, metrics.pck, strict=True)},
            "pck_alpha": {f"{key:g}": value for key, value in zip(ALPHAS, metrics.pck_alpha, strict=True)},
            **({"curve_pck": metrics.curve.tolist()} if group == ALL else {}),
        },
    }


def table_cells(dataset: str, rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The table as text under `HEADERS`, with what was published for a group below our rows of it."""
    cells: list[tuple[str, ...]] = []
    for group in dict.fromkeys(row["group"] for row in rows):
        most, values = 0, list[float | None]()
        for row in (row for row in rows if row["group"] == group):
            notes = [f"{row['failed']} failed"] if row["failed"] else []
            notes += [f"no alignment for {row['unsolved']}"] if row["unsolved"] else []
            pairs, values, seconds = 0, [None] * 7, _MISSING
            if found := row["metrics"]:
                pairs, seconds = found["pairs"], f"{row['seconds_per_pair']:.3f}"
                shares = [*(found["pck_px"][key] for key in "135"), found["pck_alpha"]["0.05"], found["fl"]]
                values = [found["aepe"], found["median"], *shares]
            most = max(most, pairs)
            cells.append(_cells(group, row["method"], str(pairs), values, seconds, ", ".join(notes)))
        for known in (row for row in _published() if (row["dataset"], row["group"]) == (dataset, group)):
            method, official = f"{known['method']} (published)", known["pairs"]
            names = ("aepe", "median", "pck_1", "pck_3", "pck_5", "pck_005", "fl")
            values = [float(known[name]) if known.get(name) else None for name in names]
            note = f"official set: {official} pairs" if official not in ("", str(most)) else ""
            cells.append(_cells(group, method, official or _MISSING, values, _MISSING, note))
    return cells


@cache
def _published() -> list[dict[str, str]]:
    """Numbers published for GLU-Net with the official data and weights; cells without one are empty.

    Lengths are in pixels, shares are fractions; ``pairs`` are those of the official set or group.
    """
    with Path(__file__).with_name("published.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _cells(
    group: str, method: str, pairs: str, values: Sequence[float | None], seconds: str, note: str
) -> tuple[str, ...]:
    """A line of the table; ``values`` are AEPE and median in pixels, then shares as fractions."""
    lengths = [_MISSING if value is None else f"{value:.2f}" for value in values[:2]]
    shares = [_MISSING if value is None else f"{100 * value:.1f}" for value in values[2:]]
    return (group or "all pairs", method, pairs, *lengths, *shares, seconds, note)


def speed_cells(rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """The rows of a speed document as text under `SPEED_HEADERS`."""
    for row in rows:
        yield (
            f"{row['width']}x{row['height']}",
            *(str(row[name]) for name in ("threads", "model", "precision", "layout")),
            *(f"{row[name]:.3f}" for name in ("seconds_median", "seconds_min")),
            f"{row['speedup']:.1f}" if row["speedup"] else _MISSING,
        )


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
        "rows": rows,
        "failures": [{"pair": r.pair, "method": r.method, "error": r.error} for r in results if r.error],
        "unsolved": [{"pair": r.pair, "method": r.method, "note": r.note} for r in results if r.note],
    }
