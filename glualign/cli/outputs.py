"""Where the results of `warp` and `flow` go: names decided and checked before anything is computed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

from glualign.errors import OutputError


@dataclass(frozen=True)
class Outputs:
    """The files that one aligned pair is written to; None: not written."""

    warped: Path | None = None
    flow: Path | None = None
    flow_image: Path | None = None
    mask: Path | None = None
    matrix: Path | None = None

    def paths(self) -> list[Path]:
        """Every file that will be written."""
        named = (getattr(self, field.name) for field in fields(self))
        return [path for path in named if path is not None]

    def written(self) -> dict[str, str]:
        """What was written, by kind, for ``--json``."""
        return {
            field.name: str(getattr(self, field.name)) for field in fields(self) if getattr(self, field.name)
        }


def is_folder(output: str, file_extensions: Iterable[str]) -> bool:
    """Whether ``-o`` names a folder: one that exists, or a name without one of ``file_extensions``."""
    path = Path(output)
    if output.endswith(("/", os.sep)) or path.is_dir():
        return True
    return path.suffix.lower() not in file_extensions


def check_outputs(paths: Iterable[Path], inputs: Iterable[str]) -> None:
    """Refuse names that cannot work before time is spent on computing what would go there.

    Raises:
        OutputError: an output is an input, another output or a folder, or lies where nothing can be written.
    """
    sources = {os.path.realpath(name) for name in inputs}
    seen: set[str] = set()
    for path in paths:
        real = os.path.realpath(path)
        if real in sources:
            raise OutputError(f"{path}: is an input and would be overwritten; choose another name with -o")
        if real in seen:
            raise OutputError(f"{path}: two results have this name; choose another for one of them")
        if path.is_dir():
            raise OutputError(f"{path}: is a folder; give a file name")
        seen.add(real)
        _check_parent(path)


def _check_parent(path: Path) -> None:
    # The folder may not exist yet: the nearest one that does decides.
    for parent in path.absolute().parents:
        if parent.is_dir():
            if not os.access(parent, os.W_OK | os.X_OK):
                raise OutputError(
                    f"{path}: cannot be written (no permission in {parent}); choose another folder"
                )
            return
        if parent.exists():
            raise OutputError(f"{path}: cannot be written ({parent} is a file); choose another folder")
