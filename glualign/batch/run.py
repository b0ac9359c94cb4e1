"""Running a batch from start to end: lock, plan, engine, manifest."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from glualign import __version__
from glualign.batch.listing import BOOKKEEPING
from glualign.batch.manifest import Input, Manifest, Record, hold, latest, read_records, run_file
from glualign.batch.pairs import Pair, PairList, Row, Shard, from_rows
from glualign.batch.pipeline import Writer, process
from glualign.batch.settings import Settings
from glualign.batch.summary import BatchProgress, Summary, summarize, write_summary
from glualign.files import PathLike
from glualign.outputs import check_outputs, file_number
from glualign.quality import VERDICTS

Engine = Callable[[Sequence[Pair], Settings, Writer, Callable[[], bool]], Iterator[Record]]
"""Works through pairs and yields a record for each; starts nothing new once the last argument says so.

What keeps it from starting is raised by the call; until then the manifest is as earlier runs left it."""
Redo = Literal["changed", "failed", "all"]

_FILES = ("report.html", "merged.png", "merged.tif", "matches.h5", "matches.txt")
"""Files about a whole batch, beside those that each run writes."""
_NEW, _ASKED = "new", "asked for"
"""Why a pair is done although nothing changed."""


def align_batch(
    pairs: PairList | Iterable[tuple[PathLike, PathLike]],
    out: PathLike,
    settings: Settings | None = None,
    *,
    engine: Engine = process,
    redo: Redo = "changed",
    fail_fast: bool = False,
    shard: Shard | None = None,
    held: bool = False,
    on_progress: Callable[[BatchProgress], None] = lambda progress: None,
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
        held: whether the caller keeps other runs out of ``out`` already, by `hold`.
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
    options = settings.fingerprint()
    inputs = _keep_inputs(pairs, out, settings, shard)
    with nullcontext() if held else hold(out, shard):
        started = time.monotonic()
        aside = out / BOOKKEEPING / ("aside" if shard is None else f"aside-{shard}")
        shutil.rmtree(aside, ignore_errors=True)
        records, parts = _known(out, shard, {pair.key for pair in own.pairs})
        asked = {"changed": (), "failed": ("failed",), "all": ("done", "failed")}[redo]
        reasons = {
            pair.key: _reason(records.get(pair.key), pair, options, out, settings, asked)
            for pair in own.pairs
        }
        todo = [pair for pair in own.pairs if reasons[pair.key]]
        again = Counter(reason for reason in reasons.values() if reason not in ("", _NEW, _ASKED))
        before = Counter(records[key].status for key, reason in reasons.items() if not reason)
        for key in records.keys() & reasons.keys():
            records[key] = replace(records[key], again=reasons[key])
        progress = BatchProgress(len(todo), before["done"], before["failed"], dict(again))
        waiting, finished = {pair.key for pair in todo}, list[str]()

        def halt() -> bool:
            return stop() or (fail_fast and "failed" in finished)

        on_progress(progress)
        results = engine(todo, settings, Writer(out, aside), halt) if todo else ()
        manifest = Manifest(run_file(out, "manifest.jsonl", shard), records.values())
        for path in (path for part in parts for path in _run_files(out, part)):
            if path.exists() and file_number(path) not in inputs:
                path.unlink()
        for record in results:
            record = replace(record, options=options)
            outdated = records.get(record.key, record).outputs
            if not (record.outputs or record.quality):  # a pair in error keeps what it has
                record = replace(record, outputs=outdated)
            for name in set(outdated) - set(record.outputs):  # what the new options no longer produce
                with suppress(OSError):
                    if file_number(out / name) not in inputs:
                        (out / name).unlink()
            manifest.append(record)
            waiting.discard(record.key)
            finished.append(record.status)
            on_progress(replace(progress, finished=len(finished), record=record))
        manifest.close()
        shutil.rmtree(aside, ignore_errors=True)
        current = [manifest.records[pair.key] for pair in own.pairs if pair.key not in waiting]
        progress = replace(progress, finished=len(finished))
        summary = summarize(own, current, progress, time.monotonic() - started)
        write_summary(out, summary, current, shard)
    return summary


def _reason(
    record: Record | None,
    pair: Pair,
    options: Mapping[str, Any],
    out: Path,
    settings: Settings,
    asked: Collection[str],
) -> str:
    """Why a pair is to be done: new, asked for, or another version, options, inputs or outputs; or nothing.

    A pair that is done stands with another limit of pixels, and with a least verdict that it still has. Where
    a run set out to do the pair again, outputs that are newer than the record may be of that run.
    """
    if record is None:
        return _NEW
    if record.again == _ASKED or record.status in asked:
        return _ASKED
    if record.version != __version__:
        return f"made by glualign {record.version}, not {__version__}"
    differing = [name for name in options if record.options.get(name, ...) != options[name]]
    if record.status == "done":
        passes = record.verdict in VERDICTS and settings.refusal(record.verdict)[0] is None
        stands = {"max_pixels", "min_quality"} if passes else {"max_pixels"}
        differing = [name for name in differing if name not in stands]
    if differing or len(record.options) != len(options):
        return f"made with other options ({', '.join(differing) or 'of another version'})"
    if pair.fault is not None:
        return "" if record.error == pair.fault else "the list changed"
    for name, then, path in (("source", record.source, pair.source), ("target", record.target, pair.target)):
        if then != (now := Input.of(*settings.files_of(path))):
            what = name if replace(then, mask=now.mask) != now else f"{name}'s mask"
            return f"the {what} changed"
    try:
        found = {name: os.stat(out / name) for name in record.outputs}
        same = all(found[name].st_size == size for name, size in record.outputs.items())
        if record.again and found:
            newest = max(each.st_mtime for each in found.values())
            same &= int(newest * 1000) <= datetime.fromisoformat(record.finished).timestamp() * 1000
    except (OSError, ValueError):
        same = False
    return "" if same else "results are missing or were changed"


def current_records(out: Path, pairs: PairList) -> list[Record]:
    """The records that stand, in the order of the list of pairs, from all manifests in ``out``."""
    records, _ = _known(out, None, set())
    found = (records.get(pair.key) for pair in pairs.pairs)
    return [record for record in found if record and not record.again]


def own_files(out: Path) -> set[Path]:
    """What earlier runs wrote into ``out``: results that its manifests name, and files about the runs."""
    found: set[Path] = set()
    for manifest, *summaries in (_run_files(out, shard) for shard in (None, *_shards(out))):
        if manifest.exists():
            found |= {manifest, *summaries, *(out / name for name in (*_FILES, "matches_keypoints"))}
            found |= {out / name for record in read_records(manifest) for name in record.outputs}
    return found


def _known(out: Path, shard: Shard | None, keys: set[str]) -> tuple[dict[str, Record], list[Shard]]:
    """What earlier runs recorded, and the shards whose manifests this run takes over."""
    whole = read_records(run_file(out, "manifest.jsonl"))
    if shard is None:
        parts = _shards(out)
        return latest(whole, *(read_records(run_file(out, "manifest.jsonl", part)) for part in parts)), parts
    # A shard looks into the whole manifest, for its own pairs only: it may be one of thousands.
    own = read_records(run_file(out, "manifest.jsonl", shard))
    return latest((record for record in whole if record.key in keys), own), []


def _shards(out: Path) -> list[Shard]:
    """The shards that left a manifest."""
    names = (path.name for path in sorted(out.glob("manifest-*-of-*.jsonl")))
    found = (re.fullmatch(r"manifest-([1-9]\d*)-of-([1-9]\d*)\.jsonl", name) for name in names)
    numbers = [(int(match[1]), int(match[2])) for match in found if match]
    return [Shard(index, count) for index, count in numbers if index <= count]


def _run_files(out: Path, shard: Shard | None = None) -> list[Path]:
    """The manifest and the summaries of a whole run or a shard."""
    return [run_file(out, name, shard) for name in ("manifest.jsonl", "summary.json", "summary.csv")]


def _keep_inputs(pairs: PairList, out: Path, settings: Settings, shard: Shard | None) -> Collection[Any]:
    """Refuse a batch of which a result, or a file about the run, would overwrite an input.

    Returns the `file_number` of each input where ``out`` is there: some may be results of an earlier run.
    """
    if not os.path.isdir(out):
        return ()
    sound = [pair for pair in pairs.pairs if pair.fault is None]
    outputs = _run_files(out, shard) + [out / name for name in _FILES]
    for pair in sound:
        folder, _, stem = pair.key.rpartition("/")
        outputs += [out / folder / name for name in settings.names(stem, pair.source)]
    there = {number: path for path in outputs if (number := file_number(path))}
    images = {path for pair in sound for path in (pair.source, pair.target)}
    read = {pairs.file} if pairs.file else set()
    read = read.union(*map(settings.files_of, images))
    inputs = {number: path for path in read if (number := file_number(path))}
    if hit := [inputs[number] for number in inputs.keys() & there.keys()]:
        check_outputs(there.values(), hit)
    return inputs.keys()
