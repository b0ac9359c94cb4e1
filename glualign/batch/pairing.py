"""The four ways of saying which source goes onto which target."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from glualign.batch.jobs import Entry, JobList, build
from glualign.batch.listing import Listing, list_images, stem_of, strip_image_extension
from glualign.batch.pairs_file import PairRow
from glualign.errors import BatchError

Reference = Literal["previous", "first"]
PathLike = str | os.PathLike[str]


def match_folders(
    sources: PathLike, targets: PathLike, *, recursive: bool = True, skip: Iterable[Path] = ()
) -> JobList:
    """Pair the images of two folders (or globs) whose relative paths agree up to the extension.

    Where a stem exists with several extensions the equal extension wins; without one the source is reported
    as ambiguous rather than guessed.

    Raises:
        BatchError: a folder is missing or empty, or nothing matches.
    """
    skipped = list(skip)
    moving = list_images(sources, recursive=recursive, skip=skipped)
    fixed = list_images(targets, recursive=recursive, skip=skipped)
    by_stem: defaultdict[str, list[str]] = defaultdict(list)
    for name in fixed.names:
        by_stem[stem_of(name)].append(name)
    pairs, unmatched, used = [], _ignored(moving, fixed), set()
    for name in moving.names:
        candidates = by_stem.get(stem_of(name), [])
        choice = name if name in candidates else candidates[0] if len(candidates) == 1 else None
        if choice is None:
            why = (
                f"{len(candidates)} targets have this stem: {', '.join(candidates)}"
                if candidates
                else f"no target {stem_of(name)}.* in {fixed.root}"
            )
            unmatched.append(f"{moving.path(name)}: {why}")
        else:
            used.add(choice)
            pairs.append(Entry.of(name, moving.path(name), fixed.path(choice)))
    unmatched += [
        f"{fixed.path(name)}: no source {stem_of(name)}.* in {moving.root}"
        for name in fixed.names
        if name not in used and stem_of(name) not in {stem_of(other) for other in used}
    ]
    if not pairs:
        raise BatchError(
            f"{sources} and {targets}: no source has the relative path of a target (extensions aside); "
            f"the first of each are {moving.names[0]} and {fixed.names[0]}. --pairs takes an explicit list"
        )
    return build(pairs, unmatched)


def onto_target(
    sources: PathLike, target: PathLike, *, recursive: bool = True, skip: Iterable[Path] = ()
) -> JobList:
    """Align every image of a folder (or glob) onto one target.

    Raises:
        BatchError: the folder or the target is missing, or the folder has no images.
    """
    reference = Path(target)
    if not reference.is_file():
        raise BatchError(f"{target}: no such file; --target takes one image")
    moving = list_images(sources, recursive=recursive, skip=skip)
    return build((Entry.of(name, moving.path(name), reference) for name in moving.names), _ignored(moving))


def sequence(
    frames: PathLike, *, onto: Reference = "previous", recursive: bool = True, skip: Iterable[Path] = ()
) -> JobList:
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
    pairs = []
    for names in folders.values():
        if len(names) == 1:
            unmatched.append(f"{listing.path(names[0])}: the only frame in its folder")
        references = names[:-1] if onto == "previous" else names[:1] * (len(names) - 1)
        for name, reference in zip(names[1:], references, strict=True):
            pairs.append(Entry.of(name, listing.path(name), listing.path(reference)))
    if not pairs:
        raise BatchError(f"{frames}: a sequence needs at least two frames in one folder")
    return build(pairs, unmatched)


def from_rows(rows: Iterable[PairRow]) -> JobList:
    """Pairs from an explicit list.

    Results are named by the row's ``output``; without one they mirror the source's path as it is written in
    the list, or, for paths that are absolute or climb out with ``..``, its path below their common folder.

    Raises:
        BatchError: the list is empty, or two rows ask for the same output.
    """
    listed = list(rows)
    if not listed:
        raise BatchError("the list of pairs is empty")
    asked = Counter(row.output for row in listed if row.output is not None)
    twice = [output for output, count in asked.items() if count > 1]
    if twice:
        raise BatchError(
            f"the list of pairs names the output {twice[0]} {asked[twice[0]]} times; each must differ"
        )
    common = _common_folder([row.source for row in listed if _is_outside(row.written)])

    def entry(row: PairRow) -> Entry:
        if row.output is not None:
            return Entry(strip_image_extension(row.output), row.source.suffix, row.source, row.target)
        path = os.path.relpath(row.source, common) if _is_outside(row.written) else row.written
        return Entry.of(Path(os.path.normpath(path)).as_posix(), row.source, row.target)

    return build(entry(row) for row in listed)


def _ignored(*listings: Listing) -> list[str]:
    return [
        f"{listing.path(name)}: not an image by its extension"
        for listing in listings
        for name in listing.ignored
    ]


def _is_outside(written: str) -> bool:
    return os.path.isabs(written) or os.path.normpath(written).split(os.sep)[0] == os.pardir


def _common_folder(paths: Sequence[Path]) -> str:
    """The deepest folder that holds all the files."""
    try:
        return os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths]) if paths else ""
    except ValueError as error:
        raise BatchError("the sources lie on several drives; give the list an output column") from error
