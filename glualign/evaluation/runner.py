"""The evaluation loop: read a pair, run every method on it, record the result, go on whatever happens."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from glualign.errors import DatasetError, GlualignError
from glualign.evaluation.datasets.base import Dataset, EvalPair, Sample
from glualign.evaluation.methods import Estimate, Method
from glualign.evaluation.metrics import measure
from glualign.evaluation.records import Record, fingerprint, read_records, render, write_records

Listener = Callable[[Record], None]


def evaluate(
    dataset: Dataset,
    methods: Sequence[Method],
    *,
    workers: int = 1,
    csv_path: Path | None = None,
    resume: bool = False,
    listener: Listener | None = None,
) -> list[Record]:
    """Run every method on every pair.

    A pair that cannot be read, or a method that fails on it, becomes a failed record and the run goes on. The
    result is in the order of the data set and then of the methods, whatever the number of ``workers``
    (threads that read pairs ahead).

    Args:
        dataset: what to measure on.
        methods: what to measure; their names must differ.
        workers: threads that read pairs ahead.
        csv_path: records are appended to ``<csv_path>.partial`` as they are made; at the end all of them are
            written to ``csv_path`` and the partial file is removed.
        resume: take over records of the same pairs and settings from both files; failed pairs are tried
            again.
        listener: told about each record as it is made (or taken over).

    Raises:
        DatasetError: two methods have the same name, or a csv to resume from is not one.
    """
    names = [method.name for method in methods]
    if len(set(names)) != len(names):
        raise DatasetError(f"{', '.join(names)}: two methods have the same name; name each one once")
    known = _known(csv_path) if resume and csv_path else {}
    runs = {method.name: fingerprint(dataset.name, method.settings) for method in methods}
    journal = _Journal(csv_path, keep=resume)
    records: list[Record] = []

    def pending(pair: EvalPair) -> list[Method]:
        return [method for method in methods if (runs[method.name], method.name, pair.name) not in known]

    for pair, sample in _loaded(dataset.pairs, workers, lambda pair: bool(pending(pair))):
        todo = {method.name for method in pending(pair)}
        for method in methods:
            if method.name in todo:
                record = _record(pair, method, runs[method.name], sample)
                journal.add(record)
            else:
                record = known[runs[method.name], method.name, pair.name]
            records.append(record)
            if listener:
                listener(record)
    if csv_path:
        write_records(csv_path, records)
    journal.remove()
    return records


def partial_path(csv_path: Path) -> Path:
    """Where the records of an unfinished run are kept."""
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


class _Journal:
    """The growing csv of an unfinished run."""

    def __init__(self, csv_path: Path | None, *, keep: bool) -> None:
        self.path = partial_path(csv_path) if csv_path else None
        if self.path is None:
            return
        # Rewritten rather than appended to: an interrupted run may have left half a line at its end.
        write_records(self.path, read_records(self.path) if keep and self.path.is_file() else [])

    def add(self, record: Record) -> None:
        if self.path:
            with self.path.open("a", encoding="utf-8", newline="") as file:
                file.write(render([record], header=False))

    def remove(self) -> None:
        if self.path:
            self.path.unlink(missing_ok=True)


def _known(csv_path: Path) -> dict[tuple[str, str, str], Record]:
    """Successful records of earlier runs."""
    files = [path for path in (csv_path, partial_path(csv_path)) if path.is_file()]
    records = [record for path in files for record in read_records(path)]
    return {record.key: record for record in records if not record.error}


def _loaded(
    pairs: Iterable[EvalPair], workers: int, wanted: Callable[[EvalPair], bool]
) -> Iterator[tuple[EvalPair, Sample | Exception | None]]:
    """Each pair with its sample, or what went wrong; None where the pair is not ``wanted``.

    Reads at most ``workers`` pairs ahead, because a pair of large images takes a lot of memory.
    """
    queue: deque[tuple[EvalPair, Future[Sample] | None]] = deque()
    with ThreadPoolExecutor(max_workers=max(workers, 1), thread_name_prefix="read") as pool:
        for pair in pairs:
            queue.append((pair, pool.submit(load, pair) if wanted(pair) else None))
            if len(queue) > max(workers, 1):
                yield _result(*queue.popleft())
        while queue:
            yield _result(*queue.popleft())


def _result(pair: EvalPair, future: Future[Sample] | None) -> tuple[EvalPair, Sample | Exception | None]:
    if future is None:
        return pair, None
    try:
        return pair, future.result()
    except Exception as error:  # one unreadable pair must not end the run; it is recorded
        return pair, error


def _record(pair: EvalPair, method: Method, run: str, sample: Sample | Exception | None) -> Record:
    def outcome(**values: object) -> Record:
        return Record(run, method.name, pair.group, pair.subgroup, pair.name, **values)  # type: ignore[arg-type]

    if not isinstance(sample, Sample):
        return outcome(seconds=0.0, error=describe(sample))
    try:
        estimate: Estimate = method.estimate(sample)
        metrics = measure(sample.truth.errors(estimate.flow, sample.longer_side))
    except Exception as error:  # as above
        return outcome(seconds=0.0, error=describe(error))
    return outcome(seconds=estimate.seconds, note=estimate.note, metrics=metrics)


def describe(error: Exception | None) -> str:
    """One line about what went wrong; unexpected errors carry their type."""
    if isinstance(error, GlualignError):
        return str(error)
    return f"{type(error).__name__}: {error}"
