"""The record of a batch: ``manifest.jsonl``, one durable line for each pair that was finished or failed."""

from __future__ import annotations

import collections.abc
import errno
import json
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from glualign import __version__
from glualign.batch.listing import name_fault
from glualign.batch.pairs import Shard
from glualign.errors import BatchError, OutputError
from glualign.files import atomic_path, flush_to_disk, reading

Status = Literal["done", "failed"]

# File systems without locks (some Lustre and FUSE mounts) answer with one of these; work goes on unlocked
# there.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


@dataclass(frozen=True)
class Input:
    """One input file as it was when it was read; one that could not be read has a path only.

    Attributes:
        path: absolute.
        size: in bytes.
        mtime_ns: time of the last change.
    """

    path: str
    size: int | None = None
    mtime_ns: int | None = None

    @classmethod
    def of(cls, path: Path) -> Input:
        """The file as it is now."""
        name = os.path.abspath(path)
        with suppress(OSError, ValueError):
            found = os.stat(path)
            if stat.S_ISREG(found.st_mode):
                return cls(name, found.st_size, found.st_mtime_ns)
        return cls(name)


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
        types = _TYPES[Record]
        for name, kind in types.items():
            if name not in data or not _fits(data[name], kind):
                raise ValueError(f"{name} is not what it should be")
        key = data["key"]
        if name_fault(key) or any(not n.startswith(f"{key}_") or name_fault(n) for n in data["outputs"]):
            raise ValueError("an output that is not named after its key")
        known = _TYPES[Input]
        inputs = {end: Input(**{name: data[end].get(name) for name in known}) for end in ("source", "target")}
        return cls(**{name: data[name] for name in types} | inputs | {"notes": tuple(data["notes"])})


_TYPES: dict[Any, dict[str, Any]] = {kind: get_type_hints(kind) for kind in (Input, Record)}


def _fits(value: Any, kind: Any, depth: int = 8) -> bool:
    """Whether a value that was read from JSON is of an annotated type, and can be written as JSON again."""
    origin, parts = get_origin(kind), get_args(kind)
    if types := _TYPES.get(kind):
        return isinstance(value, dict) and all(_fits(value.get(name), each) for name, each in types.items())
    if origin is Literal:
        return value in parts
    if origin is UnionType:
        return any(_fits(value, each) for each in parts)
    if origin is collections.abc.Mapping or (kind is Any and isinstance(value, dict)):
        each = parts[1] if parts else Any
        return (
            isinstance(value, dict) and depth > 0 and all(_fits(v, each, depth - 1) for v in value.values())
        )
    if origin is collections.abc.Sequence or (kind is Any and isinstance(value, list)):
        each = parts[0] if parts else Any
        return isinstance(value, list) and depth > 0 and all(_fits(v, each, depth - 1) for v in value)
    if type(value) in (int, float):  # JSON reads numbers that it cannot write
        return kind in (Any, float, type(value)) and abs(value) < 1 << 63
    return value is None or isinstance(value, (str, bool)) if kind is Any else type(value) is kind


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
    with reading(path, BatchError) as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                yield Record.from_json(line)
            except ValueError as error:
                raise BatchError(
                    f"line {number}: is not a record of this program ({error}); "
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
    """The records that stand, each on the disk (fsync) when `append` returns.

    Opening it rewrites the file, atomically, to those that stood: lines of pairs that are about to be done
    again go away, so that the file never has two lines for one pair, and an interrupted ``--overwrite`` goes
    on where it stopped.

    Attributes:
        records: by key.
    """

    def __init__(self, path: Path, standing: Iterable[Record]) -> None:
        self.path = path
        self.records = {record.key: record for record in standing}
        self._write_all()
        self._file = path.open("ab", buffering=0)
        self._end = os.fstat(self._file.fileno()).st_size

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def append(self, record: Record) -> None:
        """Add one line. Not for use from several threads at once.

        Raises:
            BatchError: another program removed, cut or changed the file, which is written anew.
            OutputError: the line could not be written; the file is as it was before.
        """
        self.records[record.key] = record
        line, descriptor = f"{record.to_json()}\n".encode("ascii"), self._file.fileno()
        try:
            there = os.stat(self.path)
            is_ours = there.st_size == self._end and os.path.samestat(there, os.fstat(descriptor))
        except OSError:
            is_ours = False
        if not is_ours:
            self._write_all()
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

    def _write_all(self) -> None:
        with atomic_path(self.path) as temporary:
            with temporary.open("wb") as file:
                file.writelines(f"{record.to_json()}\n".encode("ascii") for record in self.records.values())
            flush_to_disk(temporary)


@contextmanager
def hold(folder: Path, shard: Shard | None = None) -> Iterator[None]:
    """Keep other runs out of ``folder`` while the block runs; the system drops the lock of a dead process.

    A whole run excludes everything; shards exclude whole runs and the same shard, not each other. The lock
    files stay behind and mean nothing by themselves. Symbolic links are not followed: one in place of the
    folder or of a lock would let two runs lock different files.

    Raises:
        BatchError: another run is at work there, or the lock file cannot be made.
    """
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    # The lock of the whole is shared by shards, that of a shard by nobody.
    names = [folder / "lock"] if shard is None else [folder / "lock", folder / f"lock-{shard}"]
    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if link := next((path for path in (folder, *names) if path.is_symlink()), None):
                raise OSError(errno.ELOOP, f"{link.name} is a symbolic link")
            files = []
            for path in names:
                files.append(os.open(path, flags, 0o666))
                stack.callback(os.close, files[-1])
            free = all(_lock(file, shared=shard is not None and file == files[0]) for file in files)
        except OSError as error:
            raise BatchError(f"{folder}: cannot be written ({error.strerror}); choose another -o") from error
        if not free:
            which = "" if shard is None else f" (the whole batch, or shard {shard} of it)"
            raise BatchError(
                f"{folder.parent}: another run is writing into this folder{which}; wait for it or choose "
                "another -o"
            )
        yield


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int, *, shared: bool) -> bool:
        # Windows has no shared form of this lock: there, a whole run and a shard of it do not see each other.
        with suppress(OSError):
            if not shared:
                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            return True
        return False

else:
    import fcntl

    def _lock(descriptor: int, *, shared: bool) -> bool:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        return True
