"""The registry: every checkpoint glualign knows by name, and where each one is on this machine."""

from __future__ import annotations

import difflib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from glualign.checkpoints.cache import cache_folder, packaged_folder
from glualign.errors import CheckpointError

if TYPE_CHECKING:
    from glualign.network.config import GLUNetConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SUFFIXES = (".safetensors", ".pth", ".pth.tar", ".pt")
"""Endings of files of weights."""

Source = Literal["embedded", "drive", "refused"]


@dataclass(frozen=True)
class RegistryEntry:
    """One checkpoint of ``weights/registry.toml``.

    Attributes:
        name: what the user writes.
        aliases: other names for it.
        title: one line for people.
        model: the architecture, a key of `glualign.network.CONFIGS`.
        source: shipped with glualign, on Google Drive, or known and refused.
        file: its file name.
        drive: id of the file on Google Drive.
        member: the file to take when what Drive holds is a zip archive.
        sha256: hash of ``file`` where one is known.
        sha256_evidence: where that hash comes from.
        codebase: the repository that published it.
        code_licence: licence of that repository's code.
        licence: licence of the weights themselves.
        settings: fields of the configuration that shapes cannot show.
        metrics: published results.
        reason: why it is refused.
    """

    name: str
    title: str
    model: str
    source: Source
    aliases: tuple[str, ...] = ()
    file: str = ""
    drive: str = ""
    member: str = ""
    sha256: str = ""
    sha256_evidence: str = ""
    codebase: str = ""
    code_licence: str = ""
    licence: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    reason: str = ""

    @property
    def path(self) -> Path:
        """Where its file is, or would be once fetched."""
        return (packaged_folder() if self.source == "embedded" else cache_folder()) / self.file

    @property
    def page(self) -> str:
        """The address at which a person can download it with a browser."""
        return f"https://drive.google.com/file/d/{self.drive}/view"

    def metadata(self) -> dict[str, str]:
        """What the registry knows and an official file does not say."""
        facts = {"title": self.title, "codebase": self.codebase, "licence": self.licence}
        if self.metrics:
            facts["metrics"] = json.dumps(dict(self.metrics))
        return {key: value for key, value in facts.items() if value}

    def configure(self, detected: GLUNetConfig) -> GLUNetConfig:
        """The configuration read from the file, completed by what shapes cannot show.

        Raises:
            CheckpointError: the file holds another architecture than this entry.
        """
        from glualign.network.config import CONFIGS

        if self.source == "embedded":
            return detected
        expected = CONFIGS[self.model]
        if replace(detected, model=self.model, truncate_to_uint8=expected.truncate_to_uint8) != expected:
            raise CheckpointError(f"{self.file}: holds {detected.model}, but {self.name} is {self.model}")
        return replace(expected, **self.settings)


@dataclass(frozen=True)
class Weights:
    """A file of weights that exists, with its entry when it is in the registry."""

    name: str
    path: Path
    entry: RegistryEntry | None = None


class Registry:
    """The entries of ``registry.toml``, in its order."""

    def __init__(self, entries: tuple[RegistryEntry, ...]) -> None:
        self._entries = entries
        self._by_name = {name: entry for entry in entries for name in (entry.name, *entry.aliases)}

    def __iter__(self) -> Iterator[RegistryEntry]:
        return iter(self._entries)

    def get(self, name: str) -> RegistryEntry | None:
        """The entry of that name or alias."""
        return self._by_name.get(name)

    def named(self, name: str) -> RegistryEntry:
        """The entry of that name or alias.

        Raises:
            CheckpointError: there is none; the message offers similar names.
        """
        entry = self.get(name)
        if entry is None:
            raise CheckpointError(f"{name}: no such checkpoint{self.suggestion(name)}")
        return entry

    def suggestion(self, name: str) -> str:
        """The end of a message about an unknown name: what was perhaps meant, and where the names are."""
        close = difflib.get_close_matches(name, self._by_name, n=3)
        meant = f"; did you mean {' or '.join(close)}?" if close else ";"
        return f"{meant} `glualign weights list` shows all names"


@cache
def load_registry() -> Registry:
    """The registry that this installation ships.

    Raises:
        CheckpointError: ``registry.toml`` is missing or malformed; the installation is damaged.
    """
    path = packaged_folder() / "registry.toml"
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        return Registry(tuple(_entry(table) for table in document["checkpoint"]))
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); reinstall glualign") from error
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: malformed registry ({error}); reinstall glualign") from error


def _entry(table: Mapping[str, Any]) -> RegistryEntry:
    return RegistryEntry(**{**table, "aliases": tuple(table.get("aliases", ()))})


def find_weights(name_or_path: str | os.PathLike[str]) -> Weights:
    """Find a file of weights by registry name, by path, or by the name it was imported under.

    Raises:
        CheckpointError: unknown, refused, or not on this machine yet; the message says what to do.
    """
    text = os.fspath(name_or_path)
    registry = load_registry()
    entry = registry.get(text)
    if entry is not None:
        if entry.source == "refused":
            raise CheckpointError(f"{entry.name}: {entry.reason}")
        if not entry.path.is_file():
            raise CheckpointError(_absent(entry))
        return Weights(entry.name, entry.path, entry)
    if os.path.exists(text):
        return Weights(Path(text).name, Path(text))
    imported = imported_path(text)
    if imported is not None:
        return Weights(text, imported)
    if os.path.dirname(text) or text.endswith(SUFFIXES):
        raise CheckpointError(f"{text}: no such file")
    raise CheckpointError(f"{text}: neither a file nor a known model{registry.suggestion(text)}")


def imported_path(name: str) -> Path | None:
    """The cached file that was imported under ``name``, or None."""
    return next((path for path in imported_files() if stem(path) == name), None)


def imported_files() -> list[Path]:
    """Cached files of weights that belong to no entry of the registry, by name."""
    folder = cache_folder()
    if not folder.is_dir():
        return []
    known = {entry.file for entry in load_registry()}
    return sorted(
        path for path in folder.iterdir() if path.name.endswith(SUFFIXES) and path.name not in known
    )


def stem(path: Path) -> str:
    """A file name without its ending; ``.pth.tar`` is one ending."""
    name = path.name
    return next(
        (name[: -len(end)] for end in sorted(SUFFIXES, key=len)[::-1] if name.endswith(end)), path.stem
    )


def _absent(entry: RegistryEntry) -> str:
    if entry.source == "embedded":
        return f"{entry.path}: the embedded weights are missing; reinstall glualign"
    return (
        f"{entry.name}: not on this machine; run `glualign weights fetch {entry.name}`, or download "
        f"{entry.page} and run `glualign weights import FILE --name {entry.name}`"
    )
