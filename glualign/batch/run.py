"""Running a batch from start to end: lock, plan, engine, manifest, summary."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from glualign.batch.jobs import Job, JobList, Shard
from glualign.batch.lock import hold
from glualign.batch.manifest import Manifest, Record, latest, manifest_path, read_records, shard_manifests
from glualign.batch.pipeline import process
from glualign.batch.plan import Plan, Redo, make_plan
from glualign.batch.summary import Summary, shard_summaries, summarise, write_summary
from glualign.batch.task import Task, Writer

# Everything a run keeps besides results and manifest: its lock and the outputs that are being written.
BOOKKEEPING = ".glualign"


class Engine(Protocol):
    """Something that works through jobs and yields a record for each."""

    def __call__(
        self, jobs: Sequence[Job], task: Task, writer: Writer, stop: Callable[[], bool]
    ) -> Iterator[Record]:
        """Yield records as pairs finish; start nothing new once ``stop`` says so."""


@dataclass(frozen=True)
class LocalEngine:
    """The network in this process, reading and writing in threads beside it.

    Attributes:
        io_workers: threads that read, and as many that write.
        batch_size: pairs of equal size in one forward pass; None: 8 on CUDA, 1 elsewhere.
    """

    io_workers: int = 2
    batch_size: int | None = None

    def __call__(
        self, jobs: Sequence[Job], task: Task, writer: Writer, stop: Callable[[], bool]
    ) -> Iterator[Record]:
        """Align the jobs in order."""
        aligner = task.make_aligner()
        yield from process(
            jobs,
            task,
            aligner,
            writer,
            io_workers=self.io_workers,
            batch_size=self.batch_size or default_batch_size(aligner),
            stop=stop,
        )


def default_batch_size(aligner: object) -> int:
    """How many pairs share a forward pass when the user does not say.

    A GPU is idle between the small kernels of one pair; a CPU is busy with one, and sharing gains nothing
    there.
    """
    return 8 if str(getattr(aligner, "device", "cpu")).startswith("cuda") else 1


@dataclass(frozen=True)
class Progress:
    """Told to ``on_progress`` once when the work is known (``record`` is None) and after each pair."""

    plan: Plan
    finished: int
    record: Record | None = None


def run_batch(
    jobs: JobList,
    out: Path,
    task: Task,
    *,
    engine: Engine | None = None,
    redo: Redo = "changed",
    fail_fast: bool = False,
    shard: Shard | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> Summary:
    """Align all pairs of a list into a folder; what is done and unchanged there is not done again.

    Args:
        jobs: the whole list, also for a shard.
        out: the output folder; gains the results, ``manifest.jsonl``, ``summary.json`` and ``summary.csv``.
        task: how a pair is treated.
        engine: where the work happens; `LocalEngine` by default.
        redo: what is done again although nothing changed.
        fail_fast: start nothing new after the first pair that fails.
        shard: work on this part only, and leave a manifest of its own that a later whole run merges.
        on_progress: called in this thread.
        stop: asked before each pair; the run ends early, in order, once it says so.

    Raises:
        BatchError: another run is at work in ``out``, its manifest is damaged, or the disk is full.
        CheckpointError, DeviceError: from making the aligner.
    """
    own = jobs if shard is None else jobs.shard(shard)
    private = out / BOOKKEEPING
    with hold(private, shard):
        started = time.monotonic()
        aside = private / ("aside" if shard is None else f"aside-{shard}")
        shutil.rmtree(aside, ignore_errors=True)
        keys = {job.key for job in own.jobs}
        records, merged = _known(out, shard, keys)
        plan = make_plan(own, records, task, out, redo=redo)
        redone = {job.key for job in plan.todo}
        standing = {key: record for key, record in records.items() if key not in redone}
        halt = _Halt(stop)
        finished = 0
        on_progress(Progress(plan, finished))
        with Manifest(manifest_path(out, shard), standing.values()) as manifest:
            for path in merged:
                path.unlink()
            if plan.todo:
                for record in (engine or LocalEngine())(plan.todo, task, Writer(out, aside), halt):
                    manifest.append(record)
                    _remove_left_over(out, records.get(record.key), record)
                    standing[record.key] = record
                    finished += 1
                    halt.now = halt.now or (fail_fast and record.status == "failed")
                    on_progress(Progress(plan, finished, record))
        shutil.rmtree(aside, ignore_errors=True)
        current = [standing[job.key] for job in own.jobs if job.key in standing]
        summary = summarise(own, plan, current, seconds=time.monotonic() - started)
        write_summary(out, summary, current, shard)
    return summary


def current_records(out: Path, jobs: JobList) -> list[Record]:
    """The records of the jobs that have one, in the order of the list, from all manifests in ``out``."""
    records = latest(read_records(manifest_path(out)), *map(read_records, shard_manifests(out)))
    return [records[job.key] for job in jobs.jobs if job.key in records]


class _Halt:
    """Whether to stop: asked from outside, or after a failure."""

    def __init__(self, outside: Callable[[], bool]) -> None:
        self._outside = outside
        self.now = False

    def __call__(self) -> bool:
        return self.now or self._outside()


def _known(out: Path, shard: Shard | None, keys: set[str]) -> tuple[dict[str, Record], list[Path]]:
    """What earlier runs recorded, and the files of shards that this run takes over."""
    whole = read_records(manifest_path(out))
    if shard is None:
        parts = shard_manifests(out)
        return latest(whole, *map(read_records, parts)), [*parts, *shard_summaries(out)]
    # A shard looks into the whole manifest, for its own pairs only: it may be one of thousands.
    return latest((r for r in whole if r.key in keys), read_records(manifest_path(out, shard))), []


def _remove_left_over(out: Path, before: Record | None, now: Record) -> None:
    """Remove outputs of an earlier run that the new options no longer produce."""
    if before is not None and now.status == "done":
        for name in set(before.outputs) - set(now.outputs):
            (out / name).unlink(missing_ok=True)
