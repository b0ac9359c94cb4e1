"""``glualign apply``: a stored flow on images, masks, labels and keypoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from glualign.cli.console import warn
from glualign.cli.flow_files import SOURCE_SIZE, read
from glualign.cli.keypoints import KEYPOINT_EXTENSIONS
from glualign.cli.options import FORMAT, MASK, Reading, Telling, Writing, command, option
from glualign.errors import FlowError

# Share of valid pixels below which an image of another size than the flow is not taken for its source: a copy
# of half the width and height reaches 0.25.
_FEWEST_VALID = 0.5


@command(
    click.Argument(["flow_file"], metavar="FLOW", type=click.Path(allow_dash=True)),
    click.Argument(["inputs"], metavar="IMAGE...", nargs=-1, required=True, type=click.Path(allow_dash=True)),
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
    Telling,
    stdin=("flow_file", "inputs"),
    stdout=".png",
    short_help="Warp other images, masks or points by a flow file.",
)
def apply(
    inputs: tuple[str, ...], flow_file: str, writing: Writing, reading: Reading, telling: Telling, **more: Any
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
    jobs = plan(inputs, more["output"] or ".", more["format"])
    if more["mask"] and len(jobs) != 1:
        raise click.UsageError(f"--mask is one file and there are {len(jobs)} inputs; give them one by one.")
    written = [*(path for _, path in jobs), *filter(None, [more["mask"]])]
    check_outputs(written, [flow_file, *(given for given, _ in jobs)])
    results = [
        _move_keypoints(flow_file, given, path, more["source_size"], more["points_from"])
        if _has_points(path)
        else _warp(flow_file, given, path, writing, reading, quiet=telling.quiet, **more)
        for given, path in jobs
    ]
    telling.tell(
        {"flow": flow_file, "results": results},
        [(result["kind"], f"{result['output']}  ({result['summary']})") for result in results],
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
            ending = Path(given).suffix if _has_points(given) else extension or warped_extension(given)
            jobs.append((given, Path(output) / f"{Path(given).stem}_warped{ending}"))
        return jobs
    if len(files) != 1:
        raise click.UsageError(f"{len(files)} inputs do not fit into one file; give a folder with -o.")
    if _has_points(files[0]) != _has_points(output):
        raise click.UsageError(f"{files[0]} does not fit into {output}: keypoints go to .csv or .json.")
    return [(files[0], Path(output))]


def _has_points(path: str | Path) -> bool:
    return Path(path).suffix.lower() in KEYPOINT_EXTENSIONS


def _warp(
    flow_file: str, given: str, written: Path, writing: Writing, reading: Reading, quiet: bool, **more: Any
) -> dict[str, Any]:
    """Warp one image, read in strips where its size asks for it; what to tell about it."""
    from glualign.fill import fill_invalid, warp_image
    from glualign.georeference import map_affine, resized
    from glualign.images import read_image, write_image
    from glualign.images.write import check_writable
    from glualign.outputs import expected_image, write_mask

    place = read_image(more["georeference"], max_pixels=None) if more["georeference"] else None
    image = reading.image(given, quiet=quiet, matched=False)
    flow = read(flow_file, more["source_size"])
    check_writable(written, expected_image(image, flow.size, writing.interpolation, writing.fill))
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
    if more["mask"]:
        write_mask(more["mask"], valid, warped.georeference)
    del valid
    notes = write_image(written, warped, quality=writing.quality)
    for note in () if quiet else notes:
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
    """Move the points of one file to the other image; what to tell about it."""
    import numpy as np

    from glualign.cli.keypoints import read_keypoints
    from glualign.files import write_text
    from glualign.flow import to_source, to_target

    keypoints = read_keypoints(given, points_from)
    flow = read(flow_file, source_size)
    into, move = ("target", to_target) if points_from == "source" else ("source", to_source)
    points = np.array(keypoints.points)
    known = ~np.isnan(points).any(axis=1)
    moved = np.full_like(points, np.nan)
    moved[known] = move(flow, points[known])
    found = [None if np.isnan(x) else (float(x), float(y)) for x, y in moved]
    write_text(written, keypoints.render(found))
    count = sum(point is not None for point in found)
    return {
        "kind": "keypoints",
        "input": given,
        "output": str(written),
        "points": len(found),
        "moved": count,
        "direction": f"{points_from} -> {into}",
        "summary": f"{count} of {len(found)} points, now in {into} pixels",
    }
