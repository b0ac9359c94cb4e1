"""Which source goes onto which target, and what the results of each pair are called."""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any, Literal, NamedTuple

from glualign.batch.listing import is_image, list_images, name_fault, stem_of, text_fault
from glualign.errors import BatchError
from glualign.files import PathLike, composed, folded, read_bytes, reading

Reference = Literal["previous", "first"]
_COLUMNS = ("source", "target", "output")
_LONGEST = 1 << 32
"""Bytes of a list: some twenty million pairs."""


@dataclass(frozen=True)
class Pair:
    """One pair.

    Its ``key``, unique in a list, is what the results are called, relative to the output folder and without
    extension, with ``/`` between folders: ``scans/page2`` is written as ``scans/page2_warped.png`` and so on.
    """

    key: str
    source: Path  # the image that moves
    target: Path  # the image onto which it is aligned
    fault: str | None = None  # why the pair cannot be tried, when its row in a list is malformed


@dataclass(frozen=True)
class Shard:
    """Part ``index`` (from 1) of ``count``."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise BatchError(f"shard {self.index}/{self.count}: the first number runs from 1 to the second")

    def __str__(self) -> str:
        return f"{self.index}-of-{self.count}"


@dataclass(frozen=True)
class PairList:
    """All pairs of a batch; keys are unique, also where case and the composition of accents are ignored."""

    pairs: tuple[Pair, ...]  # in the order in which they are worked on
    unmatched: tuple[str, ...] = ()  # a line for each file that was found and is in no pair, saying why
    file: Path | None = None  # the list that the pairs were read from, if any

    def __len__(self) -> int:
        return len(self.pairs)

    def shard(self, shard: Shard) -> PairList:
        """The part of the list that one of several machines works on; the parts are disjoint and complete."""
        return replace(self, pairs=self.pairs[shard.index - 1 :: shard.count])


class Row(NamedTuple):
    """One row of an explicit list, its paths as they are written there."""

    source: str
    target: str
    output: str | None = None  # name of the results, relative to the output folder; None: named for you
    where: str = ""  # the row, for messages, such as ``pairs.csv, line 7``
    fault: str | None = None  # what is wrong with the row


def match_folders(sources: PathLike, targets: PathLike, **listing: Any) -> PairList:
    """Pair the images of two folders (or globs) whose relative paths agree up to the extension.

    Accents may be composed in one folder and not in the other (NFC, NFD). Where a stem exists with several
    extensions the equal extension wins; without one the source is reported as ambiguous, not guessed.
    ``listing`` are options of `list_images`. A `BatchError` says that a folder is missing or empty, or that
    nothing matches.
    """
    moving, fixed = (list_images(where, **listing) for where in (sources, targets))
    by_stem: defaultdict[str, list[str]] = defaultdict(list)
    for name in fixed.names:
        by_stem[composed(stem_of(name))].append(name)
    found, unmatched, used = [], [*moving.ignored, *fixed.ignored], set()
    for name in moving.names:
        stem = stem_of(name)
        names = by_stem.get(composed(stem), [])
        same = [other for other in names if composed(other) == composed(name)] or names
        if len(same) == 1 or name in same:
            used.add(composed(stem))
            found.append(Pair(stem, moving.root / name, fixed.root / (name if name in same else same[0])))
        elif same:
            unmatched.append(f"{moving.root / name}: {len(same)} targets have this stem: {', '.join(names)}")
        else:
            unmatched.append(f"{moving.root / name}: no target {stem}.* in {fixed.root}")
    for stem, names in by_stem.items():
        if stem not in used:
            unmatched += [f"{fixed.root / name}: no source {stem}.* in {moving.root}" for name in names]
    if not found:
        raise BatchError(
            f"{sources} and {targets}: no source has the relative path of a target (extensions aside); "
            f"the first of each are {moving.names[0]} and {fixed.names[0]}. --pairs takes an explicit list"
        )
    return _told_apart(found, unmatched)


def onto_target(sources: PathLike, target: PathLike, **listing: Any) -> PairList:
    """Align every image of a folder (or glob) onto one target; ``listing`` are options of `list_images`.

    A `BatchError` says that the folder or the target is missing, or that the folder has no images.
    """
    with reading(target, BatchError):
        pass  # it says what keeps the file from being read, before all pairs fail for it
    moving = list_images(sources, **listing)
    pairs = [Pair(stem_of(name), moving.root / name, Path(target)) for name in moving.names]
    return _told_apart(pairs, moving.ignored)


def sequence(frames: PathLike, *, onto: Reference = "previous", **listing: Any) -> PairList:
    """Align each frame onto the one before it, or onto the first; frames are in natural order.

    With sub-folders, each folder is a sequence of its own. ``listing`` are options of `list_images`. A
    `BatchError` says that the folder is missing, or that no folder has two frames.
    """
    images = list_images(frames, **listing)
    root, unmatched = images.root, list(images.ignored)
    folders: defaultdict[str, list[str]] = defaultdict(list)
    for name in images.names:
        folders[name.rpartition("/")[0]].append(name)
    found = []
    for names in folders.values():
        if len(names) == 1:
            unmatched.append(f"{root / names[0]}: the only frame in its folder")
        references = names[:-1] if onto == "previous" else names[:1] * (len(names) - 1)
        for name, reference in zip(names[1:], references, strict=True):
            found.append(Pair(stem_of(name), root / name, root / reference))
    if not found:
        raise BatchError(f"{frames}: a sequence needs at least two frames in one folder")
    return _told_apart(found, unmatched)


def from_rows(rows: Iterable[Row], *, folder: Path = Path(), file: Path | None = None) -> PairList:
    """Pairs from an explicit list; a row with a fault becomes a pair with one, called ``row-N``.

    Relative paths start at ``folder``; ``file`` is the list. Results are named by the row's ``output``;
    without one they mirror the source's path as it is written in the list, or, for paths that are absolute
    or climb out with ``..``, its path below their common folder. A `BatchError` says that the list is empty,
    or that two rows ask for the same output.
    """
    faults = ((row, row.fault or _row_fault(row)) for row in rows)
    listed = [Row("", "", where=row.where, fault=fault) if fault else row for row, fault in faults]
    if not listed:
        raise BatchError("the list of pairs is empty")
    outside = [folder / row.source for row in listed if _is_outside(row.source)]
    try:
        common = os.path.commonpath([path.absolute().parent for path in outside]) if outside else ""
    except ValueError as error:
        raise BatchError("the sources lie on several drives; give the list an output column") from error
    pairs, asked = [], set()
    for number, row in enumerate(listed):
        source = folder / row.source
        if row.output:
            key = PurePath(row.output).as_posix()
            key = stem_of(key) if is_image(key) else key
        else:
            below = os.path.relpath(source, common) if _is_outside(row.source) else row.source
            key = stem_of(Path(os.path.normpath(below)).as_posix())
        if fault := row.fault or name_fault(key):
            key, fault = f"row-{number + 1}", f"{row.where}: {fault}" if row.where else fault
        elif row.output:
            asked.add(number)
        pairs.append(Pair(key, source, folder / row.target, fault))
    for key, count in Counter(folded(pairs[number].key) for number in asked).items():
        if count > 1:
            raise BatchError(f"the list of pairs names the output {key} {count} times; each must differ")
    return replace(_told_apart(pairs, asked=asked), file=file)


def read_pairs(location: PathLike) -> PairList:
    """Read a list of pairs: ``.jsonl``/``.ndjson`` as JSON lines, others as CSV, ``-`` (stdin) as either.

    Columns are ``source``, ``target`` and, optionally, ``output``. Relative paths start at the folder of the
    list, for stdin at the current folder. A malformed row becomes a pair with a fault; the others stand. A
    `BatchError` says that the list cannot be read, has no header, is empty, or asks for one output twice.
    """
    name = os.fspath(location)
    file = None if name == "-" else Path(name)
    try:
        data = sys.stdin.buffer.read() if file is None else read_bytes(file, _LONGEST, error=BatchError)
        is_utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        coding = ("utf-16", "surrogatepass") if is_utf16 else ("utf-8-sig", "surrogateescape")
        text = data.decode(*coding)  # bytes that are no text stay names
    except (OSError, ValueError, AttributeError) as error:  # closed standard input is None
        raise BatchError(f"{name}: cannot be read ({error})") from error
    if file is None:
        name, is_json = "standard input", text.lstrip().startswith("{")
    else:
        is_json = file.suffix.lower() in {".jsonl", ".ndjson", ".json"}
    rows = (
        Row(row.get("source", ""), row.get("target", ""), row.get("output"), f"{name}, line {line}", fault)
        for line, row, fault in (_json_rows(text) if is_json else _csv_rows(text, name))
    )
    return from_rows(rows, folder=Path() if file is None else file.parent, file=file)


def _csv_rows(text: str, name: str) -> Iterator[tuple[int, Mapping[str, Any], str | None]]:
    """Line number and columns of each row, and what is wrong with it."""
    reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    try:
        header = [column.strip() for column in reader.fieldnames or ()]
    except csv.Error:
        header = []
    if not {"source", "target"} <= set(header) <= set(_COLUMNS):
        raise BatchError(
            f"{name}: the first line must name the columns source,target or source,target,output; "
            f"it has {','.join(header) or 'nothing'}"
        )
    reader.fieldnames = header
    while True:
        try:
            row = next(reader)
            fault = "more fields than columns; quote names with commas" if None in row else None
            yield reader.line_num, row, fault
        except csv.Error as error:
            yield reader.reader.line_num, {}, f"is not CSV ({error})"
        except StopIteration:
            return


def _json_rows(text: str) -> Iterator[tuple[int, Mapping[str, Any], str | None]]:
    """Line number and object of each row, and what is wrong with it."""
    for line, entry in enumerate(text.split("\n"), start=1):
        try:
            row = json.loads(entry) if entry.strip() else None
            if isinstance(row, dict):
                yield line, row, None
            elif entry.strip():
                yield line, {}, 'must be an object such as {"source": ..., "target": ...}'
        except (ValueError, RecursionError) as error:
            yield line, {}, f"is not JSON ({getattr(error, 'msg', None) or error})"


def _row_fault(row: Row) -> str | None:
    """What is wrong with the columns of a row, which may hold anything that JSON has."""
    for column, text in zip(_COLUMNS, (row.source, row.target, row.output or "none"), strict=True):
        if not isinstance(text or "", str):
            return f"{column} must be text"
        if not text:
            return f"no {column}"
        if column != "output" and (reason := text_fault(text)):
            return f"{column} {text!r} {reason}"
    return None


def _told_apart(
    pairs: Sequence[Pair], unmatched: Iterable[str] = (), *, asked: Collection[int] = ()
) -> PairList:
    """Tell a key from an equal one before it by the source's extension, the target's stem, or a number.

    The first of equal keys stays, so that pairs added at the end of a list rename no results; so do those at
    the positions ``asked``. The outcome depends on the list alone, not on what is on disk.
    """
    keys = [pair.key for pair in pairs]
    holders: dict[str, Pair | None] = {folded(keys[i]): None for i in asked}  # None: named by the user
    numbers = Counter[str]()
    for i, pair in enumerate(pairs):
        if i in asked:
            continue
        for told in (lambda pair: pair.source.suffix, lambda pair: f"_to_{pair.target.stem}"):
            if (taken := folded(keys[i])) in holders:
                holder = holders[taken]
                if holder is None or folded(told(holder)) != folded(told(pair)):
                    keys[i] += told(pair)
        key = keys[i]
        while folded(keys[i]) in holders:
            numbers[folded(key)] += 1
            keys[i] = f"{key}_{numbers[folded(key)] + 1}"
        holders[folded(keys[i])] = pair
    named = (replace(pair, key=key) for pair, key in zip(pairs, keys, strict=True))
    return PairList(tuple(named), tuple(unmatched))


def _is_outside(source: str) -> bool:
    return os.path.isabs(source) or os.path.normpath(source).split(os.sep)[0] == os.pardir
