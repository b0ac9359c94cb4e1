"""The evaluation loop: read a pair, run every method on it, keep the result, go on whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from glualign.errors import DatasetError, GlualignError
from glualign.evaluation.datasets.base import Dataset, EvalPair, Sample
from glualign.evaluation.methods import Method
from glualign.evaluation.metrics import measure
from glualign.evaluation.results import PairResult, as_csv, fingerprint, read_csv, write_csv


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
    results are in the order of the data set and then of the methods.

    Args:
        dataset: what to measure on.
        methods: what to measure; their names must differ.
        csv_path: results are appended to ``<csv_path>.partial`` as they are made; at the end all of them are
            written to ``csv_path`` and the partial file is removed.
        resume: take over results of the same pairs and settings from both files; failed pairs are tried
            again.
        listener: told about each result as it is made (or taken over).

    Raises:
        DatasetError: two methods have the same name, or a csv to resume from is not one.
    """
    names = [method.name for method in methods]
    if len(set(names)) != len(names):
        raise DatasetError(f"{', '.join(names)}: two methods have the same name; name each one once")
    partial_csv = partial_path(csv_path) if csv_path else None
    earlier: list[PairResult] = []
    if csv_path and partial_csv:
        unfinished = read_csv(partial_csv) if resume and partial_csv.is_file() else []
        earlier = (read_csv(csv_path) if resume and csv_path.is_file() else []) + unfinished
        # Rewritten rather than appended to: an interrupted run may have left half a line at its end.
        write_csv(partial_csv, unfinished)
    known = {result.key: result for result in earlier if not result.error}
    runs = {method.name: fingerprint(dataset.name, method.settings) for method in methods}
    results: list[PairResult] = []
    for pair in dataset.pairs:
        keys = [(runs[name], name, pair.name) for name in names]
        sample = _loaded(pair) if any(key not in known for key in keys) else None
        for method, key in zip(methods, keys, strict=True):
            if sample is None or key in known:
                result = known[key]
            else:
                result = _measured(pair, method, runs[method.name], sample)
                if partial_csv:
                    with partial_csv.open("a", encoding="utf-8", newline="") as file:
                        file.write(as_csv([result], header=False))
            results.append(result)
            if listener:
                listener(result)
    if csv_path and partial_csv:
        write_csv(csv_path, results)
        partial_csv.unlink(missing_ok=True)
    return results


def partial_path(csv_path: Path) -> Path:
    """Where the results of an unfinished run are kept."""
    return csv_path.with_name(csv_path.name + ".partial")


def load(pair: EvalPair) -> Sample:
    """Read a pair and refuse one without a single pixel to compare.

    Raises:
        GlualignError: what is wrong with its files.
    """
    sample = pair.load()
    if sample.truth.count() == 0:
        raise DatasetError(f"{pair.name}: no pixel with ground truth inside the source")
    return sample


def _loaded(pair: EvalPair) -> Sample | Exception:
    try:
        return load(pair)
    except Exception as error:  # one unreadable pair must not end the run; it becomes a failed result
        return error


def _measured(pair: EvalPair, method: Method, run: str, sample: Sample | Exception) -> PairResult:
    result = partial(PairResult, run, method.name, pair.group, pair.subgroup, pair.name)
    try:
        if isinstance(sample, Exception):
            raise sample
        estimate = method.estimate(sample)
        metrics = measure(sample.truth.errors(estimate.flow, sample.longer_side))
    except Exception as error:  # a method that fails on a pair must not end the run either
        unexpected = "" if isinstance(error, GlualignError) else f"{type(error).__name__}: "
        return result(seconds=0.0, error=f"{unexpected}{error}")
    return result(seconds=estimate.seconds, note=estimate.note, metrics=metrics)
