"""Where weights lie on this machine: the packaged folder, the cache, and a note beside each cached file."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import glualign
from glualign.files import write_text

CACHE_VARIABLE = "GLUALIGN_CACHE"
OFFLINE_VARIABLE = "GLUALIGN_OFFLINE"


@dataclass(frozen=True)
class Record:
    """What was seen when a file entered the cache, kept as ``<file>.json`` beside it.

    Attributes:
        name: the checkpoint's name.
        sha256: hash of the file.
        size: in bytes.
        origin: the address or the file it came from.
        checked: ``known SHA-256`` when the hash was on record, else ``strict load``.
        model: the architecture found in it.
    """

    name: str
    sha256: str
    size: int
    origin: str
    checked: str
    model: str


def cache_folder() -> Path:
    """The folder of fetched and imported weights: ``$GLUALIGN_CACHE``, or the platform's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    import pooch

    return Path(pooch.os_cache("glualign")) / "weights"


def packaged_folder() -> Path:
    """The folder of embedded weights and ``registry.toml``: in the wheel, or at the root of a source tree."""
    package = Path(glualign.__file__).parent
    installed = package / "weights"
    return installed if installed.is_dir() else package.parent / "weights"


def is_offline() -> bool:
    """Whether ``$GLUALIGN_OFFLINE`` forbids the network (any value but empty and 0)."""
    return os.environ.get(OFFLINE_VARIABLE, "") not in ("", "0")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in lower-case hexadecimal digits."""
    import pooch

    return str(pooch.file_hash(str(path), alg="sha256"))


def record_path(path: Path) -> Path:
    """Where the record of a cached file lies."""
    return path.with_name(f"{path.name}.json")


def write_record(path: Path, record: Record) -> None:
    """Keep ``record`` beside the cached file ``path``."""
    write_text(record_path(path), json.dumps(asdict(record), indent=2) + "\n")


def read_record(path: Path) -> Record | None:
    """The record beside a cached file; None when there is none or it is unreadable."""
    try:
        values = json.loads(record_path(path).read_text(encoding="utf-8"))
        return Record(**{field.name: values[field.name] for field in fields(Record)})
    except (OSError, ValueError, KeyError, TypeError):
        return None
