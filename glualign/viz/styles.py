"""Every style of picture by its name: the table that the command line, the report and users choose from."""

from __future__ import annotations

from typing import Literal, get_args

from glualign.arrays import Floats, Mask
from glualign.errors import FlowError, GlualignError
from glualign.flow import Flow, consistency, warp
from glualign.viz import pair, scalar
from glualign.viz.arrows import arrows
from glualign.viz.canvas import Picture, blank, check_size
from glualign.viz.colormap import striped
from glualign.viz.colorwheel import flow_to_rgb, with_wheel
from glualign.viz.grid import deformed_grid

FlowStyle = Literal["wheel", "arrows", "grid", "magnitude", "jacobian", "error", "confidence", "mask"]
PairStyle = Literal["blend", "checkerboard", "difference", "flicker", "side-by-side"]
FLOW_STYLES: tuple[FlowStyle, ...] = get_args(FlowStyle)
PAIR_STYLES: tuple[PairStyle, ...] = get_args(PairStyle)


def draw_flow(
    flow: Flow,
    style: FlowStyle = "wheel",
    *,
    image: Picture | None = None,
    max_flow: float | None = None,
    legend: bool = True,
    backward: Flow | None = None,
    confidence: Floats | None = None,
    valid: Mask | None = None,
) -> Picture:
    """Draw a flow field.

    Args:
        flow: target -> source, in source pixels.
        style: which picture.
        image: target image ``(H, W, 3)`` uint8 under arrows, grid and mask.
        max_flow: pixels of full scale in wheel, magnitude and error; None chooses from the data.
        legend: explain the picture in a strip below it.
        backward: the flow of the other direction, source -> target, for error.
        confidence: ``(H, W)`` float32 in [0, 1], for confidence.
        valid: ``(H, W)`` bool, what mask shows (None takes ``flow.valid()``) and where jacobian looks.

    Returns:
        ``(H, W, 3)`` uint8 RGB, with a legend taller by the strip.

    Raises:
        FlowError: sizes do not fit, or the style needs something that was not given.
    """
    for what, values in (("the valid mask", valid), ("the confidence map", confidence)):
        if values is not None:
            check_size(what, values, flow.size)
    if style == "wheel":
        top = scalar.checked_maximum(max_flow) if max_flow is not None else scalar.scale_of(flow)
        picture = flow_to_rgb(flow, top)
        return with_wheel(picture, flow, top) if legend else picture
    if style == "arrows":
        return arrows(flow, image, legend=legend)
    if style == "grid":
        return deformed_grid(flow, image, legend=legend)
    if style == "magnitude":
        return scalar.magnitude(flow, max_flow, legend=legend)
    if style == "jacobian":
        return scalar.jacobian(flow, valid, legend=legend)
    if style == "error":
        if backward is None:
            raise FlowError(
                "the error style compares two flows: give the backward flow (source -> target) too"
            )
        return scalar.error(consistency(flow, backward), max_flow, legend=legend)
    if style == "confidence":
        if confidence is None:
            raise FlowError("the confidence style needs a confidence map")
        return scalar.confidence(confidence, legend=legend)
    mask = flow.valid() if valid is None else valid
    return scalar.mask_overlay(image if image is not None else blank(*flow.size), mask, legend=legend)


def draw_pair(
    source: Picture, target: Picture, flow: Flow, style: PairStyle = "blend", *, valid: Mask | None = None
) -> list[Picture]:
    """Warp the source by the flow and show it together with the target.

    Args:
        source: ``(H_source, W_source, 3)`` uint8.
        target: ``(H, W, 3)`` uint8 of the flow's size.
        flow: target -> source, in source pixels.
        style: which picture.
        valid: ``(H, W)`` bool, where to trust the flow; None trusts it wherever it stays inside the source.

    Returns:
        One picture; two frames for ``flicker``.

    Raises:
        FlowError: the flow does not belong to these images.
    """
    check_pair(source, target, flow)
    if valid is not None:
        check_size("the valid mask", valid, flow.size)
    warped, inside = warp(source, flow)
    inside = inside if valid is None else inside & valid
    if style == "flicker":
        return list(pair.flicker_frames(target, warped, inside))
    if style == "side-by-side":
        moved = striped(warped, ~inside)
        return [pair.side_by_side([("Source", source), ("Source, warped", moved), ("Target", target)])]
    draw = {"blend": pair.blend, "checkerboard": pair.checkerboard, "difference": pair.red_cyan}
    if style not in draw:
        raise GlualignError(f"unknown style {style!r}; there are {', '.join(FLOW_STYLES + PAIR_STYLES)}")
    return [draw[style](target, warped, inside)]


def check_pair(source: Picture, target: Picture, flow: Flow) -> None:
    """Refuse a flow that was not computed on images of these sizes.

    Raises:
        FlowError: with both sizes.
    """
    check_size("the target", target, flow.size)
    if flow.source_size is not None and source.shape[:2] != flow.source_size:
        high, wide = flow.source_size
        raise FlowError(
            f"the source is {source.shape[1]} x {source.shape[0]} and the flow was made for one of "
            f"{wide} x {high} pixels; give the source that the flow was computed on"
        )
