"""Running a batch from start to end: lock, plan, engine, manifest, summary."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from glualign import __version__
from glualign.batch.listing import BOOKKEEPING
from glualign.batch.manifest import Input, Manifest, Record, hold, latest, read_records, run_file
from glualign.batch.pairs import Pair, PairList, Row, Shard, from_rows
from glualign.batch.pipeline import Writer, process
from glualign.batch.settings import Settings
from glualign.files import PathLike, write_text
from glualign.outputs import check_outputs, identity
from glualign.quality import VERDICTS

Engine = Callable[[Sequence[Pair], Settings, Writer, Callable[[], bool]], Iterator[Record]]
"""Works through pairs and yields a record for each; starts nothing new once the last argument says so.

What keeps it from starting is raised by the call; until then the manifest is as earlier runs left it."""
Redo = Literal["changed", "failed", "all"]

_FILES = ("report.html", "merged.png", "merged.tif", "matches.h5", "matches.txt")
"""Files about a whole batch, beside those that each run writes."""
_ASKED = "asked for"
"""Why a pair is done again although nothing changed."""
_COLUMNS = ("key", "status", "verdict", "source", "target", "seconds", "error")


@dataclass(frozen=True)
class BatchProgress:
    """Told to ``on_progress`` once when the work is known (``record`` is None) and after each pair."""

    todo: int  # pairs to be aligned in this run
    done: int  # pairs that need nothing
    failed: int  # pairs that failed before and are left alone
    again: Mapping[str, int]  # why pairs that had been finished are done again, and how many for each reason
    finished: int = 0  # pairs that this run is done with
    record: Record | None = None  # of the last of them


@dataclass(frozen=True)
class Summary:
    """The outcome of one run."""

    total: int  # pairs in the list (or the shard)
    done: int  # aligned in this run
    skipped: int  # done before and unchanged
    failed: int  # failed in this run or before: in error, or with a verdict that does not pass
    remaining: int  # not reached, because the run was stopped
    seconds: float  # wall time of this run
    rate: float  # pairs finished (done or failed) in this run per second
    verdicts: Mapping[str, int]  # aligned pairs, now or before, of the verdicts good, doubtful and failed
    errors: int  # pairs that could not be aligned or written at all, now or before
    failures: Mapping[str, str]  # key and reason of each failed pair
    again: Mapping[str, int]  # why pairs that had been finished were done again, and how many for each reason
    unmatched: Sequence[str]  # files that are in no pair, and why


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
    options = settings.identity()
    private = out / BOOKKEEPING
    inputs = _keep_inputs(pairs, out, settings, shard)
    with nullcontext() if held else hold(private, shard):
        started = time.monotonic()
        aside = private / ("aside" if shard is None else f"aside-{shard}")
        shutil.rmtree(aside, ignore_errors=True)
        records, parts = _known(out, shard, {pair.key for pair in own.pairs})
        asked = {"changed": (), "failed": ("failed",), "all": ("done", "failed")}[redo]
        todo, again, before = list[Pair](), Counter[str](), Counter[str]()
        for pair in own.pairs:
            former = records.get(pair.key)
            if former is None:
                todo.append(pair)
                continue
            was_asked = former.again == _ASKED or former.status in asked
            reason = _ASKED if was_asked else _changed(former, pair, options, out, settings) or ""
            if reason:
                todo.append(pair)
                if not was_asked:
                    again[reason] += 1
            else:
                before[former.status] += 1
            if reason != former.again:
                records[pair.key] = replace(former, again=reason)
        progress = BatchProgress(len(todo), before["done"], before["failed"], dict(again))
        waiting, finished = {pair.key for pair in todo}, list[str]()

        def halt() -> bool:
            return stop() or (fail_fast and "failed" in finished)

        on_progress(progress)
        results = engine(todo, settings, Writer(out, aside), halt) if todo else ()
        manifest = Manifest(run_file(out, "manifest.jsonl", shard), records.values())
        for path in (name for part in parts for name in (part, *_summaries(part))):
            if path.exists() and identity(path) not in inputs:
                path.unlink()
        for record in results:
            record = replace(record, options=options)
            outdated = records.get(record.key, record).outputs
            if not (record.outputs or record.quality):  # a pair in error keeps what it has
                record = replace(record, outputs=outdated)
            for name in set(outdated) - set(record.outputs):  # what the new options no longer produce
                with suppress(OSError):
                    if identity(out / name) not in inputs:
                        (out / name).unlink()
            manifest.append(record)
            waiting.discard(record.key)
            finished.append(record.status)
            on_progress(replace(progress, finished=len(finished), record=record))
        manifest.close()
        shutil.rmtree(aside, ignore_errors=True)
        current = [manifest.records[pair.key] for pair in own.pairs if pair.key not in waiting]
        seconds = time.monotonic() - started
        failures = {record.key: record.error or "" for record in current if record.status == "failed"}
        verdicts = Counter(record.verdict for record in current)
        summary = Summary(
            total=len(own),
            done=len(current) - len(failures) - progress.done,
            skipped=progress.done,
            failed=len(failures),
            remaining=len(own) - len(current),
            seconds=round(seconds, 3),
            rate=round(len(finished) / max(seconds, 1e-9), 4),
            verdicts={word: verdicts[word] for word in reversed(VERDICTS)},
            errors=sum(not record.verdict for record in current if record.status == "failed"),
            failures=failures,
            again=progress.again,
            unmatched=own.unmatched,
        )
        _write_summary(out, summary, current, shard)
    return summary


def _changed(
    record: Record, pair: Pair, options: Mapping[str, Any], out: Path, settings: Settings
) -> str | None:
    """Why a record no longer stands: another version, options, inputs or outputs; None: it does.

    A pair that is done stands with another limit of pixels, and with a least verdict that it still has. Where
    a run set out to do the pair again, outputs that are newer than the record may be of that run.
    """
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
        return None if record.error == pair.fault else "the list changed"
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
    return None if same else "results are missing or were changed"


def current_records(out: Path, pairs: PairList) -> list[Record]:
    """The records that stand, in the order of the list of pairs, from all manifests in ``out``."""
    records, _ = _known(out, None, set())
    found = (records.get(pair.key) for pair in pairs.pairs)
    return [record for record in found if record and not record.again]


def own_files(out: Path) -> set[Path]:
    """What earlier runs wrote into ``out``: results that its manifests name, and files about the runs."""
    manifests = [path for path in (out / "manifest.jsonl", *_parts(out)) if path.exists()]
    if not manifests:
        return set()
    found = {out / name for name in (*_FILES, "matches_keypoints")}
    for path in manifests:
        found |= {path, *_summaries(path)}
        found |= {out / name for record in read_records(path) for name in record.outputs}
    return found


def _known(out: Path, shard: Shard | None, keys: set[str]) -> tuple[dict[str, Record], list[Path]]:
    """What earlier runs recorded, and the manifests of shards that this run takes over."""
    whole = read_records(run_file(out, "manifest.jsonl"))
    if shard is None:
        parts = _parts(out)
        return latest(whole, *map(read_records, parts)), parts
    # A shard looks into the whole manifest, for its own pairs only: it may be one of thousands.
    own = read_records(run_file(out, "manifest.jsonl", shard))
    return latest((record for record in whole if record.key in keys), own), []


def _parts(out: Path) -> list[Path]:
    """The manifests of shards."""
    found = out.glob("manifest-*-of-*.jsonl")
    return sorted(path for path in found if re.fullmatch(r"manifest-\d+-of-\d+\.jsonl", path.name))


def _summaries(part: Path) -> list[Path]:
    """The summaries that belong to the manifest ``part``."""
    stem = part.stem.replace("manifest", "summary")
    return [part.with_name(f"{stem}.{kind}") for kind in ("json", "csv")]


def _keep_inputs(pairs: PairList, out: Path, settings: Settings, shard: Shard | None) -> Collection[Any]:
    """Refuse a batch of which a result, or a file about the run, would overwrite an input.

    Returns the `identity` of each input where ``out`` is there: some may be results of an earlier run.
    """
    if not os.path.isdir(out):
        return ()
    sound = [pair for pair in pairs.pairs if pair.fault is None]
    outputs = [run_file(out, name, shard) for name in ("manifest.jsonl", "summary.json", "summary.csv")]
    outputs += [out / name for name in _FILES]
    for pair in sound:
        folder, _, stem = pair.key.rpartition("/")
        outputs += [out / folder / name for name in settings.names(stem, pair.source)]
    there = {number: path for path in outputs if (number := identity(path))}
    images = {path for pair in sound for path in (pair.source, pair.target)}
    read = {pairs.file} if pairs.file else set()
    read = read.union(*map(settings.files_of, images))
    inputs = {number: path for path in read if (number := identity(path))}
    if hit := [inputs[number] for number in inputs.keys() & there.keys()]:
        check_outputs(there.values(), hit)
    return inputs.keys()


def worst_first(records: Sequence[Record]) -> list[Record]:
    """Pairs in error, then by verdict, then by the share of valid pixels; equal ones keep their order."""
    ranks = {word: rank for rank, word in enumerate(VERDICTS)}

    def badness(record: Record) -> tuple[int, float]:
        share = record.quality.get("valid_share")
        return ranks.get(record.verdict, -1), float(share) if isinstance(share, (int, float)) else 1.0

    return sorted(records, key=badness)


def _write_summary(out: Path, summary: Summary, records: Sequence[Record], shard: Shard | None) -> None:
    """Write ``summary.json`` and ``summary.csv`` (one row a pair), the shard in the name if there is one."""
    text = json.dumps(asdict(summary), indent=2, allow_nan=False)
    write_text(run_file(out, "summary.json", shard), text + "\n")
    rows = []
    for record in records:
        row = {_cell(name): value for name, value in record.quality.items() if type(value) in (int, float)}
        words = (record.key, record.status, record.verdict, record.source.path, record.target.path)
        cells = (*map(_cell, words), round(sum(record.seconds.values()), 3), _cell(record.error or ""))
        rows.append(row | dict(zip(_COLUMNS, cells, strict=True)))
    names = [*_COLUMNS, *sorted({name for row in rows for name in row} - set(_COLUMNS))]
    writer = csv.DictWriter(table := io.StringIO(newline=""), names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    # A name that is not valid Unicode still has to fit into a UTF-8 file.
    text = table.getvalue().encode("utf-8", "backslashreplace").decode("utf-8")
    write_text(run_file(out, "summary.csv", shard), text)


def _cell(text: str) -> str:
    """Text that a spreadsheet does not take for a formula: with an apostrophe in front where it would."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
