"""Running a batch from start to end: lock, plan, engine, manifest, summary."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from glualign import __version__
from glualign.batch.lock import hold
from glualign.batch.manifest import Check, Input, Manifest, Record, latest, read_records, run_file
from glualign.batch.pairs import BOOKKEEPING, Pair, PairList, Row, Shard, from_rows
from glualign.batch.pipeline import Writer, process
from glualign.batch.settings import Settings
from glualign.batch.summary import Summary, summarise, write_summary
from glualign.errors import BatchError
from glualign.files import PathLike
from glualign.outputs import check_outputs

Engine = Callable[[Sequence[Pair], Settings, Writer, Callable[[], bool]], Iterator[Record]]
"""Works through pairs and yields a record for each; starts nothing new once the last argument says so."""


Redo = Literal["changed", "failed", "all"]


@dataclass(frozen=True)
class Plan:
    """The pairs of a list, each in one of three groups.

    Attributes:
        todo: to be aligned in this run, in order.
        done: records of pairs that need nothing.
        failed: records of pairs that failed before and are left alone.
        again: why pairs that had been finished are in ``todo``, and how many for each reason.
    """

    todo: tuple[Pair, ...]
    done: tuple[Record, ...]
    failed: tuple[Record, ...]
    again: Mapping[str, int]


@dataclass(frozen=True)
class Progress:
    """Told to ``on_progress`` once when the work is known (``record`` is None) and after each pair."""

    plan: Plan
    finished: int
    record: Record | None = None


def align_batch(
    pairs: PairList | Iterable[tuple[PathLike, PathLike]],
    out: PathLike,
    settings: Settings | None = None,
    *,
    engine: Engine = process,
    redo: Redo = "changed",
    fail_fast: bool = False,
    shard: Shard | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    stop: Callable[[], bool] = lambda: False,
) -> Summary:
    """Align many pairs into a folder, as ``glualign batch`` does.

    What is done there and unchanged is not done again; a pair that fails does not stop the others.

    Args:
        pairs: (source, target) paths, or what `match_folders`, `onto_target`, `sequence`, `read_pairs` or
            `from_rows` found; the whole list, also for a shard.
        out: the output folder; gains the results, ``manifest.jsonl``, ``summary.json`` and ``summary.csv``.
        settings: how each pair is read, aligned and written; `Settings` with its defaults by default.
        engine: where the work happens: `process` (here) or a `RayEngine`.
        redo: what is done again although nothing changed: nothing (``changed``), pairs that failed
            (``failed``) or everything (``all``).
        fail_fast: start nothing new after the first pair that fails.
        shard: work on this part only, and leave a manifest of its own that a later whole run merges.
        on_progress: called in this thread.
        stop: asked before each pair; the run ends early, in order, once it says so.

    Raises:
        BatchError: another run is at work in ``out``, its manifest is damaged, or the disk is full.
        OutputError: a result would overwrite an input.
        CheckpointError, DeviceError: from making the aligner.
    """
    if not isinstance(pairs, PairList):
        pairs = from_rows(Row(os.fspath(source), os.fspath(target)) for source, target in pairs)
    out, settings = Path(out), settings or Settings()
    own = pairs if shard is None else pairs.shard(shard)
    options = settings.identity()
    private = out / BOOKKEEPING
    with _told(out):
        _keep_inputs(pairs, out, settings, shard)
    with hold(private, shard), _told(out):
        started = time.monotonic()
        aside = private / ("aside" if shard is None else f"aside-{shard}")
        shutil.rmtree(aside, ignore_errors=True)
        records, merged = _known(out, shard, {pair.key for pair in own.pairs})
        plan = _make_plan(own, records, options, settings.check, out, redo=redo)
        redone = {pair.key for pair in plan.todo}
        standing = {key: record for key, record in records.items() if key not in redone}
        finished: list[str] = []

        def halt() -> bool:
            return stop() or (fail_fast and "failed" in finished)

        on_progress(Progress(plan, 0))
        with closing(Manifest(run_file(out, "manifest.jsonl", shard), standing.values())) as manifest:
            for path in merged:
                path.unlink()
            if plan.todo:
                for record in engine(plan.todo, settings, Writer(out, aside), halt):
                    standing[record.key] = record = replace(record, options=options)
                    manifest.append(record, lost=standing.values())
                    before = records.get(record.key, record).outputs if record.outputs else {}
                    for name in set(before) - set(record.outputs):  # what the new options no longer produce
                        with suppress(OSError):
                            (out / name).unlink()
                    finished.append(record.status)
                    on_progress(Progress(plan, len(finished), record))
        shutil.rmtree(aside, ignore_errors=True)
        current = [standing[pair.key] for pair in own.pairs if pair.key in standing]
        summary = summarise(own, plan, current, seconds=time.monotonic() - started)
        write_summary(out, summary, current, shard)
    return summary


def _make_plan(
    pairs: PairList,
    records: Mapping[str, Record],
    options: Mapping[str, Any],
    check: Check,
    out: Path,
    *,
    redo: Redo,
) -> Plan:
    """Sort the pairs into what is to be done and what stands.

    A record stands if it was made by this version with the same options from inputs that have not changed,
    and if its outputs are there in full size. ``redo`` says what is done again although nothing changed:
    nothing (``changed``), pairs that failed (``failed``), or everything (``all``).
    """
    todo: list[Pair] = []
    standing: dict[str, list[Record]] = {"done": [], "failed": []}
    again = {"changed": (), "failed": ("failed",), "all": ("done", "failed")}[redo]
    reasons: Counter[str] = Counter()
    for pair in pairs.pairs:
        record = records.get(pair.key)
        if record is None or record.status in again:
            todo.append(pair)
        elif reason := _changed(record, pair, options, check, out):
            reasons[reason] += 1
            todo.append(pair)
        else:
            standing[record.status].append(record)
    return Plan(tuple(todo), tuple(standing["done"]), tuple(standing["failed"]), dict(reasons))


def _changed(record: Record, pair: Pair, options: Mapping[str, Any], check: Check, out: Path) -> str | None:
    """Why a record no longer stands; None: it does."""
    if record.version != __version__:
        return f"made by glualign {record.version}, not {__version__}"
    differing = [name for name in options if record.options.get(name, ...) != options[name]]
    if differing or len(record.options) != len(options):
        return f"made with other options ({', '.join(differing) or 'of another version'})"
    if pair.fault is not None:
        return None if record.error == pair.fault else "the list changed"
    for name, then, path in (("source", record.source, pair.source), ("target", record.target, pair.target)):
        if not then.is_like(Input.of(path, check)):
            return f"the {name} changed"
    try:
        same = all(os.stat(out / name).st_size == size for name, size in record.outputs.items())
    except OSError:
        same = False
    return None if same else "results are missing or were changed"


@contextmanager
def _told(out: Path) -> Iterator[None]:
    """Name the folder when the file system fails on something other than a pair."""
    try:
        yield
    except BrokenPipeError:  # of whoever reads the progress
        raise
    except OSError as error:
        raise BatchError(
            f"{error.filename or out}: {error.strerror or error}; give the command again"
        ) from error


def current_records(out: Path, pairs: PairList) -> list[Record]:
    """The records of the pairs that have one, in the order of the list, from all manifests in ``out``."""
    records, _ = _known(out, None, set())
    return [records[pair.key] for pair in pairs.pairs if pair.key in records]


def _known(out: Path, shard: Shard | None, keys: set[str]) -> tuple[dict[str, Record], list[Path]]:
    """What earlier runs recorded, and the files of shards that this run takes over."""
    whole = read_records(run_file(out, "manifest.jsonl"))
    if shard is None:
        parts = sorted(out.glob("manifest-*-of-*.jsonl"))
        return latest(whole, *map(read_records, parts)), [*parts, *out.glob("summary-*-of-*.*")]
    # A shard looks into the whole manifest, for its own pairs only: it may be one of thousands.
    own = read_records(run_file(out, "manifest.jsonl", shard))
    return latest((record for record in whole if record.key in keys), own), []


def _keep_inputs(pairs: PairList, out: Path, settings: Settings, shard: Shard | None) -> None:
    """Refuse a batch of which a result, or a file about the run, would overwrite an input.

    An input can be overwritten only where an output is already there, so only those are looked at.

    Raises:
        OutputError: naming the file.
    """
    if not out.is_dir():
        return
    sound = [pair for pair in pairs.pairs if pair.fault is None]
    outputs = [run_file(out, name, shard) for name in ("manifest.jsonl", "summary.json", "summary.csv")]
    outputs += [
        out / name for name in ("report.html", "merged.png", "merged.tif", "matches.h5", "matches.txt")
    ]
    for pair in sound:
        folder, _, stem = pair.key.rpartition("/")
        outputs += [out / folder / name for name in settings.names(stem, pair.source)]
    there = {identity: path for path in outputs if (identity := _identity(path))}
    inputs = {path for pair in sound for path in (pair.source, pair.target)}
    inputs |= {pairs.file} if pairs.file else set()
    hit = {path for path in inputs if there and _identity(path) in there}
    check_outputs((path for path in there.values() if hit), hit)


def _identity(path: Path) -> tuple[int, int] | None:
    """What all names of one file have in common; None where there is no file."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino
