"""``glualign apply``: a stored flow on images, masks, labels and keypoints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from glualign.cli.flow_files import read, source_size_option
from glualign.cli.keypoints import KEYPOINT_EXTENSIONS
from glualign.cli.options import (
    Options,
    Reading,
    Telling,
    Writing,
    mask_option,
    reading_options,
    verbosity_options,
    writing_options,
)
from glualign.cli.streams import format_option, streamable
from glualign.errors import FlowError

# Share of valid pixels below which an image of another size than the flow is not taken for its source: a copy
# of half the width and height reaches 0.25.
_FEWEST_VALID = 0.5


@dataclass(frozen=True)
class Applying(Options):
    """What to do to each input."""

    flow_file: str
    mask: str | None
    points_from: str
    source_size: tuple[int, int] | None
    georeference: str | None


@click.command(short_help="Warp other images, masks or points by a flow file.")
@click.argument("flow_file", metavar="FLOW", type=click.Path(allow_dash=True))
@click.argument("inputs", metavar="IMAGE...", nargs=-1, required=True, type=click.Path(allow_dash=True))
@click.option(
    "-o",
    "--output",
    show_default="the current folder",
    metavar="DIR|FILE|-",
    help="Folder for the results, named STEM_warped.EXT; or one file when there is one input.",
)
@format_option
@mask_option
@click.option(
    "--points-from",
    type=click.Choice(["source", "target"]),
    default="source",
    help="Image the keypoints are given in; they are moved to the other one.",
)
@source_size_option
@click.option(
    "--georeference",
    type=click.Path(),
    metavar="FILE",
    help="The GeoTIFF that was the target, at any size: results written as TIFF get its georeference.",
)
@writing_options
@reading_options
@verbosity_options
@streamable("flow_file", "inputs", default=".png")
def command(inputs: tuple[str, ...], output: str | None, **options: Any) -> None:
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

    applying, reading, writing = Applying.of(options), Reading.of(options), Writing.of(options)
    telling = Telling.of(options)
    if writing.fill == "target":
        raise click.UsageError("--fill target needs the target image, which apply does not have.")
    jobs = plan(inputs, output or ".", options["format"])
    mask = applying.mask
    if mask and len(jobs) != 1:
        raise click.UsageError(f"--mask is one file and there are {len(jobs)} inputs; give them one by one.")
    written = [path for _, path in jobs]
    check_outputs([*written, mask] if mask else written, [applying.flow_file, *(given for given, _ in jobs)])
    results = [
        move_keypoints(given, path, applying)
        if has_points(path)
        else apply_to_image(given, path, applying, reading, writing, quiet=telling.quiet)
        for given, path in jobs
    ]
    telling.tell(
        {"flow": applying.flow_file, "results": results},
        lambda: [(result["kind"], f"{result['output']}  ({result['summary']})") for result in results],
    )


def plan(inputs: tuple[str, ...], output: str, extension: str | None) -> list[tuple[str, Path]]:
    """Which file goes where, folders expanded.

    Raises:
        GlualignError: a folder without images.
        OutputError: the output's extension cannot be written.
        UsageError: several inputs and one output file, or an image and a file of keypoints.
    """
    from glualign.batch.listing import list_images
    from glualign.images import WRITABLE
    from glualign.outputs import is_folder, warped_extension

    files: list[str] = []
    for given in inputs:
        names = list_images(given).names if Path(given).is_dir() else ()
        files += [str(Path(given) / name) for name in names] or [given]
    if is_folder(output, (*WRITABLE, *KEYPOINT_EXTENSIONS)):
        jobs = []
        for given in files:
            ending = Path(given).suffix if has_points(given) else extension or warped_extension(given)
            jobs.append((given, Path(output) / f"{Path(given).stem}_warped{ending}"))
        return jobs
    if len(files) != 1:
        raise click.UsageError(f"{len(files)} inputs do not fit into one file; give a folder with -o.")
    if has_points(files[0]) != has_points(output):
        raise click.UsageError(f"{files[0]} does not fit into {output}: keypoints go to .csv or .json.")
    return [(files[0], Path(output))]


def has_points(path: str | Path) -> bool:
    """Whether a file holds keypoints, by its extension."""
    return Path(path).suffix.lower() in KEYPOINT_EXTENSIONS


def apply_to_image(
    given: str, written: Path, applying: Applying, reading: Reading, writing: Writing, *, quiet: bool
) -> dict[str, Any]:
    """Warp one image; the image is read in strips where its size asks for it.

    Returns:
        What to tell about it.
    """
    from glualign.cli.console import print_notes
    from glualign.fill import fill_invalid, warp_image
    from glualign.flow import read_flow
    from glualign.georeference import map_affine, resized
    from glualign.images import read_image, write_image
    from glualign.images.write import check_writable
    from glualign.outputs import expected_image, write_mask

    place = read_image(applying.georeference, max_pixels=None) if applying.georeference else None
    (image,) = reading.images(given, quiet=quiet, matched=False)
    size = applying.source_size
    flow = read(applying.flow_file, size) if size else read_flow(applying.flow_file)
    check_writable(written, expected_image(image, flow.size, writing.interpolation, writing.fill))
    warped, valid = warp_image(image, flow, writing.interpolation)
    if flow.source_size is None and image.size != flow.size and valid.mean() < _FEWEST_VALID:
        raise FlowError(
            f"{given}: most of the flow points outside of it, and {applying.flow_file} does not say how "
            "large its source is; resize the image to that size, or give --source-size"
        )
    del image  # the source is no longer needed, and may be half of the memory in use
    if writing.fill != "#000000":
        warped = fill_invalid(warped, valid, writing.fill, warped)
    if place is not None:
        map_affine(place.georeference, place.name)
        warped = warped.replace(
            warped.pixels, georeference=resized(place.georeference, place.size, warped.size)
        )
    share = float(valid.mean())
    if applying.mask:
        write_mask(applying.mask, valid, warped.georeference)
    del valid
    print_notes(written.name, write_image(written, warped, quality=writing.quality), show=not quiet)
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


def move_keypoints(given: str, written: Path, applying: Applying) -> dict[str, Any]:
    """Move the points of one file to the other image; returns what to tell about it."""
    import numpy as np

    from glualign.cli.keypoints import read_keypoints
    from glualign.files import write_text
    from glualign.flow import to_source, to_target

    keypoints = read_keypoints(given, applying.points_from)
    flow = read(applying.flow_file, applying.source_size)
    points = np.array(keypoints.points)
    known = ~np.isnan(points).any(axis=1)
    moved = np.full_like(points, np.nan)
    moved[known] = (to_target if applying.points_from == "source" else to_source)(flow, points[known])
    found = [None if np.isnan(x) else (float(x), float(y)) for x, y in moved]
    write_text(written, keypoints.render(found))
    count = sum(point is not None for point in found)
    into = "target" if applying.points_from == "source" else "source"
    return {
        "kind": "keypoints",
        "input": given,
        "output": str(written),
        "points": len(found),
        "moved": count,
        "direction": f"{applying.points_from} -> {into}",
        "summary": f"{count} of {len(found)} points, now in {into} pixels",
    }
