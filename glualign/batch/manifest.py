"""The record of a batch: ``manifest.jsonl``, one durable line for each pair that was finished or failed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from glualign import __version__
from glualign.batch.fingerprint import Fingerprint
from glualign.batch.jobs import Shard
from glualign.errors import BatchError, OutputError
from glualign.files import atomic_path

Status = Literal["done", "failed"]


@dataclass(frozen=True)
class Input:
    """One input file as it was when it was read."""

    path: str
    fingerprint: Fingerprint


@dataclass(frozen=True)
class Record:
    """One line of the manifest.

    Attributes:
        key: the job's key.
        status: ``done`` or ``failed``.
        source, target: the inputs.
        options: everything that decides what the outputs look like, as JSON values.
        outputs: size in bytes of each file written, by its path relative to the output folder.
        quality: the alignment's quality as JSON values; empty for failed pairs.
        seconds: time spent on reading, aligning and writing this pair, added up.
        error: what went wrong; None for done pairs.
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
    finished: str = ""
    version: str = __version__

    def to_json(self) -> str:
        """One line of ASCII JSON, so that any file name survives."""
        return json.dumps(asdict(self), separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Record:
        """Read a line back; keys that a later version may have added are ignored.

        Raises:
            ValueError: not a record.
        """
        data = json.loads(line)
        if not isinstance(data, dict):
            raise ValueError("not an object")
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        try:
            known["source"], known["target"] = Input(**data["source"]), Input(**data["target"])
            return cls(**known)
        except (KeyError, TypeError) as error:
            raise ValueError(f"incomplete record ({error})") from error


def manifest_path(out: Path, shard: Shard | None = None) -> Path:
    """Where the manifest of a run is: one file for the whole, one for each shard."""
    return out / ("manifest.jsonl" if shard is None else f"manifest-{shard}.jsonl")


def read_records(path: Path) -> Iterator[Record]:
    """The records of one manifest; a missing file has none.

    A last line that a crash cut short is skipped: its pair counts as not done.

    Raises:
        BatchError: another line is not a record, or the file cannot be read.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                if not line.endswith("\n"):
                    return
                try:
                    yield Record.from_json(line)
                except ValueError as error:
                    raise BatchError(
                        f"{path}, line {number}: is not a record of this program ({error}); "
                        "restore the file, or move it away to start afresh"
                    ) from error
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise BatchError(f"{path}: cannot be read ({error})") from error


def latest(*groups: Iterable[Record]) -> dict[str, Record]:
    """One record for each key: a done one over a failed one, then the later one."""
    found: dict[str, Record] = {}
    for group in groups:
        for record in group:
            known = found.get(record.key)
            if known is None or _rank(record) >= _rank(known):
                found[record.key] = record
    return found


def _rank(record: Record) -> tuple[bool, str]:
    return record.status == "done", record.finished


def shard_manifests(out: Path) -> list[Path]:
    """The manifests that shards left in an output folder."""
    return sorted(out.glob("manifest-*-of-*.jsonl"))


class Manifest:
    """Appends records; each is on the disk (fsync) when `append` returns.

    Opening it rewrites the file, atomically, to the records that still stand: lines of pairs that are about
        to be
    done again go away, so that the file never has two lines for one pair, and an interrupted ``--overwrite``
    goes on where it stopped.
    """

    def __init__(self, path: Path, standing: Iterable[Record]) -> None:
        self.path = path
        lines = "".join(f"{record.to_json()}\n" for record in standing).encode("ascii")
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        self._file = path.open("ab", buffering=0)

    def __enter__(self) -> Manifest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def append(self, record: Record) -> None:
        """Add one line. Not for use from several threads at once.

        Raises:
            OutputError: the line could not be written; the file is as it was before.
        """
        line = f"{record.to_json()}\n".encode("ascii")
        end = os.fstat(self._file.fileno()).st_size
        try:
            written = self._file.write(line)
            if written != len(line):  # a full disk may take the first part and report no error
                self._file.write(line[written:])
            os.fsync(self._file.fileno())
        except OSError as error:
            os.ftruncate(self._file.fileno(), end)
            raise OutputError(f"{self.path}: cannot be written ({error.strerror})") from error
