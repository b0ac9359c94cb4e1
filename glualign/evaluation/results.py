"""One line per pair and method: the result of an evaluation, and the csv it is kept in."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from glualign.errors import DatasetError
from glualign.evaluation.metrics import ALPHAS, PIXEL_THRESHOLDS, PairMetrics
from glualign.files import write_text


@dataclass(frozen=True)
class PairResult:
    """The outcome of one method on one pair."""

    run: str  # fingerprint of the data set and of the method's settings
    method: str  # name of the method
    group: str  # row of the results table the pair belongs to
    subgroup: str  # scene that is averaged first, if the protocol does so
    pair: str  # name of the pair
    seconds: float  # time of the estimate; 0 for a failed pair
    error: str = ""  # why the pair failed; empty if it did not
    note: str = ""  # why the method found no alignment and answered the identity
    metrics: PairMetrics | None = None  # None for a failed pair

    @property
    def key(self) -> tuple[str, str, str]:
        """What makes a result the same in two runs."""
        return self.run, self.method, self.pair


_TEXTS = ("run", "method", "group", "subgroup", "pair", "note", "error")
_PCK = tuple(f"pck_{threshold:g}px" for threshold in PIXEL_THRESHOLDS)
_PCK_ALPHA = tuple(f"pck_{alpha:g}" for alpha in ALPHAS)
COLUMNS = (
    *_TEXTS[:5], "status", "pixels", "aepe", "median", *_PCK, *_PCK_ALPHA, "outliers", "seconds", "note",
    "error", "curve",
)  # fmt: skip


def fingerprint(dataset: str, settings: Mapping[str, str]) -> str:
    """Short hash of everything that decides a result, so that a resumed run never mixes settings."""
    text = json.dumps([dataset, dict(sorted(settings.items()))], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def as_csv(results: Iterable[PairResult], *, header: bool = True) -> str:
    """Results as csv text; floats are written so that they read back exactly."""
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, COLUMNS, restval="", lineterminator="\n")
    if header:
        writer.writeheader()
    for result in results:
        row = {name: " ".join(getattr(result, name).split()) for name in _TEXTS}
        row |= {"status": "failed" if result.error else "ok", "seconds": f"{result.seconds:.4f}"}
        if metrics := result.metrics:
            row |= {"pixels": str(metrics.pixels), "aepe": repr(metrics.aepe), "median": repr(metrics.median)}
            row |= dict(zip((*_PCK, *_PCK_ALPHA), map(repr, metrics.pck + metrics.pck_alpha), strict=True))
            row |= {"outliers": str(metrics.outliers), "curve": ";".join(map(str, metrics.curve))}
        writer.writerow(row)
    return buffer.getvalue()


def write_csv(path: Path, results: Iterable[PairResult]) -> None:
    """Write all results to a csv file, atomically."""
    write_text(path, as_csv(results))


def read_csv(path: Path) -> list[PairResult]:
    """Read the results of a csv file; a last line cut off by an interruption is left out.

    Raises:
        DatasetError: the file is not such a csv, or a line before the last is damaged.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, restval="")
            rows = list(reader)
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read as the csv of an earlier run ({error})") from error
    if rows and set(COLUMNS) - set(reader.fieldnames or ()):
        raise DatasetError(f"{path}: not the csv of an earlier run; give another --csv or leave out --resume")
    results = []
    for index, row in enumerate(rows):
        try:
            results.append(_from_row(row))
        except (ValueError, KeyError, TypeError) as error:
            if index < len(rows) - 1:
                raise DatasetError(
                    f"{path}, row {index + 1}: damaged ({error}); leave out --resume"
                ) from error
    return results


def _from_row(row: Mapping[str, str]) -> PairResult:
    metrics = None
    if row["status"] == "ok":
        metrics = PairMetrics(
            pixels=int(row["pixels"]),
            aepe=float(row["aepe"]),
            median=float(row["median"]),
            pck=tuple(float(row[column]) for column in _PCK),
            pck_alpha=tuple(float(row[column]) for column in _PCK_ALPHA),
            outliers=int(row["outliers"]),
            curve=tuple(int(count) for count in row["curve"].split(";")),
        )
    elif row["status"] != "failed":
        raise ValueError(f"unknown status {row['status']!r}")
    return PairResult(**{name: row[name] for name in _TEXTS}, seconds=float(row["seconds"]), metrics=metrics)
