"""``glualign video``: the flow of a video, as a video."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from glualign.cli.options import COUNT, FILE, POSITIVE, Aligning, align_options, quiet_option

STYLES = ("wheel", "arrows", "side-by-side", "warped")  # a test compares them with those of the library


def _range(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, int | None]:
    first, colon, last = value.partition(":")
    try:
        low, high = int(first or 0), int(last) if last else None
    except ValueError:
        low, high, colon = 0, None, ""
    if not colon or low < 0 or (high is not None and high <= low):
        raise click.BadParameter(
            f"{value!r} is not a range of frames such as 100:250, 100: or :250.", context, parameter
        )
    return low, high


@click.command(short_help="Draw the flow of a video.")
@click.argument("video", type=FILE)
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="FILE|DIR",
    type=click.Path(),
    help="Video to write (.mp4, .avi, .mkv), or a folder for one PNG per frame.",
)
@click.option(
    "-s", "--style", type=click.Choice(STYLES), default="wheel", help="What is shown of each pair of frames."
)
@click.option(
    "--onto",
    type=click.Choice(["next", "first"]),
    default="next",
    help="Flow from each frame to the next, or from the first frame to each.",
)
@click.option("--every", type=COUNT, default=1, metavar="N", help="Only each N-th frame.")
@click.option(
    "--range",
    "frames",
    default=":",
    callback=_range,
    metavar="FIRST:LAST",
    show_default="all",
    help="Frames to take, counted from 0, without the last.",
)
@click.option(
    "--max-flow",
    type=POSITIVE,
    metavar="PX",
    show_default="measured on 12 pairs",
    help="Motion in pixels that gets full colour in the whole clip.",
)
@align_options
@quiet_option
def command(video: str, output: str, style: Any, onto: str, quiet: bool, **options: Any) -> None:
    """Draw the flow of VIDEO as a video: one picture for each pair of frames.

    The colour scale is the same for the whole clip. Consecutive frames are aligned with --preset fast unless
    another is given. The result has no sound. Ctrl-C ends the video with the frames so far; a second one
    leaves nothing.

    \b
    Styles:
      wheel         direction as hue, length as saturation
      arrows        from each frame towards the next
      side-by-side  the frame and the wheel
      warped        the next frame on this one's grid; with --onto first, the stabilised clip

    \b
    Examples:
      glualign video clip.mp4 -o flow.mp4
      glualign video clip.mp4 -o arrows.avi --style arrows --every 2 --range 100:250
      glualign video shaky.mp4 -o steady.mp4 --style warped --onto first
    """
    from glualign.cli.console import counted
    from glualign.errors import OutputError
    from glualign.outputs import check_outputs
    from glualign.video import Clip, VideoOptions, check_encoding, video_pictures, write_video

    path = Path(output)
    check_encoding(path)
    if path.suffix:
        check_outputs([path], [video])
    elif path.is_file():
        raise OutputError(f"{path}: is a file; name a folder, or a video with its extension")
    first, last = options["frames"]
    clip = Clip(Path(video), first, last, options["every"])
    count, rate = clip.count(), clip.rate()
    aligning = Aligning.of(options)
    if aligning.transform == "auto":
        aligning = replace(aligning, transform="dense")  # not one model in this frame and flow in the next
    if onto == "next" and aligning.preset is None and not aligning.mirror:
        aligning = replace(aligning, preset="fast")
    if not quiet:
        aligning.warn_if_slow()
    aligner = aligning.aligner()

    chosen = VideoOptions(style, onto == "first", options["max_flow"])
    with counted(count - 1, "Aligning", show=not quiet) as advance:
        written = write_video(path, video_pictures(clip, aligner, chosen, count), rate, advance)
    if not quiet:
        stopped = "" if written == count - 1 else f" of {count - 1}, stopped by Ctrl-C"
        click.echo(f"{output}: {written} pictures{stopped}")
    if written < count - 1:
        raise click.exceptions.Exit(130)
