"""Telling whether an input is still the file it was."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Literal, TypedDict

Mode = Literal["mtime", "sha256"]


class Fingerprint(TypedDict, total=False):
    """What the manifest keeps of an input: its size, and its time of change (ns) or its SHA-256."""

    size: int
    mtime_ns: int
    sha256: str


def fingerprint(path: Path, mode: Mode = "mtime") -> Fingerprint:
    """Size in bytes with modification time in ns, or with the SHA-256 of the content.

    A file that is missing or unreadable has an empty fingerprint, which equals that of no readable file; the
    reason comes up when the image is read.
    """
    try:
        if mode == "mtime":
            status = os.stat(path)
            return {"size": status.st_size, "mtime_ns": status.st_mtime_ns}
        with path.open("rb") as file:
            digest = hashlib.sha256()
            size = 0
            while block := file.read(1 << 20):
                digest.update(block)
                size += len(block)
            return {"size": size, "sha256": digest.hexdigest()}
    except OSError:
        return {}
