"""``glualign viz``, ``report`` and ``video``: flow and alignments for a person to look at."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glualign.cli.console import counted, status, warn
from glualign.cli.exits import INTERRUPTED
from glualign.cli.flow_files import errors_about
from glualign.cli.options import (
    FILE,
    QUALITY,
    QUIET,
    Aligning,
    command,
    given_options,
    matching,
    option,
    showing,
)
from glualign.cli.pair import Pairing
from glualign.styles import FLOW_STYLES, PAIR_STYLES, VIDEO_STYLES

if TYPE_CHECKING:
    from glualign.arrays import Floats, Mask
    from glualign.flow import Flow

RANGE = "a range of frames such as 100:250, 100: or :250"
_FLICKER_SIDE = 1280  # an animation at full camera size is tens of megabytes
_USED_BY = {
    "max_flow": ("wheel", "magnitude", "error"),
    "target": ("arrows", "grid", "mask", *PAIR_STYLES),
    "source": ("grid", "mask", *PAIR_STYLES),  # of those of a flow, for its size
    "backward": ("error",),
    "confidence": ("confidence",),
    "mask": ("mask", "jacobian", *PAIR_STYLES),
}
"""Styles that have a use for an option."""


@command(
    click.Argument(["flow_path"], metavar="FLOW", type=FILE),
    option("-o, --output FILE  Picture to write, e.g. out.png.", required=True),
    option(
        "-s, --style STYLE  Which picture: one of the styles above.",
        click.Choice(FLOW_STYLES + PAIR_STYLES),
        "wheel",
    ),
    option(
        "--max-flow PX  Full scale of wheel, magnitude and error in pixels, to compare pictures with one "
        "another.",
        show_default="from the data",
    ),
    option("--image, --target IMG  Target image: its grid is the flow's.", name="target"),
    option("--source IMG  Source image: the one that the flow moves."),
    option("--backward FLOW  Flow of the other direction, for error."),
    option("--confidence IMG  Grey image (white: certain), for confidence."),
    option("--mask IMG  Valid mask (white: valid), for mask, jacobian and pairs."),
    option("--legend/--no-legend  Explain the picture in a strip below it.", default=True),
    option(
        "--size PX  Longer side of the picture at most.",
        click.IntRange(min=16),
        show_default="the flow's; flicker 1280",
    ),
    QUALITY,
    QUIET,
    short_help="Draw a flow file, or what it does to a pair.",
)
def viz(flow_path: str, output: str, style: Any, size: int | None, quiet: bool, **options: Any) -> None:
    """Draw the flow in FLOW as a picture, or with both images what it does to them.

    Flow is always target -> source: target pixel (x, y) shows source position (x + u, y + v).

    \b
    Styles of a flow:
      wheel         direction as hue, length as saturation (Middlebury)
      arrows        from target pixels towards their source (on --image)
      grid          a straight grid on the source, laid on the target (on --image)
      magnitude     length in pixels, with a scale bar
      jacobian      area change and folds
      error         forward-backward error (needs --backward)
      confidence    a confidence map (needs --confidence)
      mask          where the target has a source (on --image)

    \b
    Styles of a pair (need --source and --target):
      blend         both images mixed
      checkerboard  both in turn, in squares
      difference    target red, warped source cyan: grey where they agree
      flicker       both in turn, as .gif, .webp or animated .png
      side-by-side  source, warped source, target

    \b
    Examples:
      glualign viz flow.flo -o flow.png
      glualign viz flow.flo -o flow.png --max-flow 40
      glualign viz flow.flo -o grid.png --style grid --image target.jpg
      glualign viz flow.flo -o flicker.gif --style flicker --source source.jpg --target target.jpg
    """
    from glualign.flow import Flow, read_flow
    from glualign.images import read_image, reduce_image, to_rgb8, write_image
    from glualign.outputs import check_outputs
    from glualign.viz.styles import ANIMATIONS, draw, write_animation

    backward, confidence, mask = options["backward"], options["confidence"], options["mask"]
    needed = {"error": ["backward"], "confidence": ["confidence"]}
    needed |= {pair: ["source", "target"] for pair in PAIR_STYLES}
    if missing := [f"--{name}" for name in needed.get(style, ()) if not options[name]]:
        raise click.UsageError(f"--style {style} needs {' and '.join(missing)}.")
    if idle := given_options([name for name, styles in _USED_BY.items() if style not in styles]):
        raise click.UsageError(f"--style {style} has no use for {' and '.join(idle)}; leave it out.")
    if style == "flicker" and Path(output).suffix.lower() not in ANIMATIONS:
        raise click.UsageError(f"--style flicker writes {', '.join(ANIMATIONS)}, not {Path(output).name!r}.")
    inputs = (flow_path, options["source"], options["target"], backward, confidence, mask)
    check_outputs([output], inputs)

    flow = read_flow(flow_path)
    source, target = (
        to_rgb8(read_image(path)) if path else None for path in (options["source"], options["target"])
    )
    if source is not None and flow.source_size is None:
        flow = Flow(flow.data, source.shape[:2])
    with errors_about(*inputs):
        drawings = draw(
            flow,
            style,
            source=source,
            target=target,
            max_flow=options["max_flow"],
            backward=read_flow(backward) if backward else None,
            confidence=read_grey_map(confidence, flow) if confidence else None,
            valid=read_mask(mask, flow) if mask else None,
        )
    frames = [each.explained() if options["legend"] else each.picture for each in drawings]
    if style == "flicker":
        size = size or _FLICKER_SIDE
        write_animation(output, [reduce_image(frame, size) for frame in frames], quality=options["quality"])
    else:
        write_image(output, reduce_image(frames[0], size), quality=options["quality"])
    if not quiet:
        click.echo(f"{output}: {style}")


def read_grey_map(path: str, flow: Flow) -> Floats:
    """A confidence map of the flow's size, kept as a grey image, as float32 from 0 to 1."""
    import cv2
    import numpy as np

    from glualign.images import read_image, to_rgb8
    from glualign.viz.canvas import check_size

    grey = cv2.cvtColor(to_rgb8(read_image(path)), cv2.COLOR_RGB2GRAY)
    check_size(path, grey, flow.size)
    return np.asarray(grey, np.float32) / np.float32(255)


def read_mask(path: str, flow: Flow) -> Mask:
    """A mask of the flow's size, bool: false where it is black, whatever stands for white."""
    from glualign.images import read_image
    from glualign.images.image import black
    from glualign.viz.canvas import check_size

    mask = read_image(path)
    check_size(path, mask.pixels, flow.size)
    return ~black(mask)


@command(
    click.Argument(["source"], type=FILE),
    click.Argument(["target"], type=FILE),
    click.Argument(["flow"], metavar="[FLOW]", type=FILE, required=False),
    option("-o, --output FILE  HTML file to write, e.g. report.html.", required=True),
    option("--title TEXT  Heading of the report.", show_default="names of both images"),
    option("--mask IMG  With FLOW: the mask that warp --mask wrote."),
    option("--confidence IMG  With FLOW: the confidence that warp --confidence wrote."),
    option("--summary FILE  With FLOW: what warp --json printed (verdict, numbers, transform, timings)."),
    option("--size PX  Longer side of the pictures at most.", click.IntRange(min=64), 1400),
    Pairing,
    QUIET,
    short_help="Show an alignment in one HTML file.",
)
def report(source: str, target: str, pairing: Pairing, output: str, quiet: bool, **options: Any) -> None:
    """Show how SOURCE lies on TARGET in one self-contained HTML file.

    With FLOW, a saved flow from target to source, nothing is computed anew and the options of the model are
    not used; --mask, --confidence and --summary add what else was kept of the alignment. Without FLOW the
    pair is aligned first. `glualign warp --report FILE` writes the same page beside the results.

    The file holds a before/after slider, flicker, difference, pictures of the flow and the mask, numbers,
    and the command that made it. It asks the network for nothing and can be sent by mail. Needs: pip
    install 'glualign[report]'.

    Exit codes: 0 done; 4 done, but the verdict of this alignment is failed; 1 an error.

    \b
    Examples:
      glualign report source.jpg target.jpg -o report.html
      glualign report source.jpg target.jpg flow.flo -o report.html
      glualign report source.jpg target.jpg flow.flo --mask mask.png --summary warp.json -o report.html
    """
    from glualign.flow import read_flow
    from glualign.outputs import check_outputs
    from glualign.report.alignment import build_report, read_summary, saved_alignment

    flow, mask, confidence, summary = (options[name] for name in ("flow", "mask", "confidence", "summary"))
    if (mask or confidence or summary) and not flow:
        raise click.UsageError("--mask, --confidence and --summary belong to a saved FLOW; give that too.")
    check_outputs({"report": output}, [flow, mask, confidence, summary, *pairing.inputs(source, target)])
    moving, fixed = pairing.images(source, target, matched=not flow)
    if flow:
        field = read_flow(flow)
        with errors_about(source, target, flow, mask, confidence):
            alignment = saved_alignment(
                moving,
                fixed,
                field,
                Path(flow).name,
                mask=read_mask(mask, field) if mask else None,
                confidence=read_grey_map(confidence, field) if confidence else None,
                summary=read_summary(summary, moving, fixed) if summary else None,
            )
    else:
        alignment = pairing.align(moving, fixed)
    with status("Drawing ..."), errors_about(source, target, flow) if flow else nullcontext():
        line = click.get_current_context().obj
        build_report(alignment, output, command=line, title=options["title"], max_side=options["size"])
    if not quiet:
        click.echo(output)
    if not flow:
        pairing.refuse_failed(alignment)


@dataclass(frozen=True)
class Filming(Aligning):
    """How frames are aligned: as a pair is, with defaults of their own."""

    max_side: int | None = showing(Aligning.max_side, "512 with --preset fast, else 1024")
    preset: str | None = showing(Aligning.preset, "fast; balanced with --onto first or --mirror")
    transform: str = showing(Aligning.transform, "dense, also for auto")


@command(
    click.Argument(["video"], type=FILE),
    option(
        "-o, --output FILE|DIR  Video to write (.mp4, .avi, .mkv), or a folder for one PNG per frame.",
        click.Path(),
        required=True,
    ),
    option("-s, --style  What is shown of each pair of frames.", click.Choice(VIDEO_STYLES), "wheel"),
    option(
        "--onto [next|first]  Flow from each frame to the next, or from the first frame to each.",
        default="next",
    ),
    option("--every N  Only each N-th frame.", default=1),
    option(
        "--range FIRST:LAST  Frames to take, counted from 0, without the last.",
        matching(
            r"(\d*):(\d*)", RANGE, lambda match: (int(match[1] or 0), int(match[2]) if match[2] else None)
        ),
        ":",
        name="frames",
        show_default="all",
    ),
    option(
        "--max-flow PX  Motion in pixels that gets full colour in the whole clip.",
        show_default="measured on 12 pairs",
    ),
    Filming,
    QUIET,
    short_help="Draw the flow of a video.",
)
def video(video: str, output: str, style: Any, onto: str, filming: Filming, **options: Any) -> None:
    """Draw the flow of VIDEO as a video: one picture for each pair of frames.

    The colour scale is the same for the whole clip. The flow is free for every pixel (dense) unless
    --transform names a model. The result has no sound. Ctrl-C ends the video with the pictures so far, exit
    code 130; a second one leaves what was there before.

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
    from glualign.aligner import Aligner
    from glualign.outputs import check_outputs, is_folder
    from glualign.video import ENCODINGS, Clip, check_frames, video_pictures, write_video

    folder = is_folder(output, ENCODINGS)
    check_outputs([Path(output, "000001.png") if folder else output], [video, filming.model])
    first, last = options["frames"]
    if last is not None and last <= first:
        raise click.BadParameter(f"'{first}:{last}' is not {RANGE}.", param_hint="--range")
    clip = Clip(Path(video), first, last, options["every"])
    count, rate = clip.count(), clip.rate()
    if shortfall := clip.shortfall(count):
        warn(shortfall)
    if folder:
        check_frames(Path(output), count - 1)
    if filming.transform == "auto":
        filming = replace(filming, transform="dense")  # not one model in this frame and flow in the next
    if onto == "next" and filming.preset is None and not filming.mirror:
        filming = replace(filming, preset="fast")
    aligner = Aligner.from_pretrained(**filming.arguments())
    pictures = video_pictures(
        clip, aligner, count, style=style, onto_first=onto == "first", max_flow=options["max_flow"]
    )
    with counted(count - 1, "Aligning") as advance:
        written = write_video(output, pictures, rate, advance)
    if not options["quiet"]:
        stopped = "" if written == count - 1 else f" of {count - 1}, stopped by Ctrl-C"
        click.echo(f"{output}: {written} pictures{stopped}")
    if written < count - 1:
        raise click.exceptions.Exit(INTERRUPTED)
