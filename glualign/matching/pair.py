"""`PairMatcher`: matches one target with its source, as it is or transformed, in both directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from glualign.arrays import Doubles, Field, Floats, Mask, Matrix, Size
from glualign.errors import ImageError
from glualign.flow import Flow
from glualign.geometry import (
    apply_transform,
    forward_backward_error,
    inverse,
    pixel_grid,
    resizing_matrix,
    sample,
    shown_area,
    size_of,
)
from glualign.images import Image, reduce_image, to_rgb8
from glualign.matching.predictor import FARTHEST, Encoded, FlowPredictor, Pixels
from glualign.network.warping import working_size

MASK_SIDE = 2048
"""Pixels; larger masks are reduced to this longer side; set, not tuned."""
LARGEST_READ = 32_000
"""Pixels a side; OpenCV's warpPerspective cannot read images of 32,768 and more."""
CONSISTENT = 1.5
"""Working pixels of forward-backward error at which a cell's consistency is 1/e."""


def cell_centres(size: Size, stride: int) -> Doubles:
    """``(h, w, 2)`` positions in pixels of a frame of ``size``, of its cells of ``stride`` pixels a side."""
    cells = (size[0] // stride, size[1] // stride)
    return (pixel_grid(cells).astype(np.float64) + 0.5) * stride - 0.5


class CoarseMotion(NamedTuple):
    """How a source is warped before it is matched, and its level 4 then, where it is known."""

    transform: Matrix | None  # working pixel -> full-size source pixel; None: only resized, as published
    level4: Tensor | None = None  # (1, C, 16, 16)


@dataclass(frozen=True, eq=False)
class MatchResult:
    """One match of a pair in both directions, on the ``(h, w)`` cells of the network's flow."""

    # Working pixel of the target -> full-size source pixel: how the source was warped first.
    transform: Matrix
    forward: Field  # (h, w, 2) float32, target -> transformed source, working pixels
    backward: Field  # (h, w, 2) float32, transformed source -> target, working pixels
    exists: Mask | None  # (H', W') working pixels at which the transform shows the source; None: all
    stride: int  # working pixels from cell to cell
    counted: Mask  # cells of the target that hold data
    centres: Doubles  # (h, w, 2), of the cells, in working pixels

    @cached_property
    def error(self) -> Floats:
        """Forward-backward error in working pixels; infinite beyond the source or where nothing counts."""
        return self.way_back(self.forward)

    @cached_property
    def consistency(self) -> float:
        """Mean over the cells of a score that falls from 1 (no error) to 1/e at `CONSISTENT`, 0 to 1."""
        error = self.error[self.counted]
        return float(np.mean(np.exp(-((error / CONSISTENT) ** 2)))) if error.size else 0.0

    def way_back(self, flow: Field) -> Floats:
        """`error` of another flow of the target's cells, with the way back of this match."""
        error = forward_backward_error(flow, self.backward, cell=self.stride, exists=self.exists)
        error[~self.counted] = np.inf
        return error


@dataclass(frozen=True, eq=False)
class PreparedImage:
    """An image and its features, computed once for all pairs that it is in."""

    image: Image  # as given by the caller
    pixels: Pixels  # its (H, W, 3) uint8 RGB, full size
    working: Size  # at which it is matched as a target
    features: Encoded  # of the image at that size
    max_side: int | None  # larger images are reduced to this longer side first
    checksum: int  # of the predictor that made the features

    def __repr__(self) -> str:
        return f"<PreparedImage of {self.image!r}>"


def prepare_images(
    predictor: FlowPredictor, images: Sequence[Image | PreparedImage], *, max_side: int | None
) -> list[PreparedImage]:
    """Features of images of one size, in one forward pass of the pyramid; those prepared before stay.

    An `ImageError` says that one was prepared by another model.
    """
    new = [(image, to_rgb8(image)) for image in images if isinstance(image, Image)]
    small = [reduce_image(pixels, max_side) for _, pixels in new]
    working = working_size(*small[0].shape[:2]) if small else (0, 0)
    features = iter(predictor.encode(small, working))
    checksum = predictor.checksum
    made = (PreparedImage(*each, working, next(features), max_side, checksum) for each in new)
    return [
        _checked(image, predictor) if isinstance(image, PreparedImage) else next(made) for image in images
    ]


def _checked(prepared: PreparedImage, predictor: FlowPredictor) -> PreparedImage:
    """An image that a model of these weights has prepared, on that device in that precision."""
    if prepared.checksum != predictor.checksum:
        how = "by another model, or in another precision"
        raise ImageError(f"{prepared.image.name}: was prepared {how}; prepare it by this one")
    return prepared


class PairMatcher:
    """Matches one pair as often as asked; keeps the source's reduced copies between matches.

    Attributes:
        working: the size at which the pair is matched, taken from the target.
        source: the image.
        source_features: of the source at the working size, where they are known beforehand.
        from_target: full-size target pixel -> working pixel.
        to_source: working pixel -> full-size source pixel when the source is only resized.
    """

    def __init__(
        self, predictor: FlowPredictor, source: Image | PreparedImage, target: PreparedImage
    ) -> None:
        self.predictor, self.target, self.working = predictor, target, target.working
        self.source_features: Encoded | None = None
        if isinstance(source, PreparedImage):
            source = _checked(source, predictor)
            self.source, self.source_pixels = source.image, source.pixels
            if (source.working, source.max_side) == (target.working, target.max_side):
                self.source_features = source.features
        else:
            self.source, self.source_pixels = source, to_rgb8(source)
        self.source_size: Size = self.source.size
        self.target_size: Size = target.image.size
        self.from_target = resizing_matrix(self.target_size, self.working)
        self.to_source = resizing_matrix(self.working, self.source_size)
        self.target_pixels = target.pixels
        self._levels = [self.source_pixels]
        missing = self.source.missing
        self._missing = None if missing is None else reduce_image(missing.astype(np.float32), MASK_SIDE)

    def match_transformed(self, transform: Matrix) -> MatchResult:
        """Match the target with the source warped by ``transform`` (working -> full-size source)."""
        return match_pairs([self], [CoarseMotion(transform)])[0]

    def change_transform(self, result: MatchResult, transform: Matrix) -> MatchResult:
        """The flow of a match on top of another global motion, without matching again."""
        centres = result.centres
        to_new = inverse(transform) @ result.transform
        forward = apply_transform(to_new, centres + result.forward) - centres
        there = apply_transform(inverse(to_new), centres)
        at = (there + 0.5) / result.stride - 0.5
        backward = there + sample(result.backward, at[..., 0], at[..., 1], outside="edge") - centres
        moved, returned = (
            np.nan_to_num(flow, nan=FARTHEST).astype(np.float32) for flow in (forward, backward)
        )
        return self.result(transform, moved, returned, self.source_area(transform, self.working))

    def result(
        self, transform: Matrix, forward: Field, backward: Field, exists: Mask | None = None
    ) -> MatchResult:
        """The match of two flows, which leads nowhere where the source does not exist."""
        stride = self.working[0] // forward.shape[0]
        counted = np.ones(size_of(forward), np.bool_)
        if self.target.image.missing is not None:
            missing = self.target.image.missing.astype(np.float32)
            counted = cv2.resize(missing, counted.shape[::-1], interpolation=cv2.INTER_AREA) < 0.5
        centres = cell_centres(self.working, stride)
        return MatchResult(transform, forward, backward, exists, stride, counted, centres)

    def on_cells(self, motion: Flow | Matrix, transform: Matrix, centres: Doubles) -> Field:
        """A motion target -> source on cells with these ``centres``, ``(h, w, 2)`` working pixels.

        The result is ``(h, w, 2)``, target -> source under the ``transform``, in working pixels.
        """
        position = apply_transform(inverse(self.from_target), centres)
        if isinstance(motion, Flow):
            position += sample(motion.data, position[..., 0], position[..., 1], outside="edge")
        else:
            position = apply_transform(motion, position)
        to_frame = inverse(transform)
        return np.asarray(apply_transform(to_frame, position) - centres, np.float32)

    def warp_source(self, transform: Matrix, size: Size) -> Pixels:
        """The source warped by ``transform`` (frame of ``size`` -> source), black beyond it."""
        centre = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2, 1.0])
        with np.errstate(all="ignore"):  # the length there of a pixel of the frame
            scale = np.sqrt(np.abs(np.linalg.det(transform) / (centre @ transform[2]) ** 3))
        level = int(np.clip(np.floor(np.log2(scale)), 0, 8)) if np.isfinite(scale) and scale > 1 else 0
        # Reduced by 2^level, so as not to alias, or further, so that it can be read.
        while len(self._levels) <= level or max(self._levels[-1].shape) > LARGEST_READ:
            last = self._levels[-1]
            half = (max(1, last.shape[1] // 2), max(1, last.shape[0] // 2))
            self._levels.append(np.asarray(cv2.resize(last, half, interpolation=cv2.INTER_AREA), np.uint8))
        image = next(each for each in self._levels[level:] if max(each.shape) <= LARGEST_READ)
        to_level = resizing_matrix(self.source_size, image.shape[:2]) @ transform
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return np.asarray(cv2.warpPerspective(image, to_level, size[::-1], flags=flags), np.uint8)

    def source_area(self, transform: Matrix, size: Size) -> Mask:
        """Where the source warped by ``transform`` (frame of ``size`` -> source) shows its data."""
        exists = shown_area(transform, size, self.source_size)
        if self._missing is not None:
            to_mask = resizing_matrix(self.source_size, self._missing.shape[:2]) @ transform
            flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
            exists &= cv2.warpPerspective(self._missing, to_mask, size[::-1], flags=flags) == 0
        return exists

    def source_for(self, transform: Matrix | None) -> tuple[Matrix, Encoded | Pixels, Mask | None]:
        """How the source is matched under a transform; None: only resized, as published.

        The transform, the source's features where they are known, or its pixels, and where it has data; None:
        everywhere.
        """
        if transform is not None:
            source = self.warp_source(transform, self.working)
            return transform, source, self.source_area(transform, self.working)
        area = None if self._missing is None else self.source_area(self.to_source, self.working)
        known = self.source_features or reduce_image(self.source_pixels, self.target.max_side)
        return self.to_source, known, area


def match_pairs(pairs: Sequence[PairMatcher], motions: Sequence[CoarseMotion]) -> list[MatchResult]:
    """Match pairs of one predictor and one working size in both directions, as one batch."""
    predictor, working = pairs[0].predictor, pairs[0].working
    used = [pair.source_for(motion.transform) for pair, motion in zip(pairs, motions, strict=True)]
    transforms, sources, areas = zip(*used, strict=True)
    images = [source for source in sources if isinstance(source, np.ndarray)]
    new = [motion for motion, source in zip(motions, sources, strict=True) if isinstance(source, np.ndarray)]
    known = [motion.level4 for motion in new if motion.level4 is not None]
    level4 = torch.cat(known) if known and len(known) == len(images) else None
    # Not in one batch with the targets: on a CPU that saves 3 % of the frozen networks, and the features of
    # the working size take half as long again, because they leave the cache.
    encoded = iter(predictor.encode(images, working, level4=level4))
    features = [next(encoded) if isinstance(source, np.ndarray) else source for source in sources]
    forward, backward = predictor.match(features, [pair.target.features for pair in pairs])
    return list(map(PairMatcher.result, pairs, transforms, forward, backward, areas))
