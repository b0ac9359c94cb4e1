"""The record of a batch: ``manifest.jsonl``, one durable line for each pair that was finished or failed."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from glualign import __version__
from glualign.batch.pairs import Shard, name_fault
from glualign.errors import BatchError, OutputError
from glualign.files import atomic_path, flush_to_disk, open_regular

Status = Literal["done", "failed"]
Check = Literal["mtime", "sha256"]


@dataclass(frozen=True)
class Input:
    """One input file as it was when it was read; one that could not be read has a path only.

    Attributes:
        path: absolute.
        size: in bytes.
        mtime_ns: time of the last change, unless there is a hash.
        sha256: of the content, when it was asked for.
    """

    path: str
    size: int | None = None
    mtime_ns: int | None = None
    sha256: str | None = None

    @classmethod
    def of(cls, path: Path, check: Check = "mtime") -> Input:
        """The file as it is now."""
        name = os.path.abspath(path)
        try:
            found = os.stat(path)
            if not stat.S_ISREG(found.st_mode):
                return cls(name)
            if check == "mtime":
                return cls(name, found.st_size, found.st_mtime_ns)
            with _hashing:
                return cls(name, found.st_size, None, _sha256(name, found.st_size, found.st_mtime_ns))
        except (OSError, ValueError):
            return cls(name)

    def is_like(self, now: Input) -> bool:
        """Whether the file is still what it was: by content if its hash is known, else by path and time."""
        known = (self.size, self.mtime_ns, self.sha256) == (now.size, now.mtime_ns, now.sha256)
        return known and (now.sha256 is not None or self.path == now.path)


@dataclass(frozen=True)
class Record:
    """One line of the manifest.

    Attributes:
        key: the pair's key.
        status: ``done``, or ``failed``: an error, or an alignment whose verdict is too bad.
        source, target: the inputs.
        options: everything that decides what the outputs look like, as JSON values.
        outputs: size in bytes of each file written, by its path relative to the output folder.
        quality: the alignment's quality as JSON values; empty when there was none.
        seconds: time spent on reading, aligning and writing this pair, added up.
        error: what went wrong; None for done pairs.
        notes: what the user should know of the images, such as pages or metadata left out.
        finished: UTC time, ISO 8601.
        version: of glualign.
    """

    key: str
    status: Status
    source: Input
    target: Input
    options: Mapping[str, Any]
    outputs: Mapping[str, int] = field(default_factory=dict)
    quality: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None
    notes: Sequence[str] = ()
    finished: str = ""
    version: str = __version__

    @property
    def verdict(self) -> str:
        """The one word on the alignment: ``good``, ``doubtful`` or ``failed``; empty when there is none."""
        word = self.quality.get("verdict")
        return word if isinstance(word, str) else ""

    def to_json(self) -> str:
        """One line of ASCII JSON, so that any file name survives."""
        return json.dumps(asdict(self), separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, line: str | bytes) -> Record:
        """Read a line back; keys that a later version may have added are ignored.

        The line may come from anywhere, and files that it names may be removed: types are checked, and its
        outputs are names that results of its key can have.

        Raises:
            ValueError: not a record.
        """
        try:
            data = json.loads(line)
        except RecursionError as error:
            raise ValueError("nested too deeply") from error
        if not isinstance(data, dict):
            raise ValueError("not an object")
        for name, holds in _FIELDS.items():
            if name not in data or not holds(data[name]):
                raise ValueError(f"{name} is not what it should be")
        if not all(
            name.startswith(f"{data['key']}_") and name_fault(name) is None for name in data["outputs"]
        ):
            raise ValueError("an output that is not named after its key")
        inputs = {name: Input(**data[name]) for name in ("source", "target")}
        return cls(**{name: data[name] for name in _FIELDS} | inputs | {"notes": tuple(data["notes"])})


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < 1 << 63
    return isinstance(value, float) and math.isfinite(value)


def _is_plain(value: object, depth: int = 8) -> bool:
    """Whether a value can be written as it was read: JSON reads numbers and depths that it cannot write."""
    if isinstance(value, (dict, list)):
        parts = value.values() if isinstance(value, dict) else value
        return depth > 0 and all(_is_plain(part, depth - 1) for part in parts)
    return value is None or isinstance(value, (str, bool)) or _is_number(value)


def _is_mapping(value: object, holds: Callable[[object], bool] = _is_plain) -> bool:
    return isinstance(value, dict) and all(map(holds, value.values()))


def _is_input(value: object) -> bool:
    if not isinstance(value, dict) or not _is_text(value.get("path")):
        return False
    kinds = {"path": _is_text, "size": _is_number, "mtime_ns": _is_number, "sha256": _is_text}
    return all(name in kinds and (item is None or kinds[name](item)) for name, item in value.items())


_FIELDS: dict[str, Callable[[object], bool]] = {
    "key": lambda value: isinstance(value, str) and name_fault(value) is None,
    "status": lambda value: value in ("done", "failed"),
    "source": _is_input,
    "target": _is_input,
    "options": _is_mapping,
    "outputs": lambda value: _is_mapping(value, _is_number),
    "quality": _is_mapping,
    "seconds": lambda value: _is_mapping(value, _is_number),
    "error": lambda value: value is None or isinstance(value, str),
    "notes": lambda value: isinstance(value, list) and all(map(_is_text, value)),
    "finished": _is_text,
    "version": _is_text,
}


_hashing = Lock()


@lru_cache(maxsize=1 << 16)
def _sha256(path: str, size: int, mtime_ns: int) -> str:
    """Hash of a file's content; that of a target of many pairs is computed once while it stays the same."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def run_file(out: Path, name: str, shard: Shard | None = None) -> Path:
    """Where a file about a run is: one for the whole, one for each shard."""
    stem, _, kind = name.partition(".")
    return out / (name if shard is None else f"{stem}-{shard}.{kind}")


def read_records(path: Path) -> Iterator[Record]:
    """The records of one manifest; a missing file has none.

    A last line that a crash cut short is skipped: its pair counts as not done.

    Raises:
        BatchError: another line is not a record, or the file cannot be read.
    """
    if not os.path.lexists(path):
        return
    with open_regular(path, error=BatchError) as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                yield Record.from_json(line)
            except ValueError as error:
                raise BatchError(
                    f"{path}, line {number}: is not a record of this program ({error}); "
                    "restore the file, or move it away to start afresh"
                ) from error


def latest(*groups: Iterable[Record]) -> dict[str, Record]:
    """One record for each key: a done one over a failed one, then the later one."""
    found: dict[str, Record] = {}
    for group in groups:
        for record in group:
            known = found.setdefault(record.key, record)
            if (record.status == "done", record.finished) >= (known.status == "done", known.finished):
                found[record.key] = record
    return found


class Manifest:
    """Appends records; each is on the disk (fsync) when `append` returns.

    Opening it rewrites the file, atomically, to the records that still stand: lines of pairs that are about
    to be done again go away, so that the file never has two lines for one pair, and an interrupted
    ``--overwrite`` goes on where it stopped.
    """

    def __init__(self, path: Path, standing: Iterable[Record]) -> None:
        self.path = path
        with atomic_path(path) as temporary:
            with temporary.open("wb") as file:
                file.writelines(f"{record.to_json()}\n".encode("ascii") for record in standing)
            flush_to_disk(temporary)
        self._file = path.open("ab", buffering=0)
        self._end = os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def append(self, record: Record, lost: Iterable[Record] = ()) -> None:
        """Add one line. Not for use from several threads at once.

        Args:
            record: to be added.
            lost: all records, this one included: what is written anew when another program removed, cut or
                changed the file.

        Raises:
            BatchError: the file was not as this run left it.
            OutputError: the line could not be written; the file is as it was before.
        """
        line = f"{record.to_json()}\n".encode("ascii")
        descriptor = self._file.fileno()
        try:
            there = os.stat(self.path)
            is_ours = there.st_size == self._end and os.path.samestat(there, os.fstat(descriptor))
        except OSError:
            is_ours = False
        if not is_ours:
            Manifest(self.path, lost).close()
            raise BatchError(
                f"{self.path}: was removed or changed by another program while this run was writing it; "
                "its lines are restored. Give the same command again"
            )
        try:
            written = self._file.write(line)
            if written != len(line):  # a full disk may take the first part and report no error
                self._file.write(line[written:])
            os.fsync(descriptor)
        except OSError as error:
            os.ftruncate(descriptor, self._end)
            raise OutputError(f"{self.path}: cannot be written ({error.strerror})") from error
        self._end += len(line)
