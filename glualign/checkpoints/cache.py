"""Where weights lie on this machine: the packaged folder, the cache, and a note beside each cached file."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import glualign
from glualign.errors import CheckpointError, GlualignError
from glualign.files import read_bytes, reading, write_text

CACHE_VARIABLE = "GLUALIGN_CACHE"
OFFLINE_VARIABLE = "GLUALIGN_OFFLINE"
_NOTE_BYTES = 10_000


def cache_folder() -> Path:
    """The folder of fetched and imported weights: ``$GLUALIGN_CACHE``, or the platform's cache folder.

    Without a home folder a path that cannot exist: nothing is there, and writing says what to do.
    """
    try:
        if chosen := os.environ.get(CACHE_VARIABLE):
            return Path(chosen).expanduser()
        if sys.platform == "win32":
            folder = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            folder = Path.home() / "Library" / "Caches"
        else:
            folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        folder = Path(os.devnull)
    return folder / "glualign" / "weights"


def packaged_folder() -> Path:
    """The folder of embedded weights and ``registry.toml``: in the wheel, or at the root of a source tree."""
    package = Path(glualign.__file__).parent
    installed = package / "weights"
    return installed if installed.is_dir() else package.parent / "weights"


def is_offline() -> bool:
    """Whether ``$GLUALIGN_OFFLINE`` forbids the network (any value but empty and 0)."""
    return os.environ.get(OFFLINE_VARIABLE, "") not in ("", "0")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in lower-case hexadecimal digits.

    Raises:
        CheckpointError: it cannot be read.
    """
    digest = hashlib.sha256()
    with reading(path, CheckpointError) as stream:
        while data := stream.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()


def note_path(path: Path) -> Path:
    """Where the note of a cached file lies."""
    return path.with_name(f"{path.name}.json")


def write_note(path: Path, *, sha256: str, origin: str) -> None:
    """Keep beside the cached file ``path`` what was seen when it came in, and from where."""
    write_text(note_path(path), json.dumps({"sha256": sha256, "origin": origin}, indent=2) + "\n")


def read_note(path: Path) -> dict[str, str]:
    """``sha256`` and ``origin`` from the note beside a cached file; empty when there is no sound one."""
    try:
        values = json.loads(read_bytes(note_path(path), _NOTE_BYTES))
        return {key: str(values[key]) for key in ("sha256", "origin")}
    except (GlualignError, ValueError, KeyError, TypeError, RecursionError):
        return {}
