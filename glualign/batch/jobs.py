"""What a batch has to do: an ordered list of pairs, each with the one place where its results go."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from glualign.batch.listing import stem_of
from glualign.errors import BatchError


@dataclass(frozen=True)
class Job:
    """One pair.

    Attributes:
        key: what the results are called, relative to the output folder and without extension, with ``/``
            between folders: ``scans/page2`` is written as ``scans/page2_warped.png`` and so on. Unique in a
                list.
        source: the image that moves.
        target: the image onto which it is aligned.
    """

    key: str
    source: Path
    target: Path

    @property
    def folder(self) -> str:
        """Folder of the results, relative to the output folder; empty for the output folder itself."""
        return self.key.rpartition("/")[0]

    @property
    def stem(self) -> str:
        """What the file names of the results start with."""
        return self.key.rpartition("/")[2]


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
        index, slash, count = text.partition("/")
        if not (slash and index.strip().isdecimal() and count.strip().isdecimal()):
            raise BatchError(f"shard {text!r}: write it as I/N, for example 3/16")
        return cls(int(index), int(count))


@dataclass(frozen=True)
class JobList:
    """All pairs of a batch.

    Attributes:
        jobs: the pairs in the order they are worked on; keys are unique, also where case is ignored.
        unmatched: one line for each file that was found and is in no pair, saying why.
    """

    jobs: tuple[Job, ...]
    unmatched: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.jobs)

    def shard(self, shard: Shard) -> JobList:
        """The part of the list that one of several machines works on; the parts are disjoint and complete."""
        return replace(self, jobs=self.jobs[shard.index - 1 :: shard.count])


class Entry(NamedTuple):
    """A pair on its way into a job list: the wished-for key, the extension that may tell it from others."""

    key: str
    extension: str
    source: Path
    target: Path

    @classmethod
    def of(cls, name: str, source: Path, target: Path) -> Entry:
        """The entry for a source with a relative file name."""
        key = stem_of(name)
        return cls(key, name[len(key) :], source, target)


def build(entries: Iterable[Entry], unmatched: Sequence[str] = ()) -> JobList:
    """A job list in which equal keys are told apart.

    Where keys are equal (``a.jpg`` and ``a.png``) the extension stays in the key (``a.jpg``); where that is
    not enough (one source on several targets) the target's stem is appended, and then a number. The outcome
    depends on the list alone, not on what is on disk.
    """
    listed = list(entries)
    keys = [entry.key for entry in listed]
    _tell_apart(keys, lambda i: keys[i] + listed[i].extension)
    _tell_apart(keys, lambda i: f"{keys[i]}_to_{listed[i].target.stem}")
    _number(keys)
    jobs = (Job(key, entry.source, entry.target) for key, entry in zip(keys, listed, strict=True))
    return JobList(tuple(jobs), tuple(unmatched))


def _folded(keys: Sequence[str]) -> list[str]:
    # macOS and Windows keep A.png and a.png in one file.
    return [key.casefold() for key in keys]


def _tell_apart(keys: list[str], longer: Callable[[int], str]) -> None:
    folded = _folded(keys)
    often = Counter(folded)
    for i, key in enumerate(folded):
        if often[key] > 1:
            keys[i] = longer(i)


def _number(keys: list[str]) -> None:
    """Append ``_2``, ``_3`` ... to what is still equal, avoiding names that are taken."""
    taken = set(_folded(keys))
    seen: defaultdict[str, int] = defaultdict(int)
    for i, key in enumerate(keys):
        count = seen[key.casefold()] = seen[key.casefold()] + 1
        if count == 1:
            continue
        while f"{key}_{count}".casefold() in taken:
            count += 1
        keys[i] = f"{key}_{count}"
        taken.add(keys[i].casefold())
