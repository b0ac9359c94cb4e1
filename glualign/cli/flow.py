"""``glualign flow``: align a pair and write the flow alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from glualign.cli.options import (
    STREAM,
    Aligning,
    Reading,
    Telling,
    align_options,
    confidence_option,
    ignore_options,
    init_option,
    mask_option,
    min_quality_option,
    only_trusted_option,
    reading_options,
    verbosity_options,
)
from glualign.cli.streams import format_option, streamable


@click.command(short_help="Write the flow of a pair to a file.")
@click.argument("source", type=click.Path(allow_dash=True))
@click.argument("target", type=click.Path(allow_dash=True))
@click.argument("out", required=False, type=STREAM)
@click.option("-o", "--output", type=STREAM, metavar="FILE|-", help="The same as OUT.")
@format_option
@mask_option
@confidence_option
@only_trusted_option
@align_options
@init_option
@min_quality_option
@ignore_options
@reading_options
@verbosity_options
@streamable("source", "target", default=".flo", required=True)
def command(
    source: str, target: str, only_trusted: bool, min_quality: str, init: str | None, **options: Any
) -> None:
    """Estimate the flow between SOURCE and TARGET and write it to the file OUT.

    The extension of OUT chooses the format: .flo, .png (KITTI, 16 bit), .pfm, .npy, .npz, .flo5, .nrrd, .mha.
    The flow has the target's size and points from the target to the source: target pixel (x, y) shows source
    position (x + u, y + v), in source pixels. - is standard input (of one image) or standard output.

    Exit codes: 0 done; 4 done, but the verdict is failed: the images hardly show the same thing; 1 an error.

    \b
    Examples:
      glualign flow source.jpg target.jpg flow.flo
      glualign flow frame2.png frame1.png -o flow.png --only-trusted --max-side 0
    """
    from glualign.cli.pair import align_pair, require_quality, tell
    from glualign.outputs import Outputs

    reading, telling = Reading.of(options), Telling.of(options)
    names = {"flow": options["output"], "mask": options["mask"], "confidence": options["confidence"]}
    outputs = Outputs(**{kind: Path(name) for kind, name in names.items() if name})
    masks = options["source_mask"], options["target_mask"]
    outputs.check(filter(None, (source, target, *masks, init)))
    moving, fixed = reading.images(source, target, quiet=telling.quiet, masks=masks)
    alignment = align_pair(moving, fixed, Aligning.of(options), init=init, show=telling.shows)
    require_quality(alignment, min_quality)
    written, _ = outputs.write(alignment, only_trusted=only_trusted)
    tell(alignment, written, telling, min_quality)
