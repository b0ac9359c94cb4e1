"""Which source goes onto which target, and what the results of each pair are called."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Literal, NamedTuple

from glualign.batch.listing import Listing, list_images, stem_of, strip_image_extension
from glualign.errors import BatchError

BOOKKEEPING = ".glualign"
"""Folder in the output folder with the locks and the results that are being written."""
Reference = Literal["previous", "first"]
PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Pair:
    """One pair.

    Attributes:
        key: what the results are called, relative to the output folder and without extension, with ``/``
            between folders: ``scans/page2`` is written as ``scans/page2_warped.png`` and so on. Unique in a
            list.
        source: the image that moves.
        target: the image onto which it is aligned.
        fault: why the pair cannot be tried, when its row in a list is malformed.
    """

    key: str
    source: Path
    target: Path
    fault: str | None = None


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

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``I/N``.

        Raises:
            BatchError: not two whole numbers with ``1 <= I <= N``.
        """
        try:
            index, count = map(int, text.split("/"))
        except ValueError as error:
            raise BatchError(f"shard {text!r}: write it as I/N, for example 3/16") from error
        return cls(index, count)


@dataclass(frozen=True)
class PairList:
    """All pairs of a batch.

    Attributes:
        pairs: in the order in which they are worked on; keys are unique, also where case and the composition
            of accents are ignored.
        unmatched: one line for each file that was found and is in no pair, saying why.
        file: the list that the pairs were read from, if any.
    """

    pairs: tuple[Pair, ...]
    unmatched: tuple[str, ...] = ()
    file: Path | None = None

    def __len__(self) -> int:
        return len(self.pairs)

    def shard(self, shard: Shard) -> PairList:
        """The part of the list that one of several machines works on; the parts are disjoint and complete."""
        return replace(self, pairs=self.pairs[shard.index - 1 :: shard.count])


class Row(NamedTuple):
    """One row of an explicit list.

    Attributes:
        source, target: as written in the list.
        output: what the results are to be called, relative to the output folder; None: named for you.
        where: the row, for messages, such as ``pairs.csv, line 7``.
        fault: what is wrong with the row.
    """

    source: str
    target: str
    output: str | None = None
    where: str = ""
    fault: str | None = None


def match_folders(
    sources: PathLike, targets: PathLike, *, recursive: bool = True, skip: Iterable[Path] = ()
) -> PairList:
    """Pair the images of two folders (or globs) whose relative paths agree up to the extension.

    Accents may be composed in one folder and not in the other (NFC, NFD). Where a stem exists with several
    extensions the equal extension wins; without one the source is reported as ambiguous, not guessed.

    Raises:
        BatchError: a folder is missing or empty, or nothing matches.
    """
    skipped = list(skip)
    moving = list_images(sources, recursive=recursive, skip=skipped)
    fixed = list_images(targets, recursive=recursive, skip=skipped)
    by_stem: defaultdict[str, list[str]] = defaultdict(list)
    for name in fixed.names:
        by_stem[_composed(stem_of(name))].append(name)
    found, unmatched, used = [], _ignored(moving, fixed), set()
    for name in moving.names:
        candidates = by_stem.get(_composed(stem_of(name)), [])
        same = [other for other in candidates if _composed(other) == _composed(name)] or candidates
        same = [name] if name in same else same
        if len(same) == 1:
            used.add(_composed(stem_of(name)))
            found.append(_Named(*_split(name), moving.path(name), fixed.path(same[0])))
        elif same:
            unmatched.append(
                f"{moving.path(name)}: {len(same)} targets have this stem: {', '.join(candidates)}"
            )
        else:
            unmatched.append(f"{moving.path(name)}: no target {stem_of(name)}.* in {fixed.root}")
    unmatched += [
        f"{fixed.path(name)}: no source {stem_of(name)}.* in {moving.root}"
        for name in fixed.names
        if _composed(stem_of(name)) not in used
    ]
    if not found:
        raise BatchError(
            f"{sources} and {targets}: no source has the relative path of a target (extensions aside); "
            f"the first of each are {moving.names[0]} and {fixed.names[0]}. --pairs takes an explicit list"
        )
    return _listed(found, unmatched)


def onto_target(
    sources: PathLike, target: PathLike, *, recursive: bool = True, skip: Iterable[Path] = ()
) -> PairList:
    """Align every image of a folder (or glob) onto one target.

    Raises:
        BatchError: the folder or the target is missing, or the folder has no images.
    """
    reference = Path(target)
    if not reference.is_file():
        raise BatchError(f"{target}: no such file; --target takes one image")
    moving = list_images(sources, recursive=recursive, skip=skip)
    return _listed(
        [_Named(*_split(name), moving.path(name), reference) for name in moving.names], _ignored(moving)
    )


def sequence(
    frames: PathLike, *, onto: Reference = "previous", recursive: bool = True, skip: Iterable[Path] = ()
) -> PairList:
    """Align each frame onto the one before it, or onto the first; frames are in natural order.

    With sub-folders, each folder is a sequence of its own.

    Raises:
        BatchError: the folder is missing, or no folder has two frames.
    """
    listing = list_images(frames, recursive=recursive, skip=skip)
    folders: defaultdict[str, list[str]] = defaultdict(list)
    for name in listing.names:
        folders[name.rpartition("/")[0]].append(name)
    unmatched = _ignored(listing)
    found = []
    for names in folders.values():
        if len(names) == 1:
            unmatched.append(f"{listing.path(names[0])}: the only frame in its folder")
        references = names[:-1] if onto == "previous" else names[:1] * (len(names) - 1)
        for name, reference in zip(names[1:], references, strict=True):
            found.append(_Named(*_split(name), listing.path(name), listing.path(reference)))
    if not found:
        raise BatchError(f"{frames}: a sequence needs at least two frames in one folder")
    return _listed(found, unmatched)


def from_rows(rows: Iterable[Row], *, folder: Path = Path(), file: Path | None = None) -> PairList:
    """Pairs from an explicit list; a row with a fault becomes a pair with one.

    Results are named by the row's ``output``; without one they mirror the source's path as it is written in
    the list, or, for paths that are absolute or climb out with ``..``, its path below their common folder.

    Args:
        rows: of the list.
        folder: where relative paths start.
        file: the list.

    Raises:
        BatchError: the list is empty, or two rows ask for the same output.
    """
    listed = [_checked(row) for row in rows]
    if not listed:
        raise BatchError("the list of pairs is empty")
    asked = Counter(
        _folded(strip_image_extension(row.output)) for row in listed if row.output and not row.fault
    )
    twice = [name for name, count in asked.items() if count > 1]
    if twice:
        raise BatchError(
            f"the list of pairs names the output {twice[0]} {asked[twice[0]]} times; each must differ"
        )
    outside = [folder / row.source for row in listed if not row.fault and _is_outside(row.source)]
    common = _common_folder(outside)

    def named(number: int, row: Row) -> _Named:
        source, target = folder / row.source, folder / row.target
        if row.fault:
            return _Named(f"row-{number}", "", source, target, row.fault)
        if row.output:
            key = strip_image_extension(PurePath(row.output).as_posix())
            return _Named(key, source.suffix, source, target, fixed=True)
        path = os.path.relpath(source, common) if _is_outside(row.source) else row.source
        key, extension = _split(Path(os.path.normpath(path)).as_posix())
        fault = _placed(row, name_fault(key))
        return _Named(f"row-{number}" if fault else key, extension, source, target, fault)

    return replace(_listed([named(*each) for each in enumerate(listed, start=1)]), file=file)


def name_fault(name: str) -> str | None:
    """Why results cannot be called ``name`` in an output folder, or None: it must stay inside."""
    parts = name.replace(os.sep, "/").split("/")
    if (
        not parts[-1].strip(".")
        or ".." in parts
        or os.path.isabs(name)
        or PurePath(name).anchor
        or _text_fault(name)
    ):
        return f"output {name!r} must be a relative name inside the output folder"
    if parts[0].casefold().rstrip(". ") == BOOKKEEPING:
        return f"output {name!r} lies in the folder of the run's own files; choose another name"
    return None


class _Named(NamedTuple):
    """A pair before keys are told apart: the key it should have, the extension that may tell it apart."""

    key: str
    extension: str
    source: Path
    target: Path
    fault: str | None = None
    fixed: bool = False


def _listed(named: Sequence[_Named], unmatched: Sequence[str] = ()) -> PairList:
    """A list in which equal keys are told apart.

    Where keys are equal (``a.jpg`` and ``a.png``) the extension stays in the key (``a.jpg``); where that is
    not enough (one source on several targets) the target's stem is appended, and then a number. Keys that
    were asked for stay. The outcome depends on the list alone, not on what is on disk.
    """
    keys = [each.key for each in named]
    for way in ("extension", "target"):
        often = Counter(map(_folded, keys))
        for i, each in enumerate(named):
            if not each.fixed and often[_folded(keys[i])] > 1:
                keys[i] += each.extension if way == "extension" else f"_to_{each.target.stem}"
    every = set(map(_folded, keys))
    seen = {_folded(key) for key, each in zip(keys, named, strict=True) if each.fixed}
    later: defaultdict[str, int] = defaultdict(lambda: 2)
    for i, each in enumerate(named):
        folded = _folded(keys[i])
        if folded in seen and not each.fixed:
            while _folded(f"{keys[i]}_{later[folded]}") in every:
                later[folded] += 1
            keys[i] = f"{keys[i]}_{later[folded]}"
            every.add(_folded(keys[i]))
        seen.add(folded)
    pairs = (Pair(key, n.source, n.target, n.fault) for key, n in zip(keys, named, strict=True))
    return PairList(tuple(pairs), tuple(unmatched))


def _split(name: str) -> tuple[str, str]:
    key = stem_of(name)
    return key, name[len(key) :]


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _folded(key: str) -> str:
    # macOS and Windows keep A.png and a.png in one file, macOS both compositions of an accent.
    return _composed(_composed(key).casefold())


def _ignored(*listings: Listing) -> list[str]:
    return [
        f"{listing.path(name)}: not an image by its extension"
        for listing in listings
        for name in listing.ignored
    ]


def _checked(row: Row) -> Row:
    """The row with a fault when one of its names cannot be one, and the place of the row in front of it."""
    fault = row.fault
    for column, text in (("source", row.source), ("target", row.target)):
        if fault is None and (reason := _text_fault(text)):
            fault = f"{column} {text!r} {reason}"
    fault = fault or (name_fault(row.output) if row.output else None)
    return row._replace(fault=_placed(row, fault))


def _placed(row: Row, fault: str | None) -> str | None:
    return f"{row.where}: {fault}" if fault and row.where else fault


def _text_fault(text: str) -> str | None:
    """Why no file can have this name."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return "holds a character that no file name can hold"
    return "holds a NUL character, which no file name can hold" if "\0" in text else None


def _is_outside(written: str) -> bool:
    return os.path.isabs(written) or os.path.normpath(written).split(os.sep)[0] == os.pardir


def _common_folder(paths: Sequence[Path]) -> str:
    """The deepest folder that holds all the files."""
    try:
        return os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths]) if paths else ""
    except ValueError as error:
        raise BatchError("the sources lie on several drives; give the list an output column") from error
