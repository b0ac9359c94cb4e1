"""``glualign warp``: align a pair and write the warped source, the flow and its picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glualign.cli.options import (
    FILE,
    WITHOUT_MATRIX,
    Aligning,
    Reading,
    Telling,
    Writing,
    align_options,
    confidence_option,
    ignore_options,
    init_option,
    mask_option,
    min_quality_option,
    only_trusted_option,
    reading_options,
    verbosity_options,
    writing_options,
)
from glualign.cli.streams import format_option, streamable

if TYPE_CHECKING:
    from glualign.images import Image
    from glualign.outputs import Outputs


@click.command(short_help="Warp SOURCE onto the pixel grid of TARGET.")
@click.argument("source", type=click.Path(allow_dash=True))
@click.argument("target", type=click.Path(allow_dash=True))
@click.argument("out", required=False, type=click.Path(allow_dash=True))
@click.option("-o", "--output", metavar="DIR|FILE|-", show_default="this folder", help="The same as OUT.")
@format_option
@click.option("--flow", type=FILE, help="Write the flow here, format by extension.")
@click.option("--flow-image", type=FILE, help="Write the picture of the flow here.")
@mask_option
@confidence_option
@click.option(
    "--matrix",
    type=FILE,
    help="Write the fitted 3x3 transform, target to source, here (.txt or .json).",
)
@click.option("--report", type=FILE, help="Write an HTML report here, as `glualign report` does.")
@click.option(
    "--gcps",
    type=FILE,
    help="Write ground control points of SOURCE here in QGIS's format (.points, .csv); TARGET is a GeoTIFF.",
)
@click.option(
    "--matches",
    type=FILE,
    help="Write point matches here (.csv, .npz, .h5, .txt), as `glualign matches` does.",
)
@writing_options
@only_trusted_option
@align_options
@init_option
@min_quality_option
@ignore_options
@reading_options
@verbosity_options
@streamable("source", "target", default=".png")
def command(
    source: str,
    target: str,
    min_quality: str,
    only_trusted: bool,
    init: str | None,
    report: str | None,
    **options: Any,
) -> None:
    """Warp SOURCE onto the pixel grid of TARGET.

    OUT is a folder or an image file. Into a folder (this one, when OUT is left out) go three files named
    after the source: STEM_warped.EXT in the source's format, depth and channels; STEM_flow.flo, the flow from
    target to source in source pixels; and STEM_flow.png, its picture on the colour wheel. With a --transform
    that has a matrix (not dense, not tps) also STEM_transform.txt. An image file gets the warped source and
    nothing else is written, except what is named by --flow, --mask and the like. Every pixel that the source
    reaches is written; how far it can be trusted says the --mask and the --confidence.

    A GeoTIFF as TARGET gives its georeference to the results written as TIFF.

    Pixels that a --source-mask or --target-mask shows in black have no say in the matching, the motion and
    the verdict, and are not valid.

    - is standard input (of one image) or standard output (of the warped image).
    A name that starts with a dash goes after `--`, or is written with its folder: ./-name.png.

    Exit codes: 0 done; 4 done, but the verdict is failed: the images hardly show the same thing; 1 an error.

    \b
    Examples:
      glualign warp source.jpg target.jpg
      glualign warp source.jpg target.jpg out/
      glualign warp source.jpg target.jpg out/aligned.png --fill transparent --flow out/flow.npz
      glualign warp map.tif photo.jpg --preset accurate --transform homography --json
      glualign warp drone.jpg map.tif out/drone.tif --gcps out/drone.points
      glualign warp scan.tif drawing.png out/ --init points.csv
      cat source.jpg | glualign warp - target.jpg - > aligned.png
    """
    from glualign.cli.console import print_notes, status
    from glualign.cli.pair import align_pair, require_quality, tell
    from glualign.cli.report import command_line
    from glualign.georeference import map_affine
    from glualign.outputs import expected_image

    aligning, reading = Aligning.of(options), Reading.of(options)
    writing, telling = Writing.of(options), Telling.of(options)
    if options["matrix"] and aligning.transform in WITHOUT_MATRIX:
        raise click.UsageError(
            f"--matrix needs a --transform other than {' and '.join(WITHOUT_MATRIX)}, which have no matrix."
        )
    masks = options["source_mask"], options["target_mask"]
    moving, fixed = reading.images(source, target, quiet=telling.quiet, masks=masks)
    if options["gcps"]:
        map_affine(fixed.georeference, target)  # a target without one is refused before the network runs
    expected = expected_image(moving, fixed.size, writing.interpolation, writing.fill)
    outputs = plan(source, expected, options)
    outputs.check(
        filter(None, (source, target, *masks, init)), warped=expected, beside=filter(None, [report])
    )
    if report:
        from glualign.report.alignment import build_report
        from glualign.report.page import environment

        environment()
    alignment = align_pair(moving, fixed, aligning, init=init, show=telling.shows)
    require_quality(alignment, min_quality)
    with status("Writing ...", show=telling.shows):
        written, notes = outputs.write(alignment, only_trusted=only_trusted, **vars(writing))
        if report:
            build_report(alignment, report, command=command_line(click.get_current_context()))
            written["report"] = Path(report)
    print_notes(source, notes, show=not telling.quiet)
    tell(alignment, written, telling, min_quality)


def plan(source: str, expected: Image, options: Mapping[str, Any]) -> Outputs:
    """The files to write: one image, or a folder of results; and what was named beside.

    Raises:
        OutputError: the output's extension cannot be written.
    """
    from glualign.images import WRITABLE
    from glualign.outputs import DEFAULT_KINDS, Outputs, is_folder, warped_extension

    output, extension = options["output"] or ".", options["format"]
    if is_folder(output, WRITABLE):
        extension = f".{extension.lstrip('.')}" if extension else warped_extension(source, expected)
        kinds = set(DEFAULT_KINDS) - ({"transform"} if options["transform"] in WITHOUT_MATRIX else set())
        outputs = Outputs.in_folder(output, Path(source).stem, extension, kinds=kinds)
    else:
        outputs = Outputs(warped=Path(output))
    named = ("flow", "flow_image", "mask", "confidence", "gcps", "matches")
    beside = {"transform": options["matrix"], **{kind: options[kind] for kind in named}}
    return replace(outputs, **{kind: Path(name) for kind, name in beside.items() if name})
