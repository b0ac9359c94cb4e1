"""``glualign viz``: a flow file as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from glualign.cli.options import quality_option, quiet_option

if TYPE_CHECKING:
    from glualign.arrays import Floats
    from glualign.flow import Flow


# Spelt out here because the tables in glualign.viz.styles would import OpenCV for --help; a test compares
# them.
FLOW_STYLES = ("wheel", "arrows", "grid", "magnitude", "jacobian", "error", "confidence", "mask")
PAIR_STYLES = ("blend", "checkerboard", "difference", "flicker", "side-by-side")
_FLICKER_SIDE = 1280  # an animation at full camera size is tens of megabytes

_file = click.Path(dir_okay=False)


@click.command(short_help="Draw a flow file, or what it does to a pair.")
@click.argument("flow_path", metavar="FLOW", type=_file)
@click.option(
    "-o", "--output", required=True, type=_file, metavar="FILE", help="Picture to write, e.g. out.png."
)
@click.option(
    "-s",
    "--style",
    type=click.Choice(FLOW_STYLES + PAIR_STYLES),
    metavar="STYLE",
    default="wheel",
    show_default=True,
    help="Which picture: one of the styles above.",
)
@click.option(
    "--max-flow",
    type=click.FloatRange(min=0, min_open=True),
    metavar="PX",
    show_default="from the data",
    help="Full scale of wheel, magnitude and error in pixels, to compare pictures with one another.",
)
@click.option(
    "--image",
    "--target",
    "target_path",
    type=_file,
    metavar="IMG",
    help="Target image: its grid is the flow's.",
)
@click.option(
    "--source", "source_path", type=_file, metavar="IMG", help="Source image: the one that the flow moves."
)
@click.option(
    "--backward", "backward_path", type=_file, metavar="FLOW", help="Flow of the other direction, for error."
)
@click.option(
    "--confidence",
    "confidence_path",
    type=_file,
    metavar="IMG",
    help="Grey image (white: certain), for confidence.",
)
@click.option(
    "--mask",
    "mask_path",
    type=_file,
    metavar="IMG",
    help="Valid mask (white: valid), for mask, jacobian and pairs.",
)
@click.option(
    "--legend/--no-legend", default=True, show_default=True, help="Explain the picture in a strip below it."
)
@click.option(
    "--size",
    type=click.IntRange(min=16),
    metavar="PX",
    show_default="the flow's; flicker 1280",
    help="Longer side of the picture at most.",
)
@quality_option
@quiet_option
def command(
    flow_path: str,
    output: str,
    style: str,
    max_flow: float | None,
    target_path: str | None,
    source_path: str | None,
    backward_path: str | None,
    confidence_path: str | None,
    mask_path: str | None,
    legend: bool,
    size: int | None,
    quality: int | None,
    quiet: bool,
) -> None:
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
    from pathlib import Path

    from glualign.flow import Flow, read_flow
    from glualign.images import read_image, to_rgb8, write_image
    from glualign.outputs import check_outputs
    from glualign.viz.animation import ANIMATION_EXTENSIONS, write_animation
    from glualign.viz.pair import shrunk
    from glualign.viz.styles import draw_flow, draw_pair

    _check_usage(style, source_path, target_path, backward_path, confidence_path)
    if style == "flicker" and Path(output).suffix.lower() not in ANIMATION_EXTENSIONS:
        raise click.UsageError(
            f"--style flicker writes {', '.join(ANIMATION_EXTENSIONS)}, not {Path(output).name!r}."
        )
    inputs = [flow_path, target_path, source_path, backward_path, confidence_path, mask_path]
    check_outputs([output], [name for name in inputs if name])

    flow = read_flow(flow_path)
    source = to_rgb8(read_image(source_path)) if source_path else None
    target = to_rgb8(read_image(target_path)) if target_path else None
    if source is not None and flow.source_size is None:
        flow = Flow(flow.data, source.shape[:2])
    valid = read_grey_map(mask_path, flow) >= 0.5 if mask_path else None
    if style in PAIR_STYLES and source is not None and target is not None:
        frames = draw_pair(source, target, flow, style, valid=valid)  # type: ignore[arg-type]
    else:
        picture = draw_flow(
            flow,
            style,  # type: ignore[arg-type]
            image=target,
            max_flow=max_flow,
            legend=legend,
            backward=read_flow(backward_path) if backward_path else None,
            confidence=read_grey_map(confidence_path, flow) if confidence_path else None,
            valid=valid,
        )
        frames = [picture]
    if style == "flicker":
        size = size or _FLICKER_SIDE
        write_animation(output, [shrunk(frame, size) for frame in frames])
    else:
        write_image(output, shrunk(frames[0], size), quality=quality)
    if not quiet:
        click.echo(f"{output}: {style}")


def _check_usage(
    style: str, source: str | None, target: str | None, backward: str | None, confidence: str | None
) -> None:
    if style in PAIR_STYLES and not (source and target):
        raise click.UsageError(f"--style {style} shows a pair: give --source and --target.")
    if style == "error" and not backward:
        raise click.UsageError("--style error compares two flows: give --backward (source -> target).")
    if style == "confidence" and not confidence:
        raise click.UsageError("--style confidence needs --confidence.")


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
