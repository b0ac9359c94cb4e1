"""The evaluation loop: read a pair, run every method on it, keep the result, go on whatever happens."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from glualign.errors import DatasetError, GlualignError, OutputError
from glualign.evaluation.datasets.base import Dataset, EvalPair, Sample
from glualign.evaluation.methods import Method
from glualign.evaluation.metrics import ALPHAS, CURVE_ALPHAS, PIXEL_THRESHOLDS, PairMetrics, measure
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


def evaluate(
    dataset: Dataset,
    methods: Sequence[Method],
    *,
    csv_path: Path | None = None,
    resume: bool = False,
    listener: Callable[[PairResult], None] | None = None,
) -> list[PairResult]:
    """Run every method on every pair.

    A pair that cannot be read, or a method that fails on it, becomes a failed result and the run goes on. The
    results are in the order of the data set and then of the methods, of which a ``listener`` is told as they
    are made (or taken over).

    Results are appended to ``<csv_path>.partial`` as they are made; at the end all of them are written to
    ``csv_path`` and the partial file is removed. With ``resume`` those of the same pairs and settings in both
    files are taken over; failed pairs are tried again, and lines of other pairs and settings stay. A
    `DatasetError` says that two methods have the same name, that a csv to resume from is not one, or, without
    ``resume``, that a run is unfinished. An `OutputError` says that a file cannot be written.
    """
    runs = {method.name: fingerprint(dataset, method.settings) for method in methods}
    if len(runs) != len(methods):
        names = ", ".join(method.name for method in methods)
        raise DatasetError(f"{names}: two methods have the same name; name each one once")
    earlier: dict[tuple[str, ...], PairResult] = {}
    unfinished = csv_path.with_name(f"{csv_path.name}.partial") if csv_path else None
    if unfinished and unfinished.is_file() and not resume:
        raise DatasetError(
            f"{unfinished}: is of an unfinished run; --resume continues it, or remove the file"
        )
    if csv_path and unfinished:
        parts = [read_csv(path) if resume and path.is_file() else [] for path in (csv_path, unfinished)]
        # Rewritten rather than appended to: an interrupted run may have left half a line at its end.
        write_text(unfinished, as_csv(parts[1]))
        for each in (*parts[0], *parts[1]):
            if not each.error or (each.run, each.method, each.pair) not in earlier:
                earlier[each.run, each.method, each.pair] = each
    results: list[PairResult] = []
    for pair in dataset.pairs:
        loaded = cache(pair.load)
        for method in methods:
            result = earlier.pop((runs[method.name], method.name, pair.name), None)
            if result is None or result.error:
                result = _measured(pair, method, runs[method.name], loaded)
                if unfinished:
                    _append(unfinished, as_csv([result], header=False))
            results.append(result)
            if listener:
                listener(result)
    if csv_path and unfinished:
        write_text(csv_path, as_csv([*results, *earlier.values()]))
        unfinished.unlink(missing_ok=True)
    return results


def _append(path: Path, lines: str) -> None:
    try:
        with path.open("ab") as file:
            file.write(lines.encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise OutputError(
            f"{path}: cannot be written ({error.strerror}); make room and give --resume"
        ) from error


def fingerprint(dataset: Dataset, settings: Mapping[str, str]) -> str:
    """Short hash of the data set, its place and the settings, so that a resumed run never mixes them."""
    text = json.dumps([dataset.name, dataset.origin, dict(settings)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _measured(pair: EvalPair, method: Method, run: str, loaded: Callable[[], Sample]) -> PairResult:
    result = partial(PairResult, run, method.name, pair.group, pair.subgroup, pair.name)
    try:
        sample = loaded()
        estimate = method.estimate(sample)
        metrics = measure(sample.truth.errors(estimate.flow, sample.longer_side))
    except Exception as error:  # an unreadable pair, or a method that fails on it, must not end the run
        unexpected = "" if isinstance(error, GlualignError) else f"{type(error).__name__}: "
        return result(seconds=0.0, error=f"{unexpected}{error}")
    return result(seconds=estimate.seconds, note=estimate.note, metrics=metrics)


_TEXTS = ("run", "method", "group", "subgroup", "pair", "note", "error")
_SHARES = (*(f"pck_{threshold:g}px" for threshold in PIXEL_THRESHOLDS), *(f"pck_{a:g}" for a in ALPHAS))
_NUMBERS = ("pixels", "aepe", "median", *_SHARES, "outliers")
COLUMNS = (*_TEXTS[:5], "status", *_NUMBERS, "seconds", "note", "error", "curve")


def as_csv(results: Iterable[PairResult], *, header: bool = True) -> str:
    """Results as csv text; floats are written so that they read back exactly."""
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, COLUMNS, restval="", lineterminator="\n")
    if header:
        writer.writeheader()
    for result in results:
        row = {name: " ".join(getattr(result, name).split()) for name in _TEXTS}
        row |= {"status": "failed" if result.error else "ok", "seconds": f"{result.seconds:.4f}"}
        if result.metrics:
            pixels, aepe, median, pck, pck_alpha, outliers, curve = result.metrics
            numbers = pixels, aepe, median, *pck, *pck_alpha, outliers
            row |= zip(_NUMBERS, map(repr, numbers), strict=True)
            row["curve"] = ";".join(map(str, curve))
        writer.writerow(row)
    return buffer.getvalue()


def read_csv(path: Path) -> list[PairResult]:
    """Read the results of a csv file; a last line cut off by an interruption is left out.

    A `DatasetError` says that the file is not such a csv, or that a line is damaged.
    """
    try:
        lines = path.read_bytes().decode("utf-8", "surrogateescape").splitlines(keepends=True)
        whole = lines[:-1] if lines and not lines[-1].endswith("\n") else lines
        reader = csv.DictReader(whole, restval="")
        rows, names = list(reader), reader.fieldnames
    except (OSError, csv.Error) as error:
        raise DatasetError(f"{path}: cannot be read as the csv of an earlier run ({error})") from error
    if names and set(COLUMNS) - set(names):
        raise DatasetError(f"{path}: not the csv of an earlier run; give another --csv or leave out --resume")
    results = []
    for index, row in enumerate(rows, 1):
        try:
            results.append(_from_row(row))
        except (ValueError, TypeError) as error:
            raise DatasetError(f"{path}, row {index}: damaged ({error}); leave out --resume") from error
    return results


def _from_row(row: Mapping[str, str]) -> PairResult:
    metrics = None
    if row["status"] == "ok":
        pixels, aepe, median, *shares, outliers = (float(row[name]) for name in _NUMBERS)
        pck, pck_alpha = shares[: len(PIXEL_THRESHOLDS)], shares[len(PIXEL_THRESHOLDS) :]
        curve = tuple(int(count) for count in row["curve"].split(";"))
        if len(curve) != len(CURVE_ALPHAS):
            raise ValueError(f"{len(curve)} values in curve")
        metrics = PairMetrics(int(pixels), aepe, median, tuple(pck), tuple(pck_alpha), int(outliers), curve)
    elif row["status"] != "failed":
        raise ValueError(f"unknown status {row['status']!r}")
    return PairResult(**{name: row[name] for name in _TEXTS}, seconds=float(row["seconds"]), metrics=metrics)
