"""Bringing weights into the cache, by download or from a file, and checking what is there."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
import zipfile
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from glualign.checkpoints import registry
from glualign.checkpoints.download import Limits, ProgressCallback, download
from glualign.checkpoints.registry import RegistryEntry, Weights
from glualign.errors import CheckpointError, DownloadError
from glualign.files import atomic_path, reading, write_text

_MAX_MEMBER_BYTES = 1 << 30
_ASIDE = ".download-"
_DEAD_AFTER = 2 * Limits().seconds
"""Age in seconds of a folder of a download that nobody is at work on any more."""
HashState = Literal["known", "as recorded", "unlike registry", "no record", "differs"]
"""Equal to the registry's hash; to the one noted when the file came into the cache; to that, though the
registry knows another (a file imported by hand); nothing to compare with; different from both."""


@dataclass(frozen=True)
class CheckedFile:
    """What a complete check of a file of weights found: every tensor is present, fits, and is finite."""

    name: str  # of the checkpoint, or of the file
    path: Path
    sha256: str
    size: int  # in bytes
    hash_state: HashState
    model: str  # the architecture found in it
    parameters: int  # number of floating-point values in it


def fetch(
    name: str, *, force: bool = False, limits: Limits | None = None, progress: ProgressCallback | None = None
) -> CheckedFile:
    """Download the checkpoint ``name`` into the cache, check it, and note what was seen.

    A sound file already there is kept, unless ``force``.

    Raises:
        CheckpointError: no such name, or a checkpoint that glualign refuses.
        DownloadError: offline, refused by the server, or the bytes are not this checkpoint.
    """
    entry = registry.load_registry().get(name)
    if entry is None:
        raise CheckpointError(f"{name}: no such checkpoint{registry.suggestion(name)}")
    if entry.source == "refused":
        raise CheckpointError(f"{entry.name}: {entry.reason}")
    if entry.source == "embedded":
        return verify(entry.name)
    if not force and entry.path.is_file():
        with suppress(CheckpointError):
            present = verify(entry.name)
            if present.hash_state != "differs":
                return present
    if os.environ.get(registry.OFFLINE_VARIABLE, "") not in ("", "0"):
        do = f"unset it, or {entry.by_hand}"
        raise DownloadError(f"{entry.name}: {registry.OFFLINE_VARIABLE} forbids downloads; {do}")
    try:
        entry.path.parent.mkdir(parents=True, exist_ok=True)
        for left in entry.path.parent.glob(f"{_ASIDE}*"):
            with suppress(OSError):  # another process may be faster
                if time.time() - left.stat().st_mtime > _DEAD_AFTER:
                    shutil.rmtree(left)
        # A folder that no other user can write to: nothing can be planted where the file arrives.
        with tempfile.TemporaryDirectory(prefix=_ASIDE, dir=entry.path.parent) as folder:
            arrived = Path(folder) / entry.file
            with arrived.open("xb", buffering=0) as stream:
                download(entry.drive, stream, limits=limits, progress=progress)
            return _admit(arrived, entry.name, entry, origin=entry.page, strict_hash=True)
    except DownloadError as error:
        raise DownloadError(f"{entry.name}: {error}; {entry.by_hand}") from error
    except CheckpointError as error:
        reason = f"what arrived is not this checkpoint and was discarded: {error}".replace(f"{arrived}: ", "")
        raise DownloadError(f"{entry.name}: {reason}; {entry.by_hand}") from error
    except OSError as error:
        do = f"{registry.CACHE_VARIABLE} chooses another folder"
        raise DownloadError(f"{entry.path.parent}: cannot be written ({error.strerror}); {do}") from error


def import_file(path: str | os.PathLike[str], *, name: str | None = None) -> CheckedFile:
    """Copy a file of weights into the cache after a strict check, so that it can be used by name.

    Args:
        path: a file of weights, or a zip archive that holds one.
        name: the name to use. Without it, an official file is recognised by its hash or its file name, and
            any other is called by its own file name without ending.

    Raises:
        CheckpointError: unusable file or name.
    """
    file, known = Path(path), registry.load_registry()
    sha256 = registry.sha256_of(file)
    drive = [entry for entry in known.values() if entry.source == "drive"]
    official = [entry for entry in drive if entry.sha256 == sha256]
    official += [entry for entry in drive if entry.file == file.name]
    entry = known.get(name) if name else next(iter(official), None)
    if entry is not None and entry.source != "drive":
        reason = entry.reason or "ships with glualign and cannot be replaced; import under another --name"
        raise CheckpointError(f"{entry.name}: {reason}")
    chosen = entry.name if entry else name or registry.stem(file)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", chosen):
        do = "choose letters, digits, '.', '-' and '_' with --name"
        raise CheckpointError(f"{chosen!r}: not usable as a name; {do}")
    found = _admit(file, chosen, entry, origin=str(file.resolve()), strict_hash=False)
    for former in registry.imported_files():
        # The same name with another ending, from an earlier import.
        if registry.stem(former) == chosen and former != found.path:
            former.unlink()
            registry.note_path(former).unlink(missing_ok=True)
    return found


def verify(name_or_path: str | os.PathLike[str]) -> CheckedFile:
    """Check a checkpoint completely: readable, of its architecture, every tensor fits and is finite.

    Raises:
        CheckpointError: it is not there, or something is wrong with the content; a different hash alone is
            told by ``hash_state``.
    """
    return _check(registry.find_weights(name_or_path))


def describe(name_or_path: str | os.PathLike[str]) -> dict[str, Any]:
    """Everything a file of weights says: file, hash, storage, configuration, metadata.

    The tensors are read but not put into a network; `verify` does that. Of a registered checkpoint that is
    not on this machine, what the registry says. An unknown name or an unreadable file is a `CheckpointError`.
    """
    entry = registry.load_registry().get(os.fspath(name_or_path))
    if entry is not None and (entry.source == "refused" or not entry.path.is_file()):
        state = f"refused: {entry.reason}" if entry.source == "refused" else "not on this machine"
        facts = {"name": entry.name, "state": state, "model": entry.model, "address": entry.page}
        facts |= {key: getattr(entry, key) for key in ("sha256", "sha256_evidence", "code_licence")}
        return {**{key: value for key, value in facts.items() if value}, "metadata": entry.metadata()}
    from glualign.checkpoints.load import CONFIG_KEY, read_checkpoint

    weights = registry.find_weights(name_or_path)
    checkpoint, note = read_checkpoint(weights.path, weights.entry), registry.read_note(weights.path)
    types = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in checkpoint.state.values())
    return {
        "name": weights.name,
        "file": weights.path,
        "size": weights.path.stat().st_size,
        "sha256": registry.sha256_of(weights.path),
        "storage": checkpoint.kind,
        "tensors": ", ".join(f"{count} {name}" for name, count in sorted(types.items())),
        "parameters": checkpoint.parameters,
        **({"origin": note["origin"]} if note else {}),
        "config": checkpoint.config.to_dict(),
        "metadata": {k: v for k, v in checkpoint.metadata.items() if k not in (CONFIG_KEY, "format")},
    }


def _admit(
    file: Path, name: str, entry: RegistryEntry | None, *, origin: str, strict_hash: bool
) -> CheckedFile:
    """Check ``file`` and put it into the cache under ``name``; ``file`` itself is left where it is."""
    suffix = next((end for end in registry.SUFFIXES[::-1] if file.name.endswith(end)), ".pth")
    final = entry.path if entry else registry.cache_folder() / f"{name}{suffix}"
    with atomic_path(final) as temporary:
        _copy(file, temporary, entry.member if entry else "")
        try:
            found = _check(Weights(name, final, entry), temporary)
        except CheckpointError as error:
            raise CheckpointError(str(error).replace(str(temporary), str(file))) from error
        if strict_hash and entry is not None and entry.sha256 not in ("", found.sha256):
            raise CheckpointError(f"{file}: its SHA-256 is {found.sha256}, not {entry.sha256}")
    note = json.dumps({"sha256": found.sha256, "origin": origin}, indent=2)
    write_text(registry.note_path(final), note + "\n")
    return found


def _copy(file: Path, destination: Path, member: str) -> None:
    """Copy ``file``, or the one file of weights in it when it is a zip archive other than torch's own format.

    Names inside an archive choose the member but no path: nothing else is written anywhere.
    """
    with reading(file, CheckpointError) as stream, ExitStack() as opened:
        source: IO[bytes] = stream
        head = stream.read(262)
        if head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf")) or head[257:] == b"ustar":
            raise CheckpointError("is an archive that is not read; unpack it and import the file in it")
        archive = opened.enter_context(zipfile.ZipFile(stream)) if zipfile.is_zipfile(stream) else None
        names = archive.namelist() if archive else []
        stream.seek(0)
        if archive is not None and not any(name.endswith("/data.pkl") for name in names):
            ends = (f"/{member}",) if member else registry.SUFFIXES
            found = [name for name in names if f"/{name}".endswith(ends)]
            if len(found) != 1:
                listed = f"several candidates ({', '.join(found[:3])})" if found else "none"
                raise CheckpointError(f"of {member or 'files of weights'} the archive holds {listed}")
            if archive.getinfo(found[0]).file_size > _MAX_MEMBER_BYTES:
                raise CheckpointError(f"{found[0]} is larger than 1 GiB, too large for weights")
            # What is read never exceeds the size that the archive claims.
            source = opened.enter_context(archive.open(found[0]))
        with destination.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)


def _check(weights: Weights, file: Path | None = None) -> CheckedFile:
    """Read and build the network strictly; a hash that differs is told, not refused.

    ``file``: where the weights are before they are moved to their path and noted there.
    """
    from glualign.checkpoints.load import build, read_checkpoint  # imports torch, which takes seconds

    place = file or weights.path
    checkpoint = read_checkpoint(place, weights.entry)
    build(checkpoint.state, checkpoint.config, str(place))
    sha256, known = registry.sha256_of(place), weights.entry.sha256 if weights.entry else ""
    noted = sha256 if file else registry.read_note(weights.path).get("sha256")
    state: HashState = "differs" if known or noted else "no record"
    if known == sha256:
        state = "known"
    elif noted == sha256:
        state = "unlike registry" if known else "as recorded"
    size, model = place.stat().st_size, checkpoint.config.model
    return CheckedFile(weights.name, weights.path, sha256, size, state, model, checkpoint.parameters)
