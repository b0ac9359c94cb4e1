"""``glualign warp``: align a pair and write the warped source, the flow and its picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from glualign.cli.options import (
    WITHOUT_MATRIX,
    align_options,
    mask_option,
    min_quality_option,
    reading_options,
    verbosity_options,
    writing_options,
)

if TYPE_CHECKING:
    from glualign.alignment import Alignment
    from glualign.cli.outputs import Outputs

FILE = click.Path(dir_okay=False)


@click.command()
@click.argument("source", type=click.Path())
@click.argument("target", type=click.Path())
@click.option(
    "-o",
    "--output",
    metavar="DIR|FILE",
    default=".",
    show_default="this folder",
    help="A name that ends in an image extension is the warped image's file (the other results go beside it "
    "under its stem); any other name is a folder, created if need be.",
)
@click.option("--no-warped", is_flag=True, help="Do not write the warped image.")
@click.option(
    "--flow", "flow_path", type=FILE, metavar="FILE", help="Write the flow here, format by extension."
)
@click.option("--no-flow", is_flag=True, help="Do not write the flow.")
@click.option("--flow-image", type=FILE, metavar="FILE", help="Write the picture of the flow here.")
@click.option("--no-flow-image", is_flag=True, help="Do not write the picture of the flow.")
@mask_option
@click.option(
    "--matrix",
    type=FILE,
    metavar="FILE",
    help="Write the fitted 3x3 transform, target to source, here (.txt or .json).",
)
@writing_options
@align_options
@min_quality_option
@reading_options
@verbosity_options
def command(source: str, target: str, **options: Any) -> None:
    """Warp SOURCE onto the pixel grid of TARGET.

    Writes three files, named after the source: STEM_warped.EXT in the source's format, depth and channels;
    STEM_flow.flo, the flow from target to source in source pixels; and STEM_flow.png, its picture on the
    colour wheel. With a --transform that has a matrix (not dense, not tps) also
    STEM_transform.txt.

    A name that starts with a dash goes after `--`, or is written with its folder: ./-name.png.

    \b
    Examples:
      glualign warp source.jpg target.jpg
      glualign warp source.jpg target.jpg -o out/
      glualign warp source.jpg target.jpg -o out/aligned.png --no-flow --fill transparent
      glualign warp map.tif photo.jpg --preset accurate --transform homography --json
    """
    from glualign.cli.outputs import plan_outputs
    from glualign.cli.pair import align_pair, tell

    if options["matrix"] and options["transform"] in WITHOUT_MATRIX:
        raise click.UsageError(
            f"--matrix needs a --transform other than {' and '.join(WITHOUT_MATRIX)}, which have no matrix."
        )
    outputs = plan_outputs(source, options)
    outputs.check(source, target)
    alignment = align_pair(source, target, options)
    write(alignment, outputs, options)
    tell(alignment, outputs, options)


def write(alignment: Alignment, outputs: Outputs, options: Mapping[str, Any]) -> None:
    """Write each result to the file that is planned for it."""
    import numpy as np

    from glualign.cli.console import print_notes
    from glualign.flow import write_flow
    from glualign.images import write_image

    if outputs.warped:
        picture = alignment.render(interpolation=options["interpolation"], fill=options["fill"])
        notes = write_image(outputs.warped, picture, quality=options["quality"])
        print_notes(outputs.warped.name, notes, show=not options["quiet"])
    if outputs.flow:
        write_flow(outputs.flow, alignment.flow)
    if outputs.flow_image:
        write_image(outputs.flow_image, alignment.flow_picture())
    if outputs.mask:
        write_image(outputs.mask, alignment.valid.astype(np.uint8) * np.uint8(255))
    if outputs.transform:
        alignment.write_transform(outputs.transform)
