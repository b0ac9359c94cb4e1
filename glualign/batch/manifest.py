"""The record of a batch: ``manifest.jsonl``, one durable line for each pair that was finished or failed."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from glualign import __version__
from glualign.batch.listing import BOOKKEEPING, name_fault
from glualign.batch.pairs import Shard
from glualign.errors import BatchError, OutputError
from glualign.files import FRAMES_ASIDE, atomic_path, flush_to_disk, locked, reading
from glualign.images import Image, read_image

Status = Literal["done", "failed"]

MERGE_ASIDE = "merge-"
"""How folders begin, beside the locks, in which the images of a batch wait to be merged."""


@dataclass(frozen=True)
class Input:
    """One input file as it was when it was read; one that could not be read has a path only."""

    path: str  # absolute
    size: int | None = None  # in bytes
    mtime_ns: int | None = None  # time of the last change
    mask: Input | None = None  # where one is looked for beside the image, whether or not it is there

    @classmethod
    def of(cls, path: Path, mask: Path | None = None) -> Input:
        """The file, and that of its mask, as they are now."""
        name, beside = os.path.abspath(path), None if mask is None else cls.of(mask)
        with suppress(OSError, ValueError):
            found = os.stat(path)
            if stat.S_ISREG(found.st_mode):
                return cls(name, found.st_size, found.st_mtime_ns, beside)
        return cls(name, mask=beside)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> Input:
        """What a line of the manifest says of a file; its types are not checked."""
        known: dict[str, Any] = {each.name: values.get(each.name) for each in fields(cls)}
        if known["mask"] is not None:
            known["mask"] = cls.from_values(known["mask"])
        return cls(**known)


@dataclass(frozen=True)
class Record:
    """One line of the manifest."""

    key: str  # the pair's
    status: Status  # ``failed``: an error, or an alignment whose verdict is too bad
    source: Input
    target: Input
    options: Mapping[str, Any]  # everything that decides what the outputs look like, as JSON values
    outputs: Mapping[str, int] = field(default_factory=dict)  # bytes by path relative to the output folder
    quality: Mapping[str, Any] = field(default_factory=dict)  # as JSON values; empty when there was none
    seconds: Mapping[str, float] = field(default_factory=dict)  # of reading, aligning and writing this pair
    error: str | None = None  # what went wrong; None for done pairs
    notes: Sequence[str] = ()  # what the user should know of the images, such as pages or metadata left out
    finished: str = ""  # UTC time, ISO 8601
    version: str = __version__  # of glualign
    again: str = ""  # why a run that has not reached the pair was to do it again; empty: the record stands

    @property
    def verdict(self) -> str:
        """The one word on the alignment: ``good``, ``doubtful`` or ``failed``; empty when there is none."""
        word = self.quality.get("verdict")
        return word if isinstance(word, str) else ""

    def to_json(self) -> str:
        """One line of ASCII JSON, so that any file name survives."""
        return json.dumps(vars(self), default=vars, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, line: str | bytes) -> Record:
        """Read a line back; keys that a later version may have added are ignored.

        The line may come from anywhere, and files that it names may be removed: types are checked, and its
        outputs are names that results of its key can have. What is no record is a `ValueError`.
        """
        try:
            data = json.loads(
                line, parse_int=lambda digits: float(digits) if len(digits) > 20 else int(digits)
            )
            values = {each.name: data[each.name] for each in fields(cls)}
            for end in ("source", "target"):
                values[end] = Input.from_values(data[end])
            record = cls(**values | {"notes": tuple(data["notes"])})
            record.to_json()  # JSON reads numbers that it cannot write
            error, inputs = record.error or "", (record.source.path, record.target.path)
            texts = (record.key, record.finished, record.version, record.again, error, *inputs, *record.notes)
            maps = (record.options, record.outputs, record.quality, record.seconds)
            fits = all(isinstance(text, str) for text in texts) and all(isinstance(m, dict) for m in maps)
            fits &= all(type(value) in (int, float) for value in record.seconds.values())
            if not fits or record.status not in ("done", "failed"):
                raise ValueError("a value is not what it should be")
        except (KeyError, TypeError, AttributeError, RecursionError) as reason:
            raise ValueError(f"{type(reason).__name__}: {reason}") from reason
        key = record.key
        if name_fault(key) or any(not n.startswith(f"{key}_") or name_fault(n) for n in record.outputs):
            raise ValueError("an output that is not named after its key")
        return record


def run_file(out: Path, name: str, shard: Shard | None = None) -> Path:
    """Where a file about a run is: one for the whole, one for each shard."""
    stem, _, kind = name.partition(".")
    return out / (name if shard is None else f"{stem}-{shard}.{kind}")


def read_records(path: Path) -> Iterator[Record]:
    """The records of one manifest; a missing file has none.

    Of a pair that a run was doing again when it died there are two, of which the later counts. A last line
    that a crash cut short is skipped. A `BatchError` says that another line is not a record, or that the file
    cannot be read.
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
    """One record for each key: the last one of a manifest; of several, a done one, then the later one."""
    found: dict[str, Record] = {}
    for group in groups:
        for record in {record.key: record for record in group}.values():
            known = found.setdefault(record.key, record)
            if (record.status == "done", record.finished) >= (known.status == "done", known.finished):
                found[record.key] = record
    return found


def done_records(records: Sequence[Record], out: Path) -> list[Record]:
    """The records of the pairs that are done; a `BatchError` says that there is none."""
    done = [record for record in records if record.status == "done"]
    if not done:
        raise BatchError(f"{out}: nothing to put together, no pair is done")
    return done


def output_of(record: Record, out: Path, kind: str, extension: str = "") -> Path:
    """The file of one kind, and of one extension where a kind has several, that a pair's record names."""
    for name in record.outputs:
        if Path(name).stem.endswith(f"_{kind}") and name.endswith(extension):
            return out / name
    raise BatchError(f"{out}: no {kind} of {record.key}; give --overwrite to have it written")


def read_output(record: Record, out: Path, kind: str) -> Image:
    """An image that the batch wrote, on the pixel grid of the target whatever its EXIF says."""
    return read_image(output_of(record, out, kind), apply_orientation=False, max_pixels=None)


class Manifest:
    """The records of a run, each on the disk (fsync) when `append` returns.

    Opening it rewrites the file, atomically, to what is known from earlier runs, of pairs that are about to
    be done again as well: until `append` adds a new record of a pair, the former one is all that is known of
    its files. `close` leaves one line for each pair.
    """

    def __init__(self, path: Path, known: Iterable[Record]) -> None:
        self.path = path
        self.records = {record.key: record for record in known}
        self._has_former = False
        self._known = self._write_all()

    def append(self, record: Record) -> None:
        """Add one line. Not for use from several threads at once.

        Raises:
            BatchError: another program removed, cut or changed the file, which is written anew.
            OutputError: the line could not be written; the file is as it was before.
        """
        self._has_former |= record.key in self.records
        self.records[record.key] = record
        if self._state() != self._known:
            self._known = self._write_all()
            raise BatchError(
                f"{self.path}: was removed or changed by another program while this run was writing it; "
                "its lines are restored. Give the same command again"
            )
        try:
            with self.path.open("ab") as file:
                file.write(f"{record.to_json()}\n".encode("ascii"))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            with suppress(OSError):
                os.truncate(self.path, self._known[1])
            raise OutputError(f"{self.path}: cannot be written ({error.strerror})") from error
        self._known = self._state()

    def close(self) -> None:
        """Rewrite the file without the lines that a later one replaced; raises as `append` does."""
        if self._has_former:
            self._known = self._write_all()

    def _write_all(self) -> tuple[int, int]:
        with atomic_path(self.path) as temporary:
            with temporary.open("wb") as file:
                file.writelines(f"{record.to_json()}\n".encode("ascii") for record in self.records.values())
            flush_to_disk(temporary)
        self._has_former = False
        return self._state()

    def _state(self) -> tuple[int, int]:
        """Which file it is, and its size."""
        try:
            found = os.stat(self.path)
        except OSError:
            return 0, 0
        return found.st_ino, found.st_size


@contextmanager
def hold(out: Path, shard: Shard | None = None) -> Iterator[None]:
    """Keep other runs out of ``out`` while the block runs; the system drops the lock of a dead process.

    A whole run excludes everything; shards exclude whole runs and the same shard, not each other. What runs
    that were killed wrote aside, beside the locks and in ``out``, is removed by a whole run.

    Raises:
        BatchError: another run is at work there, the lock file cannot be made, or the file system fails in
            the block on something other than a pair.
    """
    # The lock of the whole is shared by shards, that of a shard by nobody.
    folder = out / BOOKKEEPING
    locks = {"lock": False} if shard is None else {"lock": True, f"lock-{shard}": False}
    which = "" if shard is None else f" (the whole batch, or shard {shard} of it)"
    taken = f"{out}: another run is writing into this folder{which}; wait for it or choose another -o"
    with locked(folder, locks, BatchError(taken)):
        try:
            if shard is None:
                for left in (*folder.glob(f"{MERGE_ASIDE}*"), *out.glob(f"{FRAMES_ASIDE}*")):
                    shutil.rmtree(left, ignore_errors=True)
            yield
        except BrokenPipeError:  # of whoever reads the progress
            raise
        except OSError as error:
            where, what = error.filename or out, error.strerror or error
            raise BatchError(f"{where}: {what}; give the command again") from error
