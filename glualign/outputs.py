"""The files that a result is written to: named, checked and written in this one place."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from glualign.alignment import Alignment, fill_invalid
from glualign.errors import FlowError, ImageError, OutputError
from glualign.files import PathLike, folded, write_text
from glualign.flow import FLOW_EXTENSIONS, Flow, Interpolation, write_flow
from glualign.georeference import write_gcps
from glualign.images import WRITABLE, Image, write_image
from glualign.images.write import check_writable
from glualign.matches import check_matches_path, find_matches, write_matches

Kind = Literal["warped", "flow", "flow_image", "mask", "confidence", "transform", "gcps", "matches"]
DEFAULT_KINDS: tuple[Kind, ...] = ("warped", "flow", "flow_image", "transform")
"""What is written into a folder; the transform only where one was fitted."""
_LONGEST_NAME = 255


@dataclass(frozen=True)
class Outputs:
    """The files that one aligned pair is written to; None: not written.

    Attributes:
        warped: the source on the target's grid.
        flow: target -> source, format by extension.
        flow_image: the flow on the colour wheel.
        mask: 8-bit image, 255 where trusted.
        confidence: 8-bit image, 255 where certain.
        transform: the 3x3 matrix as ``.txt`` or ``.json``.
        gcps: ground control points of the source in QGIS's format; the target is a GeoTIFF.
        matches: point matches, in the form of the extension.
    """

    warped: Path | None = None
    flow: Path | None = None
    flow_image: Path | None = None
    mask: Path | None = None
    confidence: Path | None = None
    transform: Path | None = None
    gcps: Path | None = None
    matches: Path | None = None

    @classmethod
    def in_folder(
        cls,
        folder: PathLike,
        stem: str,
        extension: str,
        *,
        kinds: Collection[str] = DEFAULT_KINDS,
        flow_extension: str = ".flo",
        matches_extension: str = ".csv",
    ) -> Outputs:
        """The ``kinds`` as ``STEM_warped.EXT``, ``STEM_flow.flo``, ``STEM_flow.png`` ... in ``folder``.

        ``extension`` is that of the warped image, as `warped_extension` chooses it.

        Raises:
            OutputError: a kind is unknown.
        """
        names = {
            "warped": f"{stem}_warped{extension}",
            "flow": f"{stem}_flow{flow_extension}",
            "flow_image": f"{stem}_flow.png",
            "mask": f"{stem}_mask.png",
            "confidence": f"{stem}_confidence.png",
            "transform": f"{stem}_transform.txt",
            "gcps": f"{stem}.points",
            "matches": f"{stem}_matches{matches_extension}",
        }
        unknown = set(kinds) - set(names)
        if unknown:
            raise OutputError(f"{', '.join(sorted(unknown))}: not a kind of output; use {', '.join(names)}")
        return cls(**{kind: Path(folder) / name for kind, name in names.items() if kind in kinds})

    def files(self) -> dict[str, Path]:
        """The planned files by kind."""
        return {kind: path for kind, path in vars(self).items() if path is not None}

    def check(
        self, inputs: Iterable[PathLike] = (), *, warped: Image | None = None, beside: Iterable[PathLike] = ()
    ) -> None:
        """Refuse names that cannot work, before time is spent on computing what would go there.

        Args:
            inputs: files that must not be overwritten.
            warped: what will be written as the warped image, from `expected_image`.
            beside: files that are written as well.

        Raises:
            OutputError: as `check_outputs`.
            FlowError: the flow's extension is not a flow format.
            ImageError: an extension is not an image format, or the format cannot hold ``warped``.
        """
        check_outputs([*filter(None, vars(self).values()), *beside], inputs)
        if self.matches:
            check_matches_path(self.matches)
        if self.warped and warped:
            check_writable(self.warped, warped)
        if self.flow and self.flow.suffix.lower() not in FLOW_EXTENSIONS:
            raise FlowError(f"{self.flow}: not a flow format; use one of {' '.join(FLOW_EXTENSIONS)}")
        for path in (self.warped, self.flow_image, self.mask, self.confidence):
            if path and path.suffix.lower() not in WRITABLE:
                raise ImageError(f"{path}: not an image format; use one of {' '.join(WRITABLE)}")

    def write(
        self,
        alignment: Alignment,
        *,
        only_trusted: bool = False,
        quality: int | None = None,
        **drawing: Any,
    ) -> tuple[dict[str, Path], tuple[str, ...]]:
        """Write the planned files; a transform only where one was fitted.

        Args:
            alignment: what to write.
            only_trusted: as in `Alignment.render`; the flow is unknown elsewhere.
            quality: of JPEG, WebP, HEIC and AVIF.
            drawing: further arguments of `Alignment.render`.

        Returns:
            ``(files, notes)``: the files by kind, and what the user should know of metadata left out.

        Raises:
            ImageError: a format cannot hold its image.
            OutputError: a file cannot be written.
        """
        files, notes = {kind: path for kind, path in vars(self).items() if path}, tuple[str, ...]()
        if alignment.transform is None:
            files.pop("transform", None)
        for kind, path in files.items():
            if kind == "warped":
                drawn = alignment.render(only_trusted=only_trusted, **drawing)
                notes = write_image(path, drawn, quality=quality)
                del drawn  # its pixels, while the other files are made
            elif kind == "flow":
                flow = alignment.flow
                if only_trusted:
                    flow = Flow(np.where(alignment.trusted[..., None], flow.data, np.nan), flow.source_size)
                write_flow(path, flow)
            elif kind == "flow_image":
                write_image(path, alignment.flow_picture())
            elif kind in ("mask", "confidence"):
                values = alignment.trusted if kind == "mask" else alignment.confidence
                write_mask(path, values, alignment.target.georeference)
            elif kind == "transform":
                _write_transform(path, alignment)
            elif kind == "gcps":
                write_gcps(path, alignment)
            else:
                write_matches(path, find_matches(alignment))
        return files, notes


def write_mask(path: PathLike, values: Any, georeference: Mapping[int, Any] | None = None) -> None:
    """Write bool, or float from 0 to 1, as an 8-bit grey image from 0 to 255, with a georeference in TIFF."""
    pixels = np.rint(np.asarray(values, np.float32) * 255).astype(np.uint8)
    write_image(path, Image(pixels, georeference=georeference or {}))


def expected_image(
    source: Image,
    target_size: tuple[int, int],
    interpolation: Interpolation | None = None,
    fill: str = "#000000",
) -> Image:
    """An image of the size, depth and channels that the warped source will have, without its pixels."""
    corner = source.replace(source.pixels[:1, :1], ignored=None)
    if interpolation not in (None, "nearest"):
        corner = corner.as_colours()
    filled = fill_invalid(corner, np.zeros((1, 1), np.bool_), fill, corner)
    return filled.replace(np.broadcast_to(filled.pixels, (*target_size, *filled.pixels.shape[2:])))


def warped_extension(name: str, image: Image | None = None) -> str:
    """The extension of a warped image: that of the source's file where it can hold it, else PNG, else TIFF.

    Args:
        name: the source's file name; empty when it comes from no file.
        image: what has to be written, from `expected_image`; None: judge by the name alone.
    """
    own = Path(name).suffix
    if image is None:
        return own if own.lower() in WRITABLE else ".png"
    for extension in (own, ".png"):
        try:
            check_writable(Path(f"x{extension}"), image)
        except ImageError:
            continue
        return extension
    return ".tif"


def is_folder(output: PathLike, extensions: Collection[str]) -> bool:
    """Whether an output names a folder: it exists as one, ends in a slash, or has no extension.

    Raises:
        OutputError: the name ends in an extension that is none of ``extensions``.
    """
    text = os.fspath(output)
    if text.endswith(("/", os.sep)) or os.path.isdir(text):
        return True
    suffix = Path(text).suffix.lower()
    if suffix in extensions:
        return False
    if re.fullmatch(r"\.[a-z][a-z0-9]{0,4}", suffix):
        raise OutputError(
            f"{text}: cannot write {suffix}; use one of {' '.join(extensions)}, "
            f"or end the name of a folder in a slash: {text}/"
        )
    return True


def check_outputs(paths: Iterable[PathLike], inputs: Iterable[PathLike] = ()) -> None:
    """Refuse output files that could not be written or would destroy something.

    Paths are compared as the file system sees them: symbolic and hard links are the file they lead to, and
    two outputs must differ in more than case and Unicode form.

    Raises:
        OutputError: an output is an input, another output, a folder or a device, its name is too long, or
            it lies where nothing can be written.
    """
    taken = {name for path in inputs for name in (os.path.realpath(path), identity(path))} - {None}
    seen: dict[str, Path] = {}
    for path in map(Path, paths):
        if "\0" in str(path):
            raise OutputError(f"{path}: a file name cannot hold a NUL character")
        if taken & {real := os.path.realpath(path), identity(path)}:
            raise OutputError(f"{path}: is an input and would be overwritten; choose another name with -o")
        if os.path.exists(path) and not os.path.isfile(path):
            raise OutputError(f"{path}: is a {'folder' if path.is_dir() else 'device'}; give a file name")
        real = folded(real)
        if real in seen:
            other = "" if seen[real] == path else f" as {seen[real]}"
            raise OutputError(f"{path}: two results have this name{other}; choose another for one of them")
        seen[real] = path
        if (length := max(len(os.fsencode(part)) for part in path.parts)) > _LONGEST_NAME:
            raise OutputError(
                f"{path}: its name is too long ({length} bytes, {_LONGEST_NAME} are allowed); "
                "choose another with -o"
            )
        # The folder may not exist yet: the nearest one that does decides.
        parent = next(filter(os.path.lexists, path.absolute().parents), path.parent)
        if not parent.is_dir():
            raise OutputError(f"{path}: cannot be written ({parent} is a file); choose another folder")
        if not os.access(parent, os.W_OK | os.X_OK):
            raise OutputError(f"{path}: cannot be written (no permission in {parent}); choose another folder")


def identity(path: PathLike) -> tuple[int, int] | None:
    """What all names of one file have in common; None where there is no file, or no such number."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return (found.st_dev, found.st_ino) if found.st_ino else None


def _write_transform(path: Path, alignment: Alignment) -> None:
    """Write the 3x3 matrix, target pixel -> source pixel, as ``.json`` or as rows of text."""
    matrix = alignment.transform
    assert matrix is not None
    text = "\n".join(" ".join(f"{value:.17g}" for value in row) for row in matrix)
    if path.suffix.lower() == ".json":
        content = {
            "direction": "target to source",
            "matrix": matrix.tolist(),
            "source_size": list(alignment.source.size),
            "target_size": list(alignment.target.size),
        }
        text = json.dumps(content, indent=2)
    write_text(path, f"{text}\n")
