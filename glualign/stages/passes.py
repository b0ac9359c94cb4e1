"""One pass: match a target with its source as a transform shows it, in both directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from glualign.geometry import Field, Matrix, Size, apply_transform, local_scale, pixel_grid, resizing_matrix
from glualign.images import Image, to_rgb8
from glualign.matcher import Encoded, Matcher

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

AGREEMENT = 1.5
"""Working pixels of forward-backward disagreement at which a cell counts about a third."""


@dataclass(frozen=True, eq=False)
class Pass:
    """What one pass found, on the cells of the network's answer.

    Attributes:
        transform: working pixel of the target -> pixel of the full-size source, before the flow.
        flow: ``(h, w, 2)`` float32, target -> transformed source, working pixels.
        backward: ``(h, w, 2)`` float32, transformed source -> target, working pixels.
        error: ``(h, w)`` float32, forward-backward disagreement in working pixels; infinite where the flow
            leaves the transformed source.
        score: mean agreement over the target's cells, 0 to 1.
        stride: working pixels from cell to cell.
    """

    transform: Matrix
    flow: Field
    backward: Field
    error: npt.NDArray[np.float32]
    score: float
    stride: int


@dataclass(frozen=True, eq=False)
class PreparedTarget:
    """A target and its features; aligning many sources onto one target computes them once.

    Attributes:
        image: as given by the caller.
        pixels: its ``(H, W, 3)`` uint8 RGB, full size.
        working: ``(height, width)`` at which the pair is matched.
        features: of the target at that size.
        max_side: larger images are reduced to this longer side first; None: never.
    """

    image: Image
    pixels: Pixels
    working: Size
    features: Encoded
    max_side: int | None


def prepare_target(matcher: Matcher, image: Image, *, max_side: int | None) -> PreparedTarget:
    """Compute a target's features once, for any number of sources."""
    return prepare_targets(matcher, [image], max_side=max_side)[0]


def prepare_targets(
    matcher: Matcher, images: Sequence[Image], *, max_side: int | None
) -> list[PreparedTarget]:
    """The same for several targets of one size, in one forward pass of the pyramid."""
    pixels = [to_rgb8(image) for image in images]
    small = [reduced(each, max_side) for each in pixels]
    working = matcher.working_size(*small[0].shape[:2])
    return [
        PreparedTarget(image, full, working, features, max_side)
        for image, full, features in zip(images, pixels, matcher.encode_targets(small, working), strict=True)
    ]


class PassRunner:
    """Runs passes over one pair; keeps the source's reduced copies between them.

    Attributes:
        working: the size at which the pair is matched, taken from the target.
        from_target: full-size target pixel -> working pixel.
        squeeze: working pixel -> full-size source pixel when the source is only resized.
    """

    def __init__(self, matcher: Matcher, source: Pixels, target: PreparedTarget) -> None:
        self.matcher = matcher
        self.target = target
        self.working = target.working
        self.source_size: Size = (source.shape[0], source.shape[1])
        self.target_size: Size = target.image.size
        self.from_target = resizing_matrix(self.target_size, self.working)
        self.squeeze = resizing_matrix(self.working, self.source_size)
        self.source_pixels = source
        self.target_pixels = target.pixels
        self._levels = [source]

    def plain_source(self) -> Pixels:
        """The source as the published forward pass takes it: whole, at most ``max_side`` long."""
        return reduced(self.source_pixels, self.target.max_side)

    def plain(self) -> Pass:
        """The published forward pass: the source is resized to the target's working size."""
        source = self.matcher.encode_source(self.plain_source(), self.working)
        return self._matched(source, self.squeeze, None)

    def transformed(self, transform: Matrix) -> Pass:
        """Match the target with the source warped by ``transform`` (working -> full-size source)."""
        image, inside = self.view(transform, self.working)
        return self._matched(self.matcher.encode_source(image, self.working), transform, inside)

    def view(self, transform: Matrix, size: Size) -> tuple[Pixels, Mask]:
        """The source as ``transform`` (frame of ``size`` -> source) shows it, and where it exists."""
        level = int(np.clip(np.floor(np.log2(max(1.0, local_scale(transform, size)))), 0, 8))
        image = self._level(level)
        to_level = resizing_matrix(self.source_size, image.shape[:2]) @ transform
        shown = cv2.warpPerspective(
            image, to_level, size[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        return np.asarray(shown, np.uint8), inside(
            apply_transform(transform, pixel_grid(size)), self.source_size
        )

    def _level(self, level: int) -> Pixels:
        """The source reduced by 2^level, so that a transform that shrinks it does not alias."""
        while len(self._levels) <= level:
            last = self._levels[-1]
            half = (max(1, last.shape[1] // 2), max(1, last.shape[0] // 2))
            self._levels.append(np.asarray(cv2.resize(last, half, interpolation=cv2.INTER_AREA), np.uint8))
        # warpPerspective cannot read images of 32,768 pixels a side and more.
        while max(self._levels[level].shape) > 32_000:
            return self._level(level + 1)
        return self._levels[level]

    def _matched(self, source: Encoded, transform: Matrix, exists: Mask | None) -> Pass:
        target = self.target.features
        forward, backward = self.matcher.match_both_ways(source, target)
        return judged(transform, forward, backward, exists, stride=self.matcher.stride)


def plain_passes(runners: Sequence[PassRunner]) -> list[Pass]:
    """The published forward pass of several pairs of one working size, computed together."""
    matcher, working = runners[0].matcher, runners[0].working
    sources = matcher.encode_sources([runner.plain_source() for runner in runners], working)
    targets = [runner.target.features for runner in runners]
    forward, backward = matcher.match_many_both_ways(list(zip(sources, targets, strict=True)))
    return [
        judged(runner.squeeze, there, back, stride=matcher.stride)
        for runner, there, back in zip(runners, forward, backward, strict=True)
    ]


def judged(
    transform: Matrix, forward: Field, backward: Field, exists: Mask | None = None, *, stride: int
) -> Pass:
    """A pass with the disagreement of its two directions."""
    error = disagreement(forward, backward, stride=stride, exists=exists)
    return Pass(transform, forward, backward, error, agreement(error, AGREEMENT), stride)


def reduced(image: Pixels, max_side: int | None) -> Pixels:
    """The image with its longer side at most ``max_side``, by area averaging."""
    height, width = image.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return image
    scale = max_side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def inside(positions: npt.NDArray[np.floating[Any]], size: Size) -> Mask:
    """Where positions ``(..., 2)`` are finite and inside a frame of ``size``."""
    height, width = size
    x, y = positions[..., 0], positions[..., 1]
    with np.errstate(invalid="ignore"):
        return np.asarray((x >= -0.5) & (y >= -0.5) & (x <= width - 0.5) & (y <= height - 0.5))


def disagreement(
    forward: Field, backward: Field, *, stride: int, exists: Mask | None = None
) -> npt.NDArray[np.float32]:
    """``|f(x) + b(x + f(x))|`` in pixels, on the cells of ``forward``.

    Args:
        forward: ``(h, w, 2)`` target -> source view, in pixels.
        backward: ``(h, w, 2)`` source view -> target, in pixels.
        stride: pixels from cell to cell.
        exists: ``(H, W)`` pixels of the view that show the source; None when all do.

    Returns:
        ``(h, w)``, infinite where ``x + f(x)`` leaves the frame or the source.
    """
    size = (forward.shape[0], forward.shape[1])
    cells = pixel_grid(size) + forward / stride
    returned = cv2.remap(
        backward, cells[..., 0], cells[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    error = np.linalg.norm(forward + returned, axis=2).astype(np.float32)
    error[~inside(cells, size)] = np.inf
    if exists is not None:
        pixels = (cells + 0.5) * stride - 0.5
        x = np.clip(np.rint(pixels[..., 0]), 0, exists.shape[1] - 1).astype(np.intp)
        y = np.clip(np.rint(pixels[..., 1]), 0, exists.shape[0] - 1).astype(np.intp)
        error[~exists[y, x]] = np.inf
    return np.asarray(error, np.float32)


def agreement(error: npt.NDArray[np.float32], scale: float) -> float:
    """Mean over the cells of a score that falls from 1 (no disagreement) to 1/e at ``scale`` pixels."""
    return float(np.mean(np.exp(-((error / scale) ** 2))))
