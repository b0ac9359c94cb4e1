"""From results to tables: per group and over all pairs, as text and as a JSON document that says where."""

from __future__ import annotations

import csv
import json
import math
import os
import platform
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import numpy as np

import glualign
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
from glualign.evaluation.runner import PairResult
from glualign.files import json_values, write_text

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
_PACKAGES = ("torch", "numpy", "opencv-python", "opencv-python-headless", "pillow")
_DIGITS = 6  # digits after the point; more is noise that makes two documents look different

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
    measured: dict[str, list[tuple[GroupMetrics, float]]] = defaultdict(list)
    for group in (*groups, ALL):
        for method in methods:
            chosen = [r for r in results if r.method == method and group in (ALL, r.group)]
            # Inside a scene over its pairs, then the mean of the scenes.
            scenes: dict[str, list[PairMetrics]] = defaultdict(list)
            for result in chosen:
                if result.metrics:
                    scenes[result.subgroup].append(result.metrics)
            metrics, seconds = None, math.nan
            if scenes:
                metrics = mean_of([summarise(p, pooled_pck=dataset.pooled_pck) for p in scenes.values()])
                seconds = float(np.median([result.seconds for result in chosen if result.metrics]))
                if group != ALL:
                    measured[method].append((metrics, seconds))
            rows.append(_row(group, method, chosen, metrics, seconds))
    for method in methods if len(groups) > 1 else ():
        chosen = [r for r in results if r.method == method and r.group != ALL]
        metrics, seconds = None, math.nan
        if measured[method]:
            found, times = zip(*measured[method], strict=True)
            metrics, seconds = mean_of(found), float(np.mean(times))
        rows.append(_row(MEAN_OF_GROUPS, method, chosen, metrics, seconds))
    return rows


def _row(
    group: str, method: str, results: Sequence[PairResult], metrics: GroupMetrics | None, seconds: float
) -> Row:
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


def header(kind: str, title: str) -> dict[str, Any]:
    """What every JSON document of measurements begins with: what, when and where it was measured."""
    date = datetime.now(timezone.utc).date().isoformat()
    return {"kind": kind, "title": title, "date": date, "machine": environment()}


def environment() -> dict[str, Any]:
    """Where a number was measured: processor, cores, threads, GPU, platform, versions and commit.

    Nothing in it identifies a person or a machine.
    """
    import torch

    installed = {found.metadata["Name"].lower(): found.version for found in distributions()}
    return {
        "cpu": _cpu_model(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {"glualign": glualign.__version__}
        | {name: installed[name] for name in _PACKAGES if name in installed},
        "commit": _commit(),
    }


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_model() -> str:
    with suppress(OSError):
        found = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE)
        return found[1] if found else platform.machine()
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """The commit this package was run from, with a + when its files were changed; None outside a checkout."""
    git = ["git", "-C", str(Path(glualign.__file__).parent)]
    commands = (["rev-parse", "--short=10", "HEAD"], ["status", "--porcelain", "-uno", "--", "."])
    with suppress(OSError, subprocess.SubprocessError):
        head, changes = (
            subprocess.check_output([*git, *arguments], stderr=subprocess.DEVNULL, text=True).strip()
            for arguments in commands
        )
        return head + "+" * bool(changes)
    return None


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


def write_document(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON document, atomically; NaN becomes null."""
    rounded = json.loads(
        json.dumps(json_values(content)), parse_float=lambda text: round(float(text), _DIGITS)
    )
    write_text(path, json.dumps(rounded, indent=1, ensure_ascii=False) + "\n")
