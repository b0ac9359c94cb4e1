"""From records to the rows of the results table: per group and over all pairs, published rows beside ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glualign.evaluation.datasets.base import Dataset
from glualign.evaluation.metrics import ALPHAS, PIXEL_THRESHOLDS, Summary, mean_of, summarise
from glualign.evaluation.published import ALL, MEAN_OF_GROUPS, Published, published_rows
from glualign.evaluation.records import Record

HEADERS = (
    "group",
    "method",
    "pairs",
    "AEPE",
    "median",
    "PCK-1",
    "PCK-3",
    "PCK-5",
    "PCK@0.05",
    "Fl",
    "s/pair",
    "notes",
)
RIGHT_ALIGNED = tuple(range(2, 11))
_MISSING = "-"


@dataclass(frozen=True)
class Row:
    """One method on one group.

    Attributes:
        group: name of the group; `ALL` for all pairs, `MEAN_OF_GROUPS` for the mean of the groups.
        method: name of the method.
        summary: None when every pair failed.
        failed: number of pairs without a result.
        gave_up: number of pairs that a baseline answered with the identity.
        seconds: median time per pair; NaN without any.
    """

    group: str
    method: str
    summary: Summary | None
    failed: int
    gave_up: int
    seconds: float


def result_rows(dataset: Dataset, records: Sequence[Record]) -> list[Row]:
    """Rows of every group and then of the whole data set, the methods in their order inside each."""
    methods = list(dict.fromkeys(record.method for record in records))
    groups = [group for group in dataset.groups if group != ALL]
    by_method = {name: [record for record in records if record.method == name] for name in methods}
    rows = [
        _row(group, name, [record for record in by_method[name] if record.group == group], dataset.pooled_pck)
        for group in groups
        for name in methods
    ]
    per_group = list(rows)
    rows += [_row(ALL, name, by_method[name], dataset.pooled_pck) for name in methods]
    if len(groups) > 1:
        rows += [_mean_row(name, [row for row in per_group if row.method == name]) for name in methods]
    return rows


def table_cells(dataset: str, rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """The table as text under `HEADERS`, with what was published for a group below our rows of it."""
    cells: list[tuple[str, ...]] = []
    for index, row in enumerate(rows):
        cells.append(_cells(row))
        last_of_group = index + 1 == len(rows) or rows[index + 1].group != row.group
        if last_of_group:
            ours = max(
                (other.summary.pairs for other in rows if other.group == row.group and other.summary),
                default=0,
            )
            cells += [
                _published_cells(row.group, entry, ours) for entry in published_rows(dataset, row.group)
            ]
    return cells


def label(group: str) -> str:
    """How a group is called in tables."""
    return group or "all pairs"


def _row(group: str, method: str, records: Sequence[Record], pooled: bool) -> Row:
    measured = [record for record in records if record.metrics is not None]
    scenes = list(dict.fromkeys(record.subgroup for record in measured))
    summaries = [
        summarise([r.metrics for r in measured if r.subgroup == scene and r.metrics], pooled_pck=pooled)
        for scene in scenes
    ]
    seconds = [record.seconds for record in measured]
    return Row(
        group=group,
        method=method,
        summary=mean_of(summaries) if len(summaries) > 1 else next(iter(summaries), None),
        failed=len(records) - len(measured),
        gave_up=sum(bool(record.note) for record in measured),
        seconds=float(np.median(seconds)) if seconds else float("nan"),
    )


def _mean_row(method: str, rows: Sequence[Row]) -> Row:
    summaries = [row.summary for row in rows if row.summary]
    return Row(
        group=MEAN_OF_GROUPS,
        method=method,
        summary=mean_of(summaries) if summaries else None,
        failed=sum(row.failed for row in rows),
        gave_up=sum(row.gave_up for row in rows),
        seconds=float(np.nanmean([row.seconds for row in rows])) if summaries else float("nan"),
    )


def _cells(row: Row) -> tuple[str, ...]:
    notes = [f"{row.failed} failed"] if row.failed else []
    notes += [f"gave up on {row.gave_up}"] if row.gave_up else []
    if row.summary is None:
        return (label(row.group), row.method, "0", *[_MISSING] * 8, ", ".join(notes))
    summary = row.summary
    pck = dict(zip(PIXEL_THRESHOLDS, summary.pck, strict=True))
    alpha = dict(zip(ALPHAS, summary.pck_alpha, strict=True))
    return (
        label(row.group),
        row.method,
        str(summary.pairs),
        pixels(summary.aepe),
        pixels(summary.median),
        *(percent(pck[threshold]) for threshold in (1.0, 3.0, 5.0)),
        percent(alpha[0.05]),
        percent(summary.fl),
        f"{row.seconds:.3f}",
        ", ".join(notes),
    )


def _published_cells(group: str, entry: Published, ours: int) -> tuple[str, ...]:
    other = f"official set: {entry.pairs} pairs" if entry.pairs and entry.pairs != ours else ""
    return (
        label(group),
        f"{entry.method} (published)",
        str(entry.pairs) if entry.pairs else _MISSING,
        pixels(entry.aepe),
        _MISSING,
        *(percent(value) for value in (entry.pck_1, entry.pck_3, entry.pck_5, entry.pck_005, entry.fl)),
        _MISSING,
        other,
    )


def pixels(value: float | None) -> str:
    """A length in pixels for the table."""
    return _MISSING if value is None else f"{value:.2f}"


def percent(value: float | None) -> str:
    """A share for the table, in per cent."""
    return _MISSING if value is None else f"{100 * value:.1f}"
