"""The result of an evaluation as one JSON document."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from glualign.evaluation.datasets.base import Dataset
from glualign.evaluation.environment import environment
from glualign.evaluation.methods import Method
from glualign.evaluation.metrics import ALPHAS, CURVE_ALPHAS, PIXEL_THRESHOLDS, Summary
from glualign.evaluation.published import ALL
from glualign.evaluation.records import Record
from glualign.evaluation.tables import Row
from glualign.files import write_text
from glualign.plain import plain

_DIGITS = 6  # digits after the point; more is noise that makes two results look different


def document(
    dataset: Dataset, methods: Sequence[Method], rows: Sequence[Row], records: Sequence[Record]
) -> dict[str, Any]:
    """Everything a table or a plot needs, with where and from what it was measured. Shares are fractions."""
    return {
        "kind": "evaluation",
        "dataset": dataset.name,
        "title": dataset.title,
        "pairs": len(dataset),
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": environment(),
        "methods": {method.name: dict(method.settings) for method in methods},
        "curve_alpha": CURVE_ALPHAS.tolist(),
        "rows": [_row(row) for row in rows],
        "failures": [
            {"pair": record.pair, "method": record.method, "error": record.error}
            for record in records
            if record.error
        ],
        "gave_up": [
            {"pair": record.pair, "method": record.method, "note": record.note}
            for record in records
            if record.note
        ],
    }


def write_document(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON document, atomically; NaN becomes null."""
    write_text(path, json.dumps(_rounded(plain(content)), indent=1, ensure_ascii=False) + "\n")


def _row(row: Row) -> dict[str, Any]:
    return {
        "group": row.group,
        "method": row.method,
        "failed": row.failed,
        "gave_up": row.gave_up,
        "seconds_per_pair": row.seconds,
        "metrics": _metrics(row.summary, with_curve=row.group == ALL) if row.summary else None,
    }


def rows_of(content: Mapping[str, Any]) -> list[Row]:
    """The rows of a document that was read back, without the curves of the groups."""
    return [
        Row(
            group=entry["group"],
            method=entry["method"],
            summary=_summary(entry["metrics"]) if entry["metrics"] else None,
            failed=entry["failed"],
            gave_up=entry["gave_up"],
            seconds=math.nan if entry["seconds_per_pair"] is None else entry["seconds_per_pair"],
        )
        for entry in content["rows"]
    ]


def _summary(values: Mapping[str, Any]) -> Summary:
    return Summary(
        pairs=values["pairs"],
        aepe=values["aepe"],
        median=values["median"],
        pck=tuple(values["pck_px"][f"{key:g}"] for key in PIXEL_THRESHOLDS),
        pck_alpha=tuple(values["pck_alpha"][f"{key:g}"] for key in ALPHAS),
        fl=values["fl"],
        curve=tuple(values.get("curve_pck", ())),
    )


def _metrics(summary: Summary, *, with_curve: bool) -> dict[str, Any]:
    curve = {"curve_pck": list(summary.curve)} if with_curve else {}
    return {
        "pairs": summary.pairs,
        "aepe": summary.aepe,
        "median": summary.median,
        "pck_px": {f"{key:g}": value for key, value in zip(PIXEL_THRESHOLDS, summary.pck, strict=True)},
        "pck_alpha": {f"{key:g}": value for key, value in zip(ALPHAS, summary.pck_alpha, strict=True)},
        "fl": summary.fl,
        **curve,
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, _DIGITS) if isinstance(value, float) else value
