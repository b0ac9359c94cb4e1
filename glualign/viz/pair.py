"""Two images in one picture or one flicker file: how well does the warped source lie on the target?

All functions take pictures ``(H, W, 3)`` uint8 on the target's grid. Where ``valid`` is false there is no
source to compare with: the target is shown there, faded, in every style alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image as PillowImage

from glualign.arrays import Mask
from glualign.errors import ImageError
from glualign.files import PathLike, atomic_path
from glualign.viz.canvas import Drawing, Picture, blank, faded, pen_for, with_caption

ANIMATIONS: dict[str, dict[str, Any]] = {
    ".gif": {"format": "GIF", "optimize": False, "disposal": 1},
    ".webp": {"format": "WEBP", "quality": 90, "method": 4},
    ".png": {"format": "PNG"},
}
"""Extensions of flicker files, and how Pillow writes them."""
_LARGEST_WEBP = 16383  # pixels a side, by the format


def blend(target: Picture, warped: Picture, valid: Mask | None = None, share: float = 0.5) -> Picture:
    """Mix both images, ``share`` of the warped source: misaligned edges show double."""
    mixed = np.asarray(cv2.addWeighted(target, 1 - share, warped, share, 0), np.uint8)
    return filled(mixed, target, valid)


def checkerboard(target: Picture, warped: Picture, valid: Mask | None = None, cells: int = 8) -> Picture:
    """Alternate both images in squares, ``cells`` along the longer side: misaligned edges break there."""
    height, width = target.shape[:2]
    side = max(1, round(max(height, width) / cells))
    other = ((np.arange(height)[:, None] // side + np.arange(width) // side) % 2).astype(bool)
    return filled(np.where(other[..., None], warped, target), target, valid)


def red_cyan(target: Picture, warped: Picture, valid: Mask | None = None) -> Picture:
    """Target in red, warped source in cyan: grey where they agree, coloured fringes where they do not."""
    red, cyan = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (target, warped))
    return filled(np.dstack([red, cyan, cyan]), target, valid)


def flicker_frames(target: Picture, warped: Picture, valid: Mask | None = None) -> list[Picture]:
    """The two frames to show in turn, each with its name below: whatever is misaligned jumps.

    Pixels without a valid source are the same in both, so that nothing blinks where nothing is known.
    """
    names = (("Target", target), ("Source, warped", warped))
    return [with_caption(filled(picture, target, valid), name) for name, picture in names]


def side_by_side(panels: Sequence[tuple[str, Picture]]) -> Picture:
    """Pictures next to each other at the height of the last (the target), each with its name below.

    The last one keeps its pixels; the others are resized, keeping their proportions.
    """
    height, width = panels[-1][1].shape[:2]
    sizes = [max(1, round(picture.shape[1] * height / picture.shape[0])) for _, picture in panels]
    pen = pen_for(height, sum(sizes))
    columns: list[Picture] = []
    for (name, picture), side in zip(panels, sizes, strict=True):
        column = Drawing(resized(picture, height, side), (name,)).explained(pen)
        columns += [column, blank(column.shape[0], max(2, 2 * pen_for(height, width).line))]
    return np.concatenate(columns[:-1], axis=1)


def shrunk(picture: Picture, max_side: int | None) -> Picture:
    """The picture with its longer side at most ``max_side`` pixels."""
    height, width = picture.shape[:2]
    factor = min(1.0, (max_side or max(height, width)) / max(height, width))
    return resized(picture, max(1, round(height * factor)), max(1, round(width * factor)))


def resized(picture: Picture, height: int, width: int) -> Picture:
    """The picture at another size; itself where it has that size."""
    if picture.shape[:2] == (height, width):
        return picture
    how = cv2.INTER_AREA if height < picture.shape[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (width, height), interpolation=how), np.uint8)


def filled(picture: Picture, target: Picture, valid: Mask | None) -> Picture:
    """The picture where ``valid``, and the faded target elsewhere."""
    if valid is None or valid.all():
        return picture
    return np.where(valid[..., None], picture, faded(target, 0.6, 200))


def write_animation(path: PathLike, frames: Sequence[Picture], interval: int = 700) -> None:
    """Write frames of one size as an endless animation; the extension chooses the format.

    GIF has 256 colours, shared by all frames so that flat areas do not shimmer; WebP and PNG keep them all.
    Each frame stays for ``interval`` milliseconds.

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
    how: dict[str, Any] = {"save_all": True, "append_images": pictures[1:], "duration": interval, "loop": 0}
    with atomic_path(path) as temporary:
        pictures[0].save(temporary, **how, **ANIMATIONS[suffix])
