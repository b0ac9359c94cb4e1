"""Every style of picture by its name: the table that the command line, the report and users choose from."""

from __future__ import annotations

from typing import Literal, get_args

from glualign.arrays import Floats, Mask
from glualign.errors import FlowError
from glualign.flow import Flow, consistency, warp
from glualign.viz import pair, scalar
from glualign.viz.canvas import Drawing, Picture, blank, check_size, readable
from glualign.viz.colors import checked_maximum, flow_to_rgb, longest, scale_of
from glualign.viz.lines import arrows, deformed_grid

FlowStyle = Literal["wheel", "arrows", "grid", "magnitude", "jacobian", "error", "confidence", "mask"]
PairStyle = Literal["blend", "checkerboard", "difference", "flicker", "side-by-side"]
FLOW_STYLES: tuple[FlowStyle, ...] = get_args(FlowStyle)
PAIR_STYLES: tuple[PairStyle, ...] = get_args(PairStyle)


def wheel(flow: Flow, max_flow: float | None = None) -> Drawing:
    """Direction as hue, length as saturation, as `flow_to_rgb`; ``max_flow`` None takes `scale_of`."""
    top = checked_maximum(max_flow) if max_flow is not None else scale_of(flow)
    lines = [f"Rim of the wheel: {readable(top)} px", "Hue: from the target pixel towards its source"]
    marks = ["darker: longer"] if longest(flow) > top * 1.001 else []
    marks += [] if flow.known.all() else ["black: unknown"]
    lines += [", ".join(marks).capitalize()] if marks else []
    return Drawing(flow_to_rgb(flow, top), tuple(lines))


def draw_flow(
    flow: Flow,
    style: FlowStyle = "wheel",
    *,
    image: Picture | None = None,
    max_flow: float | None = None,
    backward: Flow | None = None,
    confidence: Floats | None = None,
    valid: Mask | None = None,
) -> Drawing:
    """Draw a flow field.

    Args:
        flow: target -> source, in source pixels.
        style: which picture.
        image: target image ``(H, W, 3)`` uint8 under arrows, grid and mask.
        max_flow: pixels of full scale in wheel, magnitude and error; None chooses from the data.
        backward: the flow of the other direction, source -> target, for error.
        confidence: ``(H, W)`` float32 in [0, 1], for confidence.
        valid: ``(H, W)`` bool, what mask shows (None takes ``flow.valid()``) and where jacobian looks.

    Raises:
        FlowError: sizes do not fit, or the style needs something that was not given.
    """
    for what, values in (("the valid mask", valid), ("the confidence map", confidence)):
        if values is not None:
            check_size(what, values, flow.size)
    match style:
        case "wheel":
            return wheel(flow, max_flow)
        case "arrows":
            return arrows(flow, image)
        case "grid":
            return deformed_grid(flow, image)
        case "magnitude":
            return scalar.magnitude(flow, max_flow)
        case "jacobian":
            return scalar.jacobian(flow, valid)
        case "error":
            if backward is None:
                raise FlowError("the error style needs the backward flow (source -> target) as well")
            return scalar.error(consistency(flow, backward), max_flow)
        case "confidence":
            if confidence is None:
                raise FlowError("the confidence style needs a confidence map")
            return scalar.confidence(confidence)
        case "mask":
            shown = blank(*flow.size) if image is None else image
            return scalar.mask_overlay(shown, flow.valid() if valid is None else valid)
    raise FlowError(f"unknown style {style!r}; there are {', '.join(FLOW_STYLES)}")


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
        FlowError: the flow does not belong to these images, or the style is unknown.
    """
    check_pair(source, target, flow)
    if valid is not None:
        check_size("the valid mask", valid, flow.size)
    warped, inside = warp(source, flow)
    inside = inside if valid is None else inside & valid
    match style:
        case "blend":
            return [pair.blend(target, warped, inside)]
        case "checkerboard":
            return [pair.checkerboard(target, warped, inside)]
        case "difference":
            return [pair.red_cyan(target, warped, inside)]
        case "flicker":
            return pair.flicker_frames(target, warped, inside)
        case "side-by-side":
            moved = scalar.striped(warped, ~inside)
            return [pair.side_by_side([("Source", source), ("Source, warped", moved), ("Target", target)])]
    raise FlowError(f"unknown style {style!r}; there are {', '.join(PAIR_STYLES)}")


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
