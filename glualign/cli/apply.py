"""``glualign apply``: a stored flow on images, masks, labels and keypoints."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glualign.cli.console import warn
from glualign.cli.flow_files import SOURCE_SIZE, errors_about, read, warn_of_guess
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
from glualign.errors import FlowError

if TYPE_CHECKING:
    from glualign.flow import Flow
    from glualign.images import Image

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
    pixels; a point that the other image does not show is left empty (nan where spaces part the columns). -
    is standard input or output, of keypoints with --format csv or json.

    \b
    Examples:
      glualign apply flow.flo source.png -o aligned.png
      glualign apply flow.flo labels.png --interp nearest -o out/
      glualign apply flow.flo channels/ -o out/
      glualign apply flow.npz landmarks.csv -o landmarks_in_target.csv
    """
    from glualign.georeference import map_affine
    from glualign.images import read_image
    from glualign.outputs import check_outputs

    if writing.fill == "target":
        raise click.UsageError("--fill target needs the target image, which apply does not have.")
    jobs = plan(inputs, more["output"] or ".", more["format"], masked=reading.mask_from == "file")
    if more["mask"] and len(jobs) != 1:
        raise click.UsageError(f"--mask is one file and there are {len(jobs)} inputs; give them one by one.")
    points = [_has_points(path) for _, path in jobs]
    _refuse_idle(points, more["format"])
    written = [*(path for _, path in jobs), *filter(None, [more["mask"]])]
    images = [given for given, _ in jobs]
    check_outputs(written, [flow_file, more["georeference"], *images, *reading.companions(*images)])
    flow = read(flow_file, more["source_size"])
    place = None
    if more["georeference"]:
        place = read_image(more["georeference"], max_pixels=None)
        map_affine(place.georeference, place.name)  # what has none is refused
    results = [
        _move_keypoints(flow, given, path, more["points_from"])
        if has_points
        else _warp(flow_file, flow, given, path, writing, reading, place, more["mask"])
        for (given, path), has_points in zip(jobs, points, strict=True)
    ]
    if any(points):
        warn_of_guess(flow_file, flow)
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
    from glualign.keypoints import KEYPOINT_EXTENSIONS
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
    from glualign.keypoints import KEYPOINT_EXTENSIONS

    return Path(path).suffix.lower() in KEYPOINT_EXTENSIONS


def _refuse_idle(points: list[bool], extension: str | None) -> None:
    """Refuse the options that mean nothing for what is moved: all keypoints, or all images."""
    drawing = ("mask", "georeference", *(each.name for each in (*fields(Writing), *fields(Reading))))
    if not _has_points(f"x{extension}"):  # which says what standard input and output are
        drawing += ("format",)
    what, idle = (
        ("Keypoints", drawing) if all(points) else ("Images", () if any(points) else ("points_from",))
    )
    if useless := given_options(idle):
        raise click.UsageError(f"{what} have no use for {useless[0]}; leave it out.")


def _warp(
    flow_file: str,
    flow: Flow,
    given: str,
    written: Path,
    writing: Writing,
    reading: Reading,
    place: Image | None,
    mask: str | None,
) -> dict[str, Any]:
    """Warp one image; what to print about it."""
    from glualign.georeference import resized
    from glualign.images import read_image, write_image
    from glualign.images.write import check_writable
    from glualign.outputs import expected_image, write_mask
    from glualign.rendering import fill_invalid, warp_image

    image = read_image(given, **vars(reading))
    warn(*(f"{image.name}: {note}" for note in image.notes))
    check_writable(written, expected_image(image, flow.size, writing.interpolation, writing.fill))
    with errors_about(given):
        warped, valid = warp_image(image, flow, writing.interpolation)
    share = float(valid.mean())
    if flow.source_size is None and image.size != flow.size and share < _FEWEST_VALID:
        raise FlowError(
            f"{given}: most of the flow points outside of it, and {flow_file} does not say how large "
            "its source is; resize the image to that size, or give --source-size"
        )
    del image  # the source is no longer needed, and may be half of the memory in use
    if writing.fill != "#000000":
        warped = fill_invalid(warped, valid, writing.fill, warped)
    if place is not None:
        moved = resized(place.georeference, place.size, warped.size)
        warped = warped.replace(georeference=moved)
    if mask:
        write_mask(mask, valid, warped)
    del valid
    notes = write_image(written, warped, quality=writing.quality)
    warn(*(f"{written.name}: {note}" for note in notes))
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


def _move_keypoints(flow: Flow, given: str, written: Path, points_from: str) -> dict[str, Any]:
    """Move the points of one file to the other image; what to print about it."""
    import numpy as np

    from glualign.files import write_text
    from glualign.flow import to_source, to_target
    from glualign.keypoints import read_keypoints

    points, text_with = read_keypoints(given, points_from)
    into, move = ("target", to_target) if points_from == "source" else ("source", to_source)
    known, moved = ~np.isnan(points).any(axis=1), np.full_like(points, np.nan)
    moved[known] = move(flow, points[known])
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
