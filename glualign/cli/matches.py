"""``glualign matches``: align a pair and write point matches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from glualign.cli.options import (
    COUNT,
    FILE,
    Aligning,
    Reading,
    Telling,
    align_options,
    min_quality_option,
    reading_options,
    verbosity_options,
)


@click.command(short_help="Write point matches of a pair, for structure from motion.")
@click.argument("source", type=click.Path())
@click.argument("target", type=click.Path())
@click.option("-o", "--output", required=True, type=FILE, help="Where to write.")
@click.option(
    "--max",
    "most",
    type=COUNT,
    metavar="N",
    default=2000,
    help="Matches at most, spread evenly over what is trusted.",
)
@click.option(
    "--min-confidence",
    type=click.FloatRange(0, 1),
    metavar="X",
    default=0.5,
    help="Least confidence of a match.",
)
@click.option(
    "--points",
    type=click.Path(),
    metavar="FILE",
    help="Key points in target pixels (.csv with x and y, .json) to match, instead of an even spread.",
)
@align_options
@min_quality_option
@reading_options
@verbosity_options
def command(
    source: str, target: str, output: str, points: str | None, min_quality: str, **options: Any
) -> None:
    """Find points of SOURCE and TARGET that show the same thing, where the flow is trusted.

    The extension of FILE chooses the format: .csv (source_x, source_y, target_x, target_y, confidence; apply
    reads it), .npz (keypoints0 of the source, keypoints1 of the target, confidence), .h5 (key points and
    matches as hloc stores them, extra hdf5), or .txt (COLMAP's raw match list, with a folder of its key point
    files beside it). Positions are in pixels, integers at pixel centres; COLMAP's are half a pixel more.

    Exit codes: 0 done; 4 done, but the verdict is failed: the images hardly show the same thing; 1 an error.

    \b
    Examples:
      glualign matches left.jpg right.jpg -o matches.csv
      glualign matches left.jpg right.jpg -o pair.h5 --max 5000 --min-confidence 0.7
    """
    from glualign.cli.keypoints import read_keypoints
    from glualign.cli.pair import align_pair, tell
    from glualign.errors import GlualignError
    from glualign.matches import check_matches_path, find_matches, write_matches
    from glualign.outputs import check_outputs

    reading, telling = Reading.of(options), Telling.of(options)
    moving, fixed = reading.images(source, target, quiet=telling.quiet)
    check_outputs([output], filter(None, (source, target, points)))
    check_matches_path(output, (moving.name, fixed.name))
    wanted = read_keypoints(points, "target").points if points else None
    alignment = align_pair(moving, fixed, Aligning.of(options), show=telling.shows, minimum=min_quality)
    least = options["min_confidence"]
    matches = find_matches(alignment, most=options["most"], least_confidence=least, points=wanted)
    if not len(matches.confidence):
        raise GlualignError(
            f"{source}: no match is trusted with a confidence of {least:g}; "
            f"the verdict is {alignment.quality.verdict}"
        )
    write_matches(output, matches)
    tell(alignment, {f"matches ({len(matches.confidence)})": Path(output)}, telling, min_quality)
