"""``glualign viz``: a flow file as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glualign.cli.options import FILE, POSITIVE, quality_option, quiet_option

if TYPE_CHECKING:
    from glualign.arrays import Floats
    from glualign.flow import Flow


# Spelt out here because the tables in glualign.viz.styles would import OpenCV for --help; a test compares
# them.
FLOW_STYLES = ("wheel", "arrows", "grid", "magnitude", "jacobian", "error", "confidence", "mask")
PAIR_STYLES = ("blend", "checkerboard", "difference", "flicker", "side-by-side")
_FLICKER_SIDE = 1280  # an animation at full camera size is tens of megabytes


@click.command(short_help="Draw a flow file, or what it does to a pair.")
@click.argument("flow_path", metavar="FLOW", type=FILE)
@click.option("-o", "--output", required=True, type=FILE, help="Picture to write, e.g. out.png.")
@click.option(
    "-s",
    "--style",
    type=click.Choice(FLOW_STYLES + PAIR_STYLES),
    metavar="STYLE",
    default="wheel",
    help="Which picture: one of the styles above.",
)
@click.option(
    "--max-flow",
    type=POSITIVE,
    metavar="PX",
    show_default="from the data",
    help="Full scale of wheel, magnitude and error in pixels, to compare pictures with one another.",
)
@click.option(
    "--image", "--target", "target", type=FILE, metavar="IMG", help="Target image: its grid is the flow's."
)
@click.option("--source", type=FILE, metavar="IMG", help="Source image: the one that the flow moves.")
@click.option("--backward", type=FILE, metavar="FLOW", help="Flow of the other direction, for error.")
@click.option("--confidence", type=FILE, metavar="IMG", help="Grey image (white: certain), for confidence.")
@click.option(
    "--mask", type=FILE, metavar="IMG", help="Valid mask (white: valid), for mask, jacobian and pairs."
)
@click.option("--legend/--no-legend", default=True, help="Explain the picture in a strip below it.")
@click.option(
    "--size",
    type=click.IntRange(min=16),
    metavar="PX",
    show_default="the flow's; flicker 1280",
    help="Longer side of the picture at most.",
)
@quality_option
@quiet_option
def command(flow_path: str, output: str, style: Any, size: int | None, quiet: bool, **options: Any) -> None:
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
    from glualign.images import read_image, to_rgb8, write_image
    from glualign.outputs import check_outputs
    from glualign.viz.animation import ANIMATION_EXTENSIONS, write_animation
    from glualign.viz.pair import shrunk
    from glualign.viz.styles import draw_flow, draw_pair

    backward, confidence, mask = options["backward"], options["confidence"], options["mask"]
    if style in PAIR_STYLES and not (options["source"] and options["target"]):
        raise click.UsageError(f"--style {style} shows a pair: give --source and --target.")
    if style == "error" and not backward:
        raise click.UsageError("--style error compares two flows: give --backward (source -> target).")
    if style == "confidence" and not confidence:
        raise click.UsageError("--style confidence needs --confidence.")
    if style == "flicker" and Path(output).suffix.lower() not in ANIMATION_EXTENSIONS:
        raise click.UsageError(
            f"--style flicker writes {', '.join(ANIMATION_EXTENSIONS)}, not {Path(output).name!r}."
        )
    inputs = (flow_path, options["source"], options["target"], backward, confidence, mask)
    check_outputs([output], filter(None, inputs))

    flow = read_flow(flow_path)
    source, target = (
        to_rgb8(read_image(path)) if path else None for path in (options["source"], options["target"])
    )
    if source is not None and flow.source_size is None:
        flow = Flow(flow.data, source.shape[:2])
    valid = read_grey_map(mask, flow) >= 0.5 if mask else None
    if style in PAIR_STYLES and source is not None and target is not None:
        frames = draw_pair(source, target, flow, style, valid=valid)
    else:
        picture = draw_flow(
            flow,
            style,
            image=target,
            max_flow=options["max_flow"],
            legend=options["legend"],
            backward=read_flow(backward) if backward else None,
            confidence=read_grey_map(confidence, flow) if confidence else None,
            valid=valid,
        )
        frames = [picture]
    if style == "flicker":
        size = size or _FLICKER_SIDE
        write_animation(output, [shrunk(frame, size) for frame in frames])
    else:
        write_image(output, shrunk(frames[0], size), quality=options["quality"])
    if not quiet:
        click.echo(f"{output}: {style}")


def read_grey_map(path: str, flow: Flow) -> Floats:
    """A mask or confidence map of the flow's size, kept as a grey image, as float32 from 0 to 1.

    Raises:
        ImageError: it cannot be read.
        FlowError: it has another size.
    """
    import cv2
    import numpy as np

    from glualign.images import read_image, to_rgb8
    from glualign.viz.canvas import check_size

    grey = cv2.cvtColor(to_rgb8(read_image(path)), cv2.COLOR_RGB2GRAY)
    check_size(path, grey, flow.size)
    return np.asarray(grey, np.float32) / np.float32(255)
