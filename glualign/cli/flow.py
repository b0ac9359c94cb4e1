"""``glualign flow``: align a pair and write the flow alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from glualign.cli.options import (
    align_options,
    mask_option,
    min_quality_option,
    reading_options,
    verbosity_options,
)


@click.command(short_help="Write the flow of a pair to a file.")
@click.argument("source", type=click.Path())
@click.argument("target", type=click.Path())
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="The flow file; its extension chooses the format: .flo, .png (KITTI, 16 bit), .pfm, .npy, .npz, ...",
)
@click.option(
    "--only-valid",
    is_flag=True,
    help="Mark pixels that are not valid as unknown in the file, instead of keeping their best guess.",
)
@mask_option
@align_options
@min_quality_option
@reading_options
@verbosity_options
def command(source: str, target: str, output: str, only_valid: bool, **options: Any) -> None:
    """Estimate the flow between SOURCE and TARGET and write it to a file.

    The flow has the target's size and points from the target to the source: target pixel (x, y) shows source
    position (x + u, y + v), in source pixels.

    \b
    Examples:
      glualign flow source.jpg target.jpg -o flow.flo
      glualign flow frame2.png frame1.png -o flow.png --only-valid --max-side 0
    """
    from glualign.cli.pair import align_pair, read_pair, tell
    from glualign.flow import write_flow
    from glualign.outputs import Outputs, known_only, write_mask

    mask = options["mask_path"]
    outputs = Outputs(flow=Path(output), mask=Path(mask) if mask else None)
    outputs.check([source, target])
    alignment = align_pair(*read_pair(source, target, options), options)
    write_flow(output, known_only(alignment.flow, alignment.valid) if only_valid else alignment.flow)
    if outputs.mask:
        write_mask(outputs.mask, alignment.valid)
    tell(alignment, outputs.files(), options)
