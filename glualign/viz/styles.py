"""Every style of picture by its name, of a flow and of a pair: what the command line and users choose from.

Pictures of a pair are on the target's grid; all show the faded target where there is no valid source.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image as PillowImage

from glualign.arrays import Floats, Mask
from glualign.errors import FlowError, ImageError
from glualign.files import PathLike, atomic_path
from glualign.flow import Flow, forward_backward_error, jacobian_determinant, warp
from glualign.geometry import size_of, strips
from glualign.styles import FLOW_STYLES, PAIR_STYLES, Style
from glualign.viz.canvas import PAPER, Drawing, Picture, check_size, faded, pen_for, readable
from glualign.viz.colors import Colormap, checked_maximum, flow_to_rgb, longest, palette, scale_of
from glualign.viz.lines import arrows, deformed_grid

FOLD = (0, 0, 0)  # far darker than either end of the map, so told apart by lightness alone
_EDGE = (213, 94, 0)  # vermilion of Okabe and Ito, told apart with any colour vision
_LIGHT, _DARK = 232, 176  # stripes

ANIMATIONS: dict[str, dict[str, Any]] = {
    ".gif": {"format": "GIF", "optimize": False, "disposal": 1},
    ".webp": {"format": "WEBP", "quality": 90, "method": 4},
    ".png": {"format": "PNG"},
}
"""Extensions of flicker files, and how Pillow writes them."""
_INTERVAL = 700  # milliseconds that each frame stays
_LARGEST_WEBP = 16383  # pixels a side, by the format


def wheel(flow: Flow, max_flow: float | None = None) -> Drawing:
    """Direction as hue, length as saturation, as `flow_to_rgb`; ``max_flow`` None takes `scale_of`."""
    top = scale_of(flow, max_flow)
    lines = [f"Rim of the wheel: {readable(top)} px", "Hue: from the target pixel towards its source"]
    marks = ["darker: longer"] if longest(flow) > top * 1.001 else []
    marks += [] if flow.known.all() else ["black: unknown"]
    lines += [", ".join(marks).capitalize()] if marks else []
    return Drawing(flow_to_rgb(flow, top), tuple(lines))


def colorize(values: Floats, low: float, high: float, name: Colormap = "viridis") -> Picture:
    """Colour ``(H, W)`` values from ``low`` to ``high``, larger and smaller ones like these, NaN striped."""
    rgb = np.empty((*values.shape, 3), np.uint8)
    for top, bottom in strips(size_of(values)):
        share = (values[top:bottom].astype(np.float32) - low) * (255 / ((high - low) or 1.0))
        level = np.rint(np.nan_to_num(np.clip(share, 0, 255)))
        rgb[top:bottom] = palette(name)[level.astype(np.uint8)]
    return striped(rgb, np.isnan(values))


def striped(picture: Picture, where: Mask) -> Picture:
    """The picture with grey diagonal stripes where ``where`` holds: no data, in no map's colours."""
    odd = _diagonal(picture, 2 + 3 * pen_for(*picture.shape[:2]).line)
    result = picture.copy()
    result[where] = np.where(odd[where, None], _DARK, _LIGHT)
    return result


def _diagonal(picture: Picture, period: int) -> Mask:
    """Every other diagonal stripe of a picture, each ``period`` pixels wide."""
    height, width = picture.shape[:2]
    return np.asarray((np.arange(height)[:, None] + np.arange(width)) // period % 2, np.bool_)


def jacobian(flow: Flow, where: Mask | None = None) -> Drawing:
    """How much source area one target pixel covers: blue stretched, orange compressed, black folded over.

    The colour is the logarithm of the Jacobian determinant of target -> source positions, from 1/4 to 4;
    where the determinant is not positive the map is not invertible (a fold). Outside ``where`` the picture is
    striped.
    """
    determinant = jacobian_determinant(flow)
    if where is not None:
        determinant = np.where(where, determinant, np.float32(np.nan))
    folded = determinant <= 0
    exponent = np.log2(np.where(folded, np.float32(1), determinant))
    picture = colorize(exponent, -2, 2, "balance")
    picture[folded] = FOLD
    share = 100 * folded.sum() / max(1, np.isfinite(determinant).sum())
    folds = f"{share:.2g} %" if share else "none"
    line = f"Source area per target pixel. Folded over (black): {folds}"
    return Drawing(picture, (line,), "balance", ("1/4", "1", "4"))


def error(errors: Floats, maximum: float | None = None) -> Drawing:
    """Forward-backward (or any) error ``(H, W)`` in pixels, black for none; NaN is striped.

    The brightest colour is ``maximum`` pixels; None takes eight times the median or the 98th percentile,
    whichever is less, and at least 1 px: where the images do not overlap the error is of any size, and must
    not hide what happens where they do.
    """
    errors = np.where(np.isfinite(errors), errors, np.float32(np.nan))
    middle, high = np.nanpercentile(errors, [50, 98]) if np.isfinite(errors).any() else (np.nan, 0.0)
    if maximum is None:
        maximum = max(1.0, float(np.fmin(high, 8 * middle)))
    median = "defined nowhere" if np.isnan(middle) else f"median {readable(float(middle))} px"
    return _scaled(errors, maximum, "inferno", f"Forward-backward error in pixels, {median}")


def _scaled(values: Floats, top: float, name: Colormap, line: str) -> Drawing:
    """Values from 0 to ``top`` with a scale, which has a plus sign where larger ones occur."""
    top = checked_maximum(top)
    beyond = "+" if np.nanmax(values, initial=0) > top * 1.001 else ""
    labels = ("0", readable(top / 2), readable(top) + beyond)
    return Drawing(colorize(values, 0, top, name), (line,), name, labels)


def mask_overlay(image: Picture, mask: Mask) -> Drawing:
    """Show the image where ``mask``, ``(H, W)`` bool, holds; faded under stripes, with an outline, elsewhere.

    A `FlowError` says that the sizes differ.
    """
    check_size("the image", image, size_of(mask))
    line = pen_for(*mask.shape).line
    picture, outside = image.copy(), ~mask
    if outside.any():
        picture[outside] = faded(image, 0.5, 90)[outside]
        hatched = outside & ~_diagonal(picture, 4 + 5 * line)
        picture[hatched] = picture[hatched] // 4 * 3 + 60
        # On a copy continued beyond the frame the contour closes out of sight, so that it does not run along
        # the frame.
        margin = line + 2
        wide = np.pad(outside.astype(np.uint8), margin, mode="edge")
        how = cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
        outlines, _ = cv2.findContours(wide, *how, offset=(-margin, -margin))
        cv2.drawContours(picture, outlines, -1, _EDGE, line + 1, cv2.LINE_AA)
    return Drawing(picture, (f"Striped: {100 * outside.mean():.1f} % without a valid source",))


def draw(
    flow: Flow,
    style: Style = "wheel",
    *,
    source: Picture | None = None,
    target: Picture | None = None,
    max_flow: float | None = None,
    backward: Flow | None = None,
    confidence: Floats | None = None,
    valid: Mask | None = None,
) -> list[Drawing]:
    """Draw a flow field, target -> source, in source pixels, or what it does to a pair.

    Args:
        flow: the field.
        style: which picture.
        source: image ``(H, W, 3)`` uint8, for the styles of a pair.
        target: image of the flow's size, for the styles of a pair, and under arrows, grid and mask.
        max_flow: pixels of full scale in wheel, magnitude and error; None chooses from the data.
        backward: the flow of the other direction, source -> target, for error.
        confidence: ``(H, W)`` float32 in [0, 1], for confidence.
        valid: ``(H, W)`` bool, what mask shows (None takes ``flow.valid()``), and where jacobian and the
            styles of a pair look.

    Returns:
        One drawing; for ``flicker`` two, to be shown in turn.

    Raises:
        FlowError: sizes do not fit, or the style needs something that was not given.
    """
    check_size("the valid mask", valid, flow.size)
    check_size("the confidence map", confidence, flow.size)
    match style:
        case "wheel":
            return [wheel(flow, max_flow)]
        case "arrows":
            return [arrows(flow, target)]
        case "grid":
            return [deformed_grid(flow, target)]
        case "magnitude":
            top = scale_of(flow, max_flow)
            return [_scaled(flow.magnitude, top, "viridis", "Length of the flow in pixels")]
        case "jacobian":
            return [jacobian(flow, valid)]
        case "error" if backward is not None:
            return [error(forward_backward_error(flow, backward), max_flow)]
        case "confidence" if confidence is not None:
            return [_scaled(confidence, 1, "cividis", "Confidence in the flow")]
        case "mask":
            shown = np.full((*flow.size, 3), PAPER, np.uint8) if target is None else target
            return [mask_overlay(shown, flow.valid() if valid is None else valid)]
    if style not in PAIR_STYLES or source is None or target is None:
        raise FlowError(
            f"style {style!r} is none of {', '.join(FLOW_STYLES + PAIR_STYLES)}, or lacks what it shows: "
            "the backward flow (source -> target) for error, the confidence map for confidence, both images "
            "for a pair"
        )
    check_size("the target", target, flow.size)
    warped, inside = warp(source, flow)
    inside = inside if valid is None else inside & valid
    if style == "flicker":  # whatever is misaligned jumps; what has no source is the same in both frames
        named = ("Target", target), ("Source, warped", warped)
        return [Drawing(filled(each, target, inside), (name,)) for name, each in named]
    if style == "side-by-side":
        panels = {"Source": source, "Source, warped": striped(warped, ~inside), "Target": target}
        return [Drawing(_side_by_side(panels))]
    if style == "blend":  # misaligned edges show double
        picture = np.asarray(cv2.addWeighted(target, 0.5, warped, 0.5, 0), np.uint8)
    elif style == "checkerboard":  # misaligned edges break
        side = max(1, round(max(flow.size) / 8))
        rows, columns = (np.arange(length) // side % 2 for length in flow.size)
        picture = np.where((rows[:, None] != columns)[..., None], warped, target)
    else:
        picture = red_cyan(target, warped)
    return [Drawing(filled(picture, target, inside))]


def red_cyan(target: Picture, warped: Picture) -> Picture:
    """Target in red, warped source in cyan: grey where they agree, coloured fringes where they do not."""
    red, cyan = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (target, warped))
    return np.dstack([red, cyan, cyan])


def filled(picture: Picture, target: Picture, valid: Mask) -> Picture:
    """The picture where ``valid``, and the faded target elsewhere."""
    return picture if valid.all() else np.where(valid[..., None], picture, faded(target, 0.6, 200))


def _side_by_side(panels: dict[str, Picture]) -> Picture:
    """Pictures with their names below next to each other, at the height of the last, which stays as it is."""
    *_, (height, width, _) = (picture.shape for picture in panels.values())
    sizes = [max(1, round(each.shape[1] * height / each.shape[0])) for each in panels.values()]
    pen, columns = pen_for(height, sum(sizes)), []
    for (name, picture), side in zip(panels.items(), sizes, strict=True):
        column = Drawing(resized(picture, height, side), (name,)).explained(pen)
        gap = np.full((column.shape[0], max(2, 2 * pen_for(height, width).line), 3), PAPER, np.uint8)
        columns += [column, gap]
    return np.concatenate(columns[:-1], axis=1)


def resized(picture: Picture, height: int, width: int) -> Picture:
    """The picture at another size; itself where it has that size."""
    if picture.shape[:2] == (height, width):
        return picture
    how = cv2.INTER_AREA if height < picture.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (width, height), interpolation=how), np.uint8)


def write_animation(path: PathLike, frames: Sequence[Picture], quality: int | None = None) -> None:
    """Write frames of one size as an endless animation; the extension chooses the format.

    GIF has 256 colours, shared by all frames so that flat areas do not shimmer; WebP and PNG keep them all.
    ``quality``, 1 to 100, is that of WebP.

    Raises:
        ImageError: another extension, or a picture too large for the format.
        OutputError: the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in ANIMATIONS:
        raise ImageError(f"{path}: an animation is written as {', '.join(ANIMATIONS)}; choose one of these")
    height, width = frames[0].shape[:2]
    if suffix == ".webp" and max(height, width) > _LARGEST_WEBP:
        raise ImageError(
            f"{path}: {width} x {height} pixels do not fit into WebP; make it smaller or use .png"
        )
    pictures = [PillowImage.fromarray(frame) for frame in frames]
    if suffix == ".gif":
        together = PillowImage.fromarray(np.concatenate(frames, axis=0))
        together.thumbnail((1024, 1024))  # plenty to choose 256 colours from
        palette = together.quantize(256, method=PillowImage.Quantize.MEDIANCUT)
        pictures = [each.quantize(palette=palette) for each in pictures]
    how: dict[str, Any] = {"save_all": True, "append_images": pictures[1:], "duration": _INTERVAL, "loop": 0}
    form = ANIMATIONS[suffix] | ({"quality": quality} if quality and suffix == ".webp" else {})
    with atomic_path(path) as temporary:
        pictures[0].save(temporary, **how, **form)
