"""``glualign apply``: a stored flow on images, masks, labels and keypoints."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glualign.cli.console import warn
from glualign.cli.flow_files import SOURCE_SIZE, errors_about, read, read_sized
from glualign.cli.options import (
    FORMAT,
    MASK,
    PATH,
    Printing,
    Reading,
    Writing,
    command,
    given_options,
    option,
)
from glualign.errors import FlowError, GlualignError

if TYPE_CHECKING:
    from glualign.arrays import Doubles

KEYPOINT_EXTENSIONS = (".csv", ".json")
_LONGEST_FILE = 1 << 29  # bytes
# Share of valid pixels below which an image of another size than the flow is not taken for its source: a copy
# of half the width and height reaches 0.25.
_FEWEST_VALID = 0.5


@command(
    click.Argument(["flow_file"], metavar="FLOW", type=PATH),
    click.Argument(["inputs"], metavar="IMAGE...", nargs=-1, required=True, type=PATH),
    option(
        "-o, --output DIR|FILE|-  Folder for the results, named STEM_warped.EXT; or one file when there is "
        "one input.",
        show_default="the current folder",
    ),
    FORMAT,
    MASK,
    option(
        "--points-from [source|target]  Image the keypoints are given in; they are moved to the other one.",
        default="source",
    ),
    SOURCE_SIZE,
    option(
        "--georeference FILE  The GeoTIFF that was the target, at any size: results written as TIFF get its "
        "georeference."
    ),
    Writing,
    Reading,
    Printing,
    stdout=".png",
    short_help="Warp other images, masks or points by a flow file.",
)
def apply(
    inputs: tuple[str, ...],
    flow_file: str,
    writing: Writing,
    reading: Reading,
    printing: Printing,
    **more: Any,
) -> None:
    """Apply FLOW (target -> source) to each IMAGE of the source: the result lies on the target's grid.

    IMAGE is an image, a folder of images, or a .csv or .json file of keypoints. Images keep their depth,
    channels, profile and EXIF; labels (indexed, 1-bit and 32-bit integer images) are warped with nearest
    unless --interp says otherwise; for masks and labels in 8-bit grey use --interp nearest. Keypoints in
    source pixels are moved to target pixels (through the inverse of FLOW), those in target pixels to source
    pixels; a point that the other image does not show is left empty. - is standard input or output.

    \b
    Examples:
      glualign apply flow.flo source.png -o aligned.png
      glualign apply flow.flo labels.png --interp nearest -o out/
      glualign apply flow.flo channels/ -o out/
      glualign apply flow.npz landmarks.csv -o landmarks_in_target.csv
    """
    from glualign.outputs import check_outputs

    if writing.fill == "target":
        raise click.UsageError("--fill target needs the target image, which apply does not have.")
    jobs = plan(inputs, more["output"] or ".", more["format"], masked=reading.mask_from == "file")
    if more["mask"] and len(jobs) != 1:
        raise click.UsageError(f"--mask is one file and there are {len(jobs)} inputs; give them one by one.")
    _refuse_idle([_has_points(path) for _, path in jobs])
    written = [*(path for _, path in jobs), *filter(None, [more["mask"]])]
    images = [given for given, _ in jobs]
    check_outputs(written, [flow_file, more["georeference"], *images, *reading.companions(*images)])
    results = [
        _move_keypoints(flow_file, given, path, more["source_size"], more["points_from"])
        if _has_points(path)
        else _warp(flow_file, given, path, writing, reading, **more)
        for given, path in jobs
    ]
    printing.print_summary(
        {"flow": flow_file, "results": results},
        [(result["kind"], f"{result['output']}  ({result['summary']})") for result in results],
    )


def plan(
    inputs: tuple[str, ...], output: str, extension: str | None, *, masked: bool = False
) -> list[tuple[str, Path]]:
    """Which file goes where, folders expanded, without the masks of images that are ``masked`` by files."""
    from glualign.batch.listing import list_images
    from glualign.images import WRITABLE
    from glualign.outputs import is_folder, warped_extension

    files: list[str] = []
    for given in inputs:
        names = list_images(given, masks=not masked).names if os.path.isdir(given) else ()
        files += [str(Path(given) / name) for name in names] or [given]
    if is_folder(output, (*WRITABLE, *KEYPOINT_EXTENSIONS)):
        jobs = []
        for given in files:
            ending = Path(given).suffix if _has_points(given) else extension or warped_extension(given)
            jobs.append((given, Path(output) / f"{Path(given).stem}_warped{ending}"))
        return jobs
    if len(files) != 1:
        raise click.UsageError(f"{len(files)} inputs do not fit into one file; give a folder with -o.")
    kinds = {Path(each).suffix.lower() if _has_points(each) else "" for each in (files[0], output)}
    if len(kinds) > 1:
        raise click.UsageError(
            f"{files[0]} does not fit into {output}: images go to images, keypoints to their own format."
        )
    return [(files[0], Path(output))]


def _has_points(path: str | Path) -> bool:
    return Path(path).suffix.lower() in KEYPOINT_EXTENSIONS


def _refuse_idle(points: list[bool]) -> None:
    """Refuse the options that mean nothing for what is moved: all keypoints, or all images."""
    drawing = (
        "format",
        "mask",
        "georeference",
        *(each.name for each in (*fields(Writing), *fields(Reading))),
    )
    what, idle = (
        ("Keypoints", drawing) if all(points) else ("Images", () if any(points) else ("points_from",))
    )
    if useless := given_options(idle):
        raise click.UsageError(f"{what} have no use for {useless[0]}; leave it out.")


def _warp(
    flow_file: str, given: str, written: Path, writing: Writing, reading: Reading, **more: Any
) -> dict[str, Any]:
    """Warp one image; what to print about it."""
    from glualign.alignment import fill_invalid, warp_image
    from glualign.georeference import map_affine, resized
    from glualign.images import read_image, write_image
    from glualign.images.write import check_writable
    from glualign.outputs import expected_image, write_mask

    place = read_image(more["georeference"], max_pixels=None) if more["georeference"] else None
    image = read_image(given, **vars(reading))
    for note in image.notes:
        warn(f"{image.name}: {note}")
    flow = read(flow_file, more["source_size"])
    check_writable(written, expected_image(image, flow.size, writing.interpolation, writing.fill))
    with errors_about(given):
        warped, valid = warp_image(image, flow, writing.interpolation)
    share = float(valid.mean())
    if flow.source_size is None and image.size != flow.size and share < _FEWEST_VALID:
        raise FlowError(
            f"{given}: most of the flow points outside of it, and {flow_file} does not say how "
            "large its source is; resize the image to that size, or give --source-size"
        )
    del image  # the source is no longer needed, and may be half of the memory in use
    if writing.fill != "#000000":
        warped = fill_invalid(warped, valid, writing.fill, warped)
    if place is not None:
        map_affine(place.georeference, place.name)
        moved = resized(place.georeference, place.size, warped.size)
        warped = warped.replace(warped.pixels, georeference=moved)
        if written.suffix.lower() not in (".tif", ".tiff"):
            warn(f"{written.name}: holds no georeference, which TIFF alone keeps")
    if more["mask"]:
        write_mask(more["mask"], valid, warped)
    del valid
    notes = write_image(written, warped, quality=writing.quality)
    for note in notes:
        warn(f"{written.name}: {note}")
    return {
        "kind": "image",
        "input": given,
        "output": str(written),
        "width": warped.width,
        "height": warped.height,
        "pixels": warped.kind,
        "valid_share": share,
        "summary": f"{warped.width} x {warped.height}, {warped.kind}, {share:.1%} valid",
    }


def _move_keypoints(
    flow_file: str, given: str, written: Path, source_size: tuple[int, int] | None, points_from: str
) -> dict[str, Any]:
    """Move the points of one file to the other image; what to print about it."""
    import numpy as np

    from glualign.files import write_text
    from glualign.flow import to_source, to_target

    points, text_with = read_keypoints(given, points_from)
    into, move = ("target", to_target) if points_from == "source" else ("source", to_source)
    known, moved = ~np.isnan(points).any(axis=1), np.full_like(points, np.nan)
    moved[known] = move(read_sized(flow_file, source_size), points[known])
    write_text(written, text_with(moved))
    count = int((~np.isnan(moved[:, 0])).sum())
    return {
        "kind": "keypoints",
        "input": given,
        "output": str(written),
        "points": len(points),
        "moved": count,
        "direction": f"{points_from} -> {into}",
        "summary": f"{count} of {len(points)} points, now in {into} pixels",
    }


def read_keypoints(path: str, frame: str = "source") -> tuple[Doubles, Callable[[Doubles], str]]:
    """Read a CSV (columns x and y, or ``frame`` _x and _y, by header, or the first two) or a JSON file.

    JSON is a list of points, or an object with a list ``keypoints`` or ``points``; a point is ``[x, y, ...]``
    or ``{"x": ..., "y": ...}``.

    Returns:
        ``(points, text_with)``: ``(N, 2)`` float64 in pixels, NaN for a point without position (an empty
        cell, nan, null), and what makes the file's text with other points.
    """
    import numpy as np

    from glualign.files import read_bytes

    try:
        text = read_bytes(path, _LONGEST_FILE).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise GlualignError(f"{path}: is not text in UTF-8") from error
    form: Callable[[float], Any]
    if Path(path).suffix.lower() == ".json":
        cells, dump = _from_json(text, path)
        empty, form = None, partial(round, ndigits=4)
    else:
        cells, dump = _from_csv(text, path, frame)
        empty, form = "", "{:.4f}".format
    if not cells:
        raise GlualignError(f"{path}: holds no keypoints")
    points = [[_number(item[key], f"{path}: {where}") for key in keys] for where, item, keys in cells]

    def text_with(moved: Doubles) -> str:
        for (_, item, keys), point in zip(cells, moved.tolist(), strict=True):
            for key, value in zip(keys, point, strict=True):
                item[key] = empty if math.isnan(value) else form(value)
        return dump()

    return np.array(points), text_with


Cells = list[tuple[str, Any, tuple[Any, Any]]]
"""Points of a document: for messages, the list or object that holds one, and its keys of x and y there."""


def _from_csv(text: str, path: str, frame: str) -> tuple[Cells, Callable[[], str]]:
    delimiter = ","
    with suppress(csv.Error):
        delimiter = csv.Sniffer().sniff(text[:4096], ",;\t ").delimiter
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row]
    except csv.Error as error:
        raise GlualignError(f"{path}: cannot be read as CSV ({error})") from error
    keys, first = (0, 1), 0
    try:
        [float(cell or "nan") for row in rows[:1] for cell in row[:2]]
    except ValueError:  # a header
        names = [name.strip().lower() for name in rows[0]]
        columns = ("x", "y") if "x" in names else (f"{frame}_x", f"{frame}_y")
        if not set(columns) <= set(names):
            raise GlualignError(
                f"{path}: its header has no columns x and y (it has {', '.join(rows[0])})"
            ) from None
        keys, first = (names.index(columns[0]), names.index(columns[1])), 1
    cells: Cells = [(f"row {line}", row, keys) for line, row in enumerate(rows, 1)][first:]
    if short := [where for where, row, _ in cells if len(row) <= max(keys)]:
        raise GlualignError(f"{path}: {short[0]} has no x and y")

    def dump() -> str:
        out = io.StringIO()
        csv.writer(out, delimiter=delimiter, lineterminator="\n").writerows(rows)
        return out.getvalue()

    return cells, dump


def _from_json(text: str, path: str) -> tuple[Cells, Callable[[], str]]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise GlualignError(f"{path}: is not valid JSON ({error})") from error
    listed = document
    if isinstance(document, dict):
        listed = document.get("keypoints", document.get("points"))
    if not isinstance(listed, list):
        raise GlualignError(f"{path}: is not a list of points, nor an object with 'keypoints' or 'points'")
    cells: Cells = []
    for number, item in enumerate(listed):
        if isinstance(item, dict) and {"x", "y"} <= item.keys():
            cells.append((f"point {number}", item, ("x", "y")))
        elif isinstance(item, list) and len(item) >= 2:
            cells.append((f"point {number}", item, (0, 1)))
        else:
            raise GlualignError(f"{path}: point {number} is neither [x, y] nor an object with x and y")
    # A lone surrogate is text in JSON, but not in UTF-8.
    ascii_only = re.search(r"\\u[dD][89a-fA-F]", text) is not None
    return cells, lambda: json.dumps(document, ensure_ascii=ascii_only, indent=1) + "\n"


def _number(value: Any, where: str) -> float:
    """A coordinate; NaN for what marks a point without position."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return math.nan
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.inf
    if math.isinf(number):
        raise GlualignError(f"{where}: {str(value)[:40]!r} is not a coordinate")
    return number
