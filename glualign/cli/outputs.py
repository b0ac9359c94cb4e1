"""Where the results of `warp` and `flow` go: names decided and checked before anything is computed."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from glualign.cli.options import WITHOUT_MATRIX
from glualign.errors import FlowError, ImageError, OutputError

OPAQUE = frozenset({".jpg", ".jpeg", ".jpe", ".bmp", ".ppm", ".pgm", ".pnm"})  # formats without alpha


@dataclass(frozen=True)
class Outputs:
    """The files that one aligned pair is written to; None: not written."""

    warped: Path | None = None
    flow: Path | None = None
    flow_image: Path | None = None
    mask: Path | None = None
    transform: Path | None = None

    def paths(self) -> list[Path]:
        """Every file that will be written."""
        named = (getattr(self, field.name) for field in fields(self))
        return [path for path in named if path is not None]

    def check(self, *inputs: str) -> None:
        """Refuse names that cannot work, before time is spent on computing what would go there.

        Raises:
            OutputError: as `check_outputs`.
            FlowError: the flow's extension is not a flow format.
            ImageError: the extension of a picture is not an image format that can be written.
        """
        from glualign.flow import FLOW_EXTENSIONS
        from glualign.images import WRITABLE

        check_outputs(self.paths(), inputs)
        if self.flow and self.flow.suffix.lower() not in FLOW_EXTENSIONS:
            raise FlowError(f"{self.flow}: not a flow format; use one of {' '.join(FLOW_EXTENSIONS)}")
        for path in (self.warped, self.flow_image, self.mask):
            if path and path.suffix.lower() not in WRITABLE:
                raise ImageError(f"{path}: not an image format; use one of {' '.join(WRITABLE)}")

    def written(self) -> dict[str, str]:
        """What was written, by kind, for ``--json``."""
        return {
            field.name: str(getattr(self, field.name)) for field in fields(self) if getattr(self, field.name)
        }


def plan_outputs(source: str, options: Mapping[str, Any]) -> Outputs:
    """The files that ``glualign warp`` writes for these options.

    ``-o`` is the warped image's file when it ends in an image extension and is no folder; otherwise it is a
    folder, and the names start with the source's stem.
    """
    from glualign.images import WRITABLE

    output, extension = options["output"], Path(source).suffix.lower()
    if is_folder(output, WRITABLE):
        folder, stem = Path(output), Path(source).stem
        keeps = extension in WRITABLE and not (options["fill"] == "transparent" and extension in OPAQUE)
        warped = folder / f"{stem}_warped{Path(source).suffix if keeps else '.png'}"
    else:
        warped = Path(output)
        folder, stem = warped.parent, warped.stem

    def named(given: str | None, default: str, wanted: bool) -> Path | None:
        if given is not None:
            return Path(given)
        return folder / f"{stem}_{default}" if wanted else None

    return Outputs(
        warped=None if options["no_warped"] else warped,
        flow=named(options["flow_path"], "flow.flo", not options["no_flow"]),
        flow_image=named(options["flow_image"], "flow.png", not options["no_flow_image"]),
        mask=named(options["mask_path"], "", False),
        transform=named(options["matrix"], "transform.txt", options["transform"] not in WITHOUT_MATRIX),
    )


def is_folder(output: str, extensions: Container[str]) -> bool:
    """Whether ``-o`` names a folder: one that exists, or a name without one of these file extensions."""
    if output.endswith(("/", os.sep)) or Path(output).is_dir():
        return True
    return Path(output).suffix.lower() not in extensions


def check_outputs(paths: Iterable[Path], inputs: Iterable[str]) -> None:
    """Refuse output files that could not be written or would destroy something.

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
