"""The files that a result is written to: named, checked and written in this one place."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from glualign.errors import FlowError, ImageError, OutputError
from glualign.files import MASK_ENDING, PathLike, folded, write_text
from glualign.flow import FLOW_EXTENSIONS, Flow, Interpolation, write_flow
from glualign.georeference import write_gcps
from glualign.images import WRITABLE, Image, write_image
from glualign.images.write import check_writable
from glualign.matches import check_matches_path, find_matches, write_matches
from glualign.rendering import fill_invalid, warp_image
from glualign.report.page import page_templates
from glualign.viz.colors import flow_to_rgb, scale_of

if TYPE_CHECKING:
    from glualign.alignment import Alignment

DEFAULT_KINDS = ("warped", "flow", "flow_image", "transform")
"""What is written into a folder; the transform only where one was fitted."""
_ENDINGS = {"transform": (".txt", ".json"), "gcps": (".points", ".csv"), "report": (".html", ".htm")}
_LONGEST_NAME = 255


def name_outputs(
    folder: PathLike,
    stem: str,
    warped: str | Image,
    *,
    kinds: Collection[str] = DEFAULT_KINDS,
    flow_extension: str = ".flo",
    matches_extension: str = ".csv",
) -> dict[str, Path]:
    """Files by kind: ``STEM_warped.EXT``, ``STEM_flow.flo``, ``STEM_flow.png`` ... in ``folder``.

    ``warped`` is the extension of the warped image, or that image from `expected_image`, for which
    `warped_extension` chooses. An unknown kind is an `OutputError`, as are two kinds that would be one file.
    """
    extension = warped if isinstance(warped, str) else warped_extension(warped.path or "", warped)
    names = {
        "warped": f"_warped{extension}",
        "flow": f"_flow{flow_extension}",
        "flow_image": "_flow.png",
        "mask": MASK_ENDING,
        "confidence": "_confidence.png",
        "transform": "_transform.txt",
        "gcps": ".points",
        "matches": f"_matches{matches_extension}",
    }
    if isinstance(kinds, str):
        raise OutputError(f"{kinds!r}: give a list of kinds of output, such as [{kinds!r}]")
    if wrong := next(
        (each for each in (extension, flow_extension, matches_extension) if each[:1] != "."), ""
    ):
        raise OutputError(f"{wrong!r}: an extension begins with a dot, such as '.{wrong}'")
    if unknown := sorted(set(kinds) - set(names)):
        raise OutputError(f"{', '.join(unknown)}: not a kind of output; use {', '.join(names)}")
    if {"flow", "flow_image"} <= set(kinds) and folded(names["flow"]) == folded(names["flow_image"]):
        raise OutputError(f"flow and flow-image would both be {stem}_flow.png; choose another --flow-format")
    return {kind: Path(folder, f"{stem}{name}") for kind, name in names.items() if kind in kinds}


def write_outputs(
    files: Mapping[str, Path],
    alignment: Alignment,
    *,
    only_trusted: bool = False,
    quality: int | None = None,
    **drawing: Any,
) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Write an alignment; a transform only where one was fitted, else a former file of it is removed.

    Args:
        files: by kind: ``warped``, the source on the target's grid; ``flow``, target -> source;
            ``flow_image``, the flow on the colour wheel; ``mask`` and ``confidence``, 8-bit images, 255 where
            trusted and certain; ``transform``, the 3x3 matrix as ``.txt`` or ``.json``; ``gcps``, ground
            control points of the source in QGIS's format, for a GeoTIFF target; ``matches``, point matches.
            Files of other kinds are left to the caller.
        alignment: what to write.
        only_trusted: as in `Alignment.render`; the flow is unknown elsewhere, also in its picture.
        quality: of JPEG, WebP, HEIC and AVIF.
        drawing: further arguments of `Alignment.render`.

    Returns:
        ``(written, notes)``: the files written, and what the user should know of metadata left out, by file.

    Raises:
        ImageError: a format cannot hold its image.
        OutputError: a file cannot be written.
    """
    written, notes = dict(files), tuple[str, ...]()
    if alignment.transform is None and (former := written.pop("transform", None)):
        former.unlink(missing_ok=True)  # true of another result
    for kind, path in written.items():
        if kind == "warped":
            drawn = alignment.render(only_trusted=only_trusted, **drawing)
            notes = tuple(f"{path.name}: {note}" for note in write_image(path, drawn, quality=quality))
            del drawn  # its pixels, while the other files are made
        elif kind in ("flow", "flow_image"):
            flow = alignment.flow
            if only_trusted:
                flow = Flow(np.where(alignment.trusted[..., None], flow.data, np.nan), flow.source_size)
            if kind == "flow":
                write_flow(path, flow)
            else:
                write_image(path, flow_to_rgb(flow, scale_of(flow)))
        elif kind in ("mask", "confidence"):
            values = alignment.trusted if kind == "mask" else alignment.confidence
            write_mask(path, values, alignment.target)
        elif kind == "transform":
            _write_transform(path, alignment)
        elif kind == "gcps":
            write_gcps(path, alignment)
        elif kind == "matches":
            write_matches(path, find_matches(alignment))
    return written, notes


def write_mask(path: PathLike, values: Any, target: Image) -> None:
    """Write bool, or float from 0 to 1, of a target's pixels as an 8-bit grey image from 0 to 255."""
    pixels = np.rint(np.asarray(values, np.float32) * 255).astype(np.uint8)
    write_image(path, Image(pixels).on_grid_of(target))


def expected_image(
    source: Image,
    target_size: tuple[int, int],
    interpolation: Interpolation | None = None,
    fill: str = "#000000",
) -> Image:
    """An image of the size, depth and channels that the warped source will have, without its pixels."""
    corner = source.replace(source.pixels[:1, :1], ignored=None)
    warped, _ = warp_image(corner, Flow(np.zeros((1, 1, 2), np.float32)), interpolation)
    filled = fill_invalid(warped, np.zeros((1, 1), np.bool_), fill, corner)
    return filled.replace(np.broadcast_to(filled.pixels, (*target_size, *filled.pixels.shape[2:])))


def warped_extension(name: PathLike, image: Image | None = None) -> str:
    """The extension of a warped image: that of the source's file where it can hold it, else PNG, else TIFF.

    ``image`` is what has to be written, from `expected_image`; None: judge by the file's name alone.
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

    An `OutputError` says that the name ends in an extension that is none of ``extensions``.
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


def check_outputs(
    files: Mapping[str, PathLike] | Iterable[PathLike],
    inputs: Iterable[PathLike | None] = (),
    *,
    warped: Image | None = None,
) -> None:
    """Refuse output files that could not be written or would destroy something, before anything is computed.

    Paths are compared as the file system sees them: symbolic and hard links are the file they lead to, and
    two outputs must differ in more than case and Unicode form.

    Args:
        files: the outputs; by kind, as for `write_outputs`, to have their formats checked as well.
        inputs: files that must not be overwritten, or None for none.
        warped: what will be written as the warped image, from `expected_image`.

    Raises:
        OutputError: an output is an input, another output, a folder or a device, its name is too long, or
            it lies where nothing can be written; or a file of its kind has another ending.
        MissingExtraError: a report without Jinja2, matches in ``.h5`` without h5py.
        FlowError: the flow's extension is not a flow format.
        ImageError: an extension is not an image format, or the format cannot hold ``warped``.
    """
    kinds = {kind: Path(path) for kind, path in files.items()} if isinstance(files, Mapping) else {}
    given = [path for path in inputs if path is not None]
    taken = {name for path in given for name in (os.path.realpath(path), file_number(path))} - {None}
    seen: dict[str, Path] = {}
    for path in kinds.values() or map(Path, files):
        if "\0" in str(path):
            raise OutputError(f"{path}: a file name cannot hold a NUL character")
        if str(path) == "-":
            raise OutputError("-: this result cannot go to standard output; name a file")
        if taken & {real := os.path.realpath(path), file_number(path)}:
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
    check_formats(kinds, warped=warped)


def check_formats(kinds: Mapping[str, Path], *, warped: Image | None = None) -> None:
    """Refuse files by kind, by their names alone, whose format cannot be written; as `check_outputs` does."""
    for kind, path in kinds.items():
        suffix = path.suffix.lower()
        if kind == "matches":
            check_matches_path(path)
        elif kind == "warped" and warped:
            check_writable(path, warped)
        elif kind == "flow" and suffix not in FLOW_EXTENSIONS:
            raise FlowError(f"{path}: not a flow format; use one of {' '.join(FLOW_EXTENSIONS)}")
        elif kind in ("warped", "flow_image", "mask", "confidence") and suffix not in WRITABLE:
            raise ImageError(f"{path}: not an image format; use one of {' '.join(WRITABLE)}")
        elif kind in _ENDINGS and suffix not in _ENDINGS[kind]:
            raise OutputError(f"{path}: is written as {' or '.join(_ENDINGS[kind])}; end its name in that")
        elif kind == "report":
            page_templates()


def file_number(path: PathLike) -> tuple[int, int] | None:
    """What all names of one file have in common; None where there is no file, or no such number."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return (found.st_dev, found.st_ino) if found.st_ino else None


def _write_transform(path: Path, alignment: Alignment) -> None:
    """Write the 3x3 matrix, target pixel -> source pixel, as ``.json`` or as rows of text."""
    rows = [] if alignment.transform is None else alignment.transform.tolist()
    text = "\n".join(" ".join(f"{value:.17g}" for value in row) for row in rows)
    if path.suffix.lower() == ".json":
        sizes = {"source_size": alignment.source.size, "target_size": alignment.target.size}
        text = json.dumps({"direction": "target to source", "matrix": rows, **sizes}, indent=2)
    write_text(path, f"{text}\n")
