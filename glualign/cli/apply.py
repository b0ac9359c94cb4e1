"""``glualign apply``: a stored flow on images, masks, labels and keypoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glualign.cli.flow_files import source_size_option
from glualign.cli.keypoints import KEYPOINT_EXTENSIONS
from glualign.cli.options import (
    fill_option,
    interpolation_option,
    mask_option,
    quality_option,
    reading_options,
    verbosity_options,
)

if TYPE_CHECKING:
    from glualign.flow import FlowRows


@click.command(short_help="Warp other images, masks or points by a flow file.")
@click.argument("flow_file", metavar="FLOW", type=click.Path())
@click.argument("inputs", metavar="IMAGE...", nargs=-1, required=True, type=click.Path())
@click.option(
    "-o",
    "--output",
    default=".",
    show_default="the current folder",
    metavar="DIR|FILE",
    help="Folder for the results, named STEM_warped.EXT; or one file when there is one input.",
)
@interpolation_option
@fill_option
@mask_option
@click.option(
    "--points-from",
    type=click.Choice(["source", "target"]),
    default="source",
    show_default=True,
    help="Image the keypoints are given in; they are moved to the other one.",
)
@source_size_option
@quality_option
@reading_options
@verbosity_options
def command(flow_file: str, inputs: tuple[str, ...], output: str, **options: Any) -> None:
    """Apply FLOW (target -> source) to each IMAGE of the source: the result lies on the target's grid.

    IMAGE is an image, a folder of images, or a .csv or .json file of keypoints. Images keep their depth,
    channels, profile and EXIF; labels (indexed, 1-bit and 32-bit integer images) are warped with nearest
    unless --interp says otherwise; for masks and labels in 8-bit grey use --interp nearest. Keypoints in
    source pixels are moved to target pixels (through the inverse of FLOW), those in target pixels to source
    pixels; a point that the other image does not show is left empty.

    \b
    Examples:
      glualign apply flow.flo source.png -o aligned.png
      glualign apply flow.flo labels.png --interp nearest -o out/
      glualign apply flow.flo channels/ -o out/
      glualign apply flow.npz landmarks.csv -o landmarks_in_target.csv
    """
    from glualign.cli.console import print_facts, print_json
    from glualign.outputs import check_outputs

    if options["fill"] == "target":
        raise click.UsageError(
            "--fill target needs the target image, which apply does not have; give a colour."
        )
    jobs = plan(inputs, output, options["fill"])
    mask = options["mask_path"]
    if mask and len(jobs) != 1:
        raise click.UsageError(f"--mask is one file and there are {len(jobs)} inputs; give them one by one.")
    check_outputs(
        [*(written for _, written in jobs), *([mask] if mask else [])],
        [flow_file, *(given for given, _ in jobs)],
    )
    results = [apply_one(flow_file, given, path, options) for given, path in jobs]
    if options["as_json"]:
        print_json({"flow": flow_file, "results": results})
    elif not options["quiet"]:
        print_facts((result["kind"], f"{result['output']}  ({result['summary']})") for result in results)


def plan(inputs: tuple[str, ...], output: str, fill: str) -> list[tuple[str, Path]]:
    """Which file goes where, folders expanded.

    Raises:
        GlualignError: a folder without images.
        UsageError: several inputs and one output file.
    """
    from glualign.batch.listing import list_images
    from glualign.images import WRITABLE
    from glualign.outputs import is_folder, warped_extension

    files: list[str] = []
    for given in inputs:
        if Path(given).is_dir():
            files.extend(str(Path(given) / name) for name in list_images(given).names)
        else:
            files.append(given)
    if not is_folder(output, (*WRITABLE, *KEYPOINT_EXTENSIONS)):
        if len(files) != 1:
            raise click.UsageError(f"{len(files)} inputs do not fit into one file; give a folder with -o.")
        if (Path(files[0]).suffix.lower() in KEYPOINT_EXTENSIONS) != (
            Path(output).suffix.lower() in KEYPOINT_EXTENSIONS
        ):
            raise click.UsageError(
                f"{output} does not fit {files[0]}: keypoints go to .csv or .json, images to images."
            )
        return [(files[0], Path(output))]

    def result(path: Path) -> Path:
        keeps = path.suffix.lower() in KEYPOINT_EXTENSIONS
        return Path(output) / f"{path.stem}_warped{path.suffix if keeps else warped_extension(path.name)}"

    return [(given, result(Path(given))) for given in files]


def apply_one(flow_file: str, given: str, written: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Apply the flow to one file; returns what to tell about it."""
    if Path(given).suffix.lower() in KEYPOINT_EXTENSIONS:
        return move_keypoints(flow_file, given, written, options)
    return warp_image(flow_file, given, written, options)


def warp_image(flow_file: str, given: str, written: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Warp one image; flow and image are read in strips where their size asks for it."""
    from glualign.cli.console import print_notes
    from glualign.cli.options import reading_arguments
    from glualign.fill import fill_invalid, warp_image
    from glualign.flow import open_flow
    from glualign.images import read_image, write_image
    from glualign.images.write import check_writable
    from glualign.outputs import expected_image, write_mask

    image = read_image(given, **reading_arguments(options))
    print_notes(image.name, image.notes, show=not options["quiet"])
    flow: FlowRows = open_flow(flow_file)
    check_writable(written, expected_image(image, flow.size, options["interpolation"], options["fill"]))
    warped, valid = warp_image(image, flow, options["interpolation"])
    del image  # the source is no longer needed, and may be half of the memory in use
    if options["fill"] != "#000000":
        warped = fill_invalid(warped, valid, options["fill"], warped)
    share = float(valid.mean())
    if options["mask_path"]:
        write_mask(options["mask_path"], valid)
    del valid
    left_out = write_image(written, warped, quality=options["quality"])
    print_notes(written.name, left_out, show=not options["quiet"])
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


def move_keypoints(flow_file: str, given: str, written: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Move the points of one file to the other image."""
    import numpy as np

    from glualign.cli import flow_files
    from glualign.cli.keypoints import read_keypoints, write_keypoints
    from glualign.flow import to_source, to_target

    keypoints = read_keypoints(given)
    flow = flow_files.read(flow_file, options["source_size"])
    move = to_target if options["points_from"] == "source" else to_source
    moved = move(flow, np.array(keypoints.points))
    found = [None if np.isnan(x) else (float(x), float(y)) for x, y in moved]
    write_keypoints(written, keypoints.render(found))
    count, into = sum(point is not None for point in found), _OTHER[options["points_from"]]
    return {
        "kind": "keypoints",
        "input": given,
        "output": str(written),
        "points": len(found),
        "moved": count,
        "direction": f"{options['points_from']} -> {into}",
        "summary": f"{count} of {len(found)} points, now in {into} pixels",
    }


_OTHER = {"source": "target", "target": "source"}
