"""From results to tables: per group and over all pairs, as text and as a JSON document."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
_NUMBERS = ("pairs", "aepe", "median", "fl")
_DIGITS = 6  # digits after the point; more is noise that makes two documents look different


@dataclass(frozen=True)
class GroupResult:
    """One method on one group of pairs.

    Attributes:
        group: name of the group; `ALL` for all pairs, `MEAN_OF_GROUPS` for the mean of the groups.
        method: name of the method.
        metrics: None when every pair failed.
        failed: number of pairs without a result.
        unsolved: number of pairs that a baseline answered with the identity.
        seconds: median time per pair; NaN without any.
    """

    group: str
    method: str
    metrics: GroupMetrics | None
    failed: int
    unsolved: int
    seconds: float


def group_results(dataset: Dataset, results: Sequence[PairResult]) -> list[GroupResult]:
    """Those of every group and then of the whole data set, the methods in their order inside each."""
    methods = list(dict.fromkeys(result.method for result in results))
    groups = [group for group in dataset.groups if group != ALL]

    def of(group: str, method: str) -> GroupResult:
        chosen = [r for r in results if r.method == method and group in (ALL, r.group)]
        return _group_result(group, method, chosen, dataset.pooled_pck)

    per_group = [of(group, method) for group in groups for method in methods]
    found = per_group + [of(ALL, method) for method in methods]
    if len(groups) > 1:
        found += [_mean_result([each for each in per_group if each.method == method]) for method in methods]
    return found


def _group_result(group: str, method: str, results: Sequence[PairResult], pooled: bool) -> GroupResult:
    measured = [result for result in results if result.metrics is not None]
    scenes = dict.fromkeys(result.subgroup for result in measured)
    metrics = [
        summarise([r.metrics for r in measured if r.subgroup == scene and r.metrics], pooled_pck=pooled)
        for scene in scenes
    ]
    return GroupResult(
        group=group,
        method=method,
        metrics=mean_of(metrics) if len(metrics) > 1 else next(iter(metrics), None),
        failed=len(results) - len(measured),
        unsolved=sum(bool(result.note) for result in measured),
        seconds=float(np.median([result.seconds for result in measured])) if measured else math.nan,
    )


def _mean_result(groups: Sequence[GroupResult]) -> GroupResult:
    measured = [group.metrics for group in groups if group.metrics]
    return GroupResult(
        group=MEAN_OF_GROUPS,
        method=groups[0].method,
        metrics=mean_of(measured) if measured else None,
        failed=sum(group.failed for group in groups),
        unsolved=sum(group.unsolved for group in groups),
        seconds=float(np.nanmean([group.seconds for group in groups])) if measured else math.nan,
    )


def table_cells(dataset: str, groups: Sequence[GroupResult]) -> list[tuple[str, ...]]:
    """The table as text under `HEADERS`, with what was published for a group below our rows of it."""
    cells: list[tuple[str, ...]] = []
    for name in dict.fromkeys(group.group for group in groups):
        ours = [group for group in groups if group.group == name]
        cells += map(_cells, ours)
        most = max((group.metrics.pairs for group in ours if group.metrics), default=0)
        for row in _published():
            if (row["dataset"], row["group"]) == (dataset, name):
                aepe, *shares = (
                    float(row[key]) if row[key] else None
                    for key in ("aepe", "pck_1", "pck_3", "pck_5", "pck_005", "fl")
                )
                method, pairs = f"{row['method']} (published)", row["pairs"] or _MISSING
                note = f"official set: {pairs} pairs" if row["pairs"] not in ("", str(most)) else ""
                numbers = _pixels(aepe), _MISSING, *map(_percent, shares), _MISSING
                cells.append((name or "all pairs", method, pairs, *numbers, note))
    return cells


@cache
def _published() -> list[dict[str, str]]:
    """Numbers published for GLU-Net, which hold for the official data and weights.

    Lengths are in pixels, shares are fractions; ``pairs`` is the number of pairs of the official set or
    group. A cell is empty where nothing was published.
    """
    with Path(__file__).with_name("published.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _cells(group: GroupResult) -> tuple[str, ...]:
    notes = [f"{group.failed} failed"] if group.failed else []
    notes += [f"no alignment for {group.unsolved}"] if group.unsolved else []
    lead, note = (group.group or "all pairs", group.method), ", ".join(notes)
    if group.metrics is None:
        return (*lead, "0", *[_MISSING] * 8, note)
    metrics = group.metrics
    pck = dict(zip(PIXEL_THRESHOLDS, metrics.pck, strict=True))
    alpha = dict(zip(ALPHAS, metrics.pck_alpha, strict=True))
    shares = (pck[1.0], pck[3.0], pck[5.0], alpha[0.05], metrics.fl)
    lengths = _pixels(metrics.aepe), _pixels(metrics.median)
    return (*lead, str(metrics.pairs), *lengths, *map(_percent, shares), f"{group.seconds:.3f}", note)


def _pixels(value: float | None) -> str:
    return _MISSING if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return _MISSING if value is None else f"{100 * value:.1f}"


def header(kind: str, title: str) -> dict[str, Any]:
    """What every JSON document of measurements begins with: what, when and where it was measured."""
    date = datetime.now(timezone.utc).date().isoformat()
    return {"kind": kind, "title": title, "date": date, "machine": environment()}


def document(
    dataset: Dataset, methods: Sequence[Method], groups: Sequence[GroupResult], results: Sequence[PairResult]
) -> dict[str, Any]:
    """Everything a table or a plot needs, with where and from what it was measured. Shares are fractions."""
    return {
        **header("evaluation", dataset.title),
        "dataset": dataset.name,
        "pairs": len(dataset),
        "methods": {method.name: dict(method.settings) for method in methods},
        "curve_alpha": CURVE_ALPHAS.tolist(),
        "rows": [
            {
                "group": group.group,
                "method": group.method,
                "failed": group.failed,
                "unsolved": group.unsolved,
                "seconds_per_pair": group.seconds,
                "metrics": _as_json(group.metrics, group.group == ALL) if group.metrics else None,
            }
            for group in groups
        ],
        "failures": [{"pair": r.pair, "method": r.method, "error": r.error} for r in results if r.error],
        "unsolved": [{"pair": r.pair, "method": r.method, "note": r.note} for r in results if r.note],
    }


def write_document(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON document, atomically; NaN becomes null."""
    write_text(path, json.dumps(_rounded(plain(content)), indent=1, ensure_ascii=False) + "\n")


def groups_of(content: Mapping[str, Any]) -> list[GroupResult]:
    """The group results of a document that was read back, without the curves of the groups."""
    return [
        GroupResult(
            group=row["group"],
            method=row["method"],
            metrics=_from_json(row["metrics"]) if row["metrics"] else None,
            failed=row["failed"],
            unsolved=row["unsolved"],
            seconds=math.nan if row["seconds_per_pair"] is None else row["seconds_per_pair"],
        )
        for row in content["rows"]
    ]


def _as_json(metrics: GroupMetrics, with_curve: bool) -> dict[str, Any]:
    curve = {"curve_pck": list(metrics.curve)} if with_curve else {}
    return {
        **{name: getattr(metrics, name) for name in _NUMBERS},
        "pck_px": {f"{key:g}": value for key, value in zip(PIXEL_THRESHOLDS, metrics.pck, strict=True)},
        "pck_alpha": {f"{key:g}": value for key, value in zip(ALPHAS, metrics.pck_alpha, strict=True)},
        **curve,
    }


def _from_json(values: Mapping[str, Any]) -> GroupMetrics:
    return GroupMetrics(
        **{name: values[name] for name in _NUMBERS},
        pck=tuple(values["pck_px"][f"{key:g}"] for key in PIXEL_THRESHOLDS),
        pck_alpha=tuple(values["pck_alpha"][f"{key:g}"] for key in ALPHAS),
        curve=tuple(values.get("curve_pck", ())),
    )


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
