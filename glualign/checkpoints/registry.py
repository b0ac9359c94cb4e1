"""Every checkpoint glualign knows by name, where it is on this machine, and what it holds."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from glualign.errors import CheckpointError, GlualignError
from glualign.files import read_bytes, reading

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CACHE_VARIABLE = "GLUALIGN_CACHE"
OFFLINE_VARIABLE = "GLUALIGN_OFFLINE"
"""Any value but empty and 0 forbids the network."""
PACKAGED = Path(__file__).parents[1] / "weights"  # in the wheel
if not PACKAGED.is_dir():  # in a source tree
    PACKAGED = Path(__file__).parents[2] / "weights"
"""The folder of embedded weights and ``registry.toml``."""
SUFFIXES = (".safetensors", ".pth", ".pth.tar", ".pt")
"""Endings of files of weights."""
_NOTE_BYTES = 10_000


@dataclass(frozen=True, eq=False)
class RegistryEntry:
    """One checkpoint of ``weights/registry.toml``."""

    name: str
    title: str
    model: str  # a key of `glualign.network.CONFIGS`
    source: Literal["embedded", "drive", "refused"]  # shipped, on Google Drive, or known and refused
    aliases: tuple[str, ...] = ()
    file: str = ""
    drive: str = ""  # id of the file on Google Drive
    member: str = ""  # the file to take when what Drive holds is a zip archive
    sha256: str = ""  # of ``file``, where it is known, with where that comes from
    sha256_evidence: str = ""
    codebase: str = ""  # the repository that published it
    code_licence: str = ""
    licence: str = ""  # of the weights themselves
    settings: Mapping[str, Any] = field(default_factory=dict)  # of the configuration, not shown by shapes
    metrics: Mapping[str, Any] = field(default_factory=dict)  # published results
    reason: str = ""  # why it is refused

    @property
    def path(self) -> Path:
        """Where its file is, or would be once fetched."""
        return (PACKAGED if self.source == "embedded" else cache_folder()) / self.file

    @property
    def page(self) -> str:
        """The address at which a person can download it with a browser."""
        return f"https://drive.google.com/file/d/{self.drive}/view"

    @property
    def by_hand(self) -> str:
        """How a person brings it here."""
        run = f"`glualign weights import FILE --name {self.name}`"
        return f"open {self.page} in a browser, save the file, and run {run}"

    def metadata(self) -> dict[str, str]:
        """What the registry knows and an official file does not say."""
        metrics = json.dumps(self.metrics) if self.metrics else ""
        facts = {"title": self.title, "codebase": self.codebase, "licence": self.licence, "metrics": metrics}
        return {key: value for key, value in facts.items() if value}


@dataclass(frozen=True)
class Weights:
    """A file of weights that exists, with its entry when it is in the registry."""

    name: str
    path: Path
    entry: RegistryEntry | None = None


def cache_folder() -> Path:
    """The folder of fetched and imported weights: ``$GLUALIGN_CACHE``, or the platform's cache folder."""
    platforms = {"win32": ("LOCALAPPDATA", "~/AppData/Local"), "darwin": ("", "~/Library/Caches")}
    variable, usual = platforms.get(sys.platform, ("XDG_CACHE_HOME", "~/.cache"))
    chosen = os.environ.get(CACHE_VARIABLE)
    try:
        return Path(chosen or Path(os.environ.get(variable) or usual, "glualign", "weights")).expanduser()
    except RuntimeError:  # no home: nothing is there, and writing says what to do
        return Path(os.devnull, "weights")


@cache
def load_registry() -> Mapping[str, RegistryEntry]:
    """The entries of the registry that this installation ships, by name and by alias, in its order.

    A `CheckpointError` says that ``registry.toml`` is missing or malformed; the installation is damaged.
    """
    path = PACKAGED / "registry.toml"
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))["checkpoint"]
        entries = [RegistryEntry(**{**t, "aliases": tuple(t.get("aliases", ()))}) for t in tables]
        return {name: entry for entry in entries for name in (entry.name, *entry.aliases)}
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: missing or malformed ({error}); reinstall glualign") from error


def find_weights(name_or_path: str | os.PathLike[str]) -> Weights:
    """Find a file of weights by registry name, by path, or by the name it was imported under.

    A `CheckpointError` says that it is unknown, refused, or not on this machine yet, and what to do.
    """
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise CheckpointError(f"{name_or_path!r} is no model; give a name or the path of a file of weights")
    text = os.fspath(name_or_path)
    if entry := load_registry().get(text):
        if entry.source == "refused":
            raise CheckpointError(f"{entry.name}: {entry.reason}")
        if entry.path.is_file():
            return Weights(entry.name, entry.path, entry)
        if entry.source == "embedded":
            raise CheckpointError(f"{entry.path}: the embedded weights are missing; reinstall glualign")
        do = f"run `glualign weights fetch {entry.name}`, or {entry.by_hand}"
        raise CheckpointError(f"{entry.name}: not on this machine; {do}")
    if os.path.exists(text):
        return Weights(Path(text).name, Path(text))
    for path in imported_files():
        if stem(path) == text:
            return Weights(text, path)
    if os.path.dirname(text) or text.endswith(SUFFIXES):
        with reading(text, CheckpointError):
            pass  # it raises what keeps the file from being read
    raise CheckpointError(f"{text}: neither a file nor a known model{suggestion(text)}")


def suggestion(name: str) -> str:
    """The end of a message about an unknown name: what was perhaps meant, and where the names are."""
    close = difflib.get_close_matches(name, load_registry(), n=3)
    meant = f"; did you mean {' or '.join(close)}?" if close else ";"
    return f"{meant} `glualign weights list` shows all names"


def imported_files() -> list[Path]:
    """Cached files of weights that belong to no entry of the registry, by name."""
    known = {entry.file for entry in load_registry().values()}
    # Without what an import that was killed left half written, whose name begins with a dot.
    files = cache_folder().glob("[!.]*")
    return sorted(path for path in files if path.name.endswith(SUFFIXES) and path.name not in known)


def stem(path: Path) -> str:
    """A file name without its ending; ``.pth.tar`` is one ending."""
    return Path(path.name.removesuffix(".tar")).stem


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in lower-case hexadecimal digits; CheckpointError when it cannot be read."""
    digest = hashlib.sha256()
    with reading(path, CheckpointError) as stream:
        while data := stream.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()


def note_path(path: Path) -> Path:
    """Where what was seen of a cached file when it came in is kept, and from where it came."""
    return path.with_name(f"{path.name}.json")


def read_note(path: Path) -> dict[str, str]:
    """``sha256`` and ``origin`` from the note beside a cached file; empty when there is no sound one."""
    try:
        values = json.loads(read_bytes(note_path(path), _NOTE_BYTES))
        return {key: str(values[key]) for key in ("sha256", "origin")}
    except (GlualignError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def describe_all() -> list[dict[str, Any]]:
    """Every checkpoint of the registry, and every imported one, with its state on this machine."""
    known: list[dict[str, Any]] = []
    for entry in dict.fromkeys(load_registry().values()):
        there = entry.source != "refused" and entry.path.is_file()
        state = entry.source if entry.source != "drive" else "fetched" if there else "not fetched"
        known.append({**asdict(entry), "state": state, "path": entry.path if there else None})
    for path in imported_files():
        facts = {"name": stem(path), "aliases": (), "title": str(path), "path": path}
        known.append({**facts, "source": "imported", "state": "imported"})
    return known
