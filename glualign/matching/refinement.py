"""Sub-pixel refinement at full size: dense inverse search started from the network's flow, where it helps."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from glualign.arrays import Bytes, Floats, Mask
from glualign.geometry import (
    Field,
    Size,
    corner_motion,
    forward_backward_error,
    resize_flow,
    resizing_matrix,
)
from glualign.matching.estimate import FusedMatch, full_error
from glualign.matching.pair import PairMatcher
from glualign.matching.predictor import reduce_image
from glualign.matching.similarity import warp_pixels

LARGEST_SIDE = 2048
"""Pixels; larger targets are refined at this size."""
WINDOW = 15
"""Side in pixels of the windows that are compared."""
FEWEST_ALIKE = 0.25
"""Share of the overlap that must look alike after the alignment; other pairs are left alone."""
ALIKE = 0.6
"""Normalised cross-correlation from which two windows look alike."""
REACH = 1.0
"""Pixels beyond the expected error by which the refined flow may differ: it refines, it does not search."""
MOST_EXPECTED = 4.0
"""Pixels; where more error is expected there is nothing to refine."""
LARGEST_MOTION = 0.1
"""Share of the longer side by which the global motion may move a corner: brightness guides to fractions of a
pixel between neighbouring views (Middlebury 0.33 -> 0.18 px), and drifts by a pixel or two between oblique
ones (PCK-1 of the graffiti wall 64 -> 55 %)."""
UNTEXTURED = 3.0
"""Standard deviation, in grey levels, below which a window shows nothing to compare."""


@dataclass(frozen=True, eq=False)
class Refined:
    """A refined flow under the global motion of a match, in pixels of the size ``(h, w)`` of refinement."""

    flow: Field  # (h, w, 2), target -> transformed source
    backward: Field  # (h, w, 2), transformed source -> target
    error: Floats  # expected
    exists: Mask  # where the transformed source is


def refine(best: FusedMatch, pair: PairMatcher) -> Refined | None:
    """Refine a hypothesis at full size; None when the views are not alike enough for brightness to guide.

    A pixel keeps the refined flow where the refined directions agree better than the network's did and the
    warped source looks at least as much like the target as before.
    """
    motion = np.linalg.inv(pair.to_source) @ best.result.transform
    if corner_motion(motion, pair.working) > LARGEST_MOTION * max(pair.working):
        return None
    target = _grey(reduce_image(pair.target_pixels, LARGEST_SIDE))
    size: Size = (target.shape[0], target.shape[1])
    before = resize_flow(best.flow, size, frame=pair.working)
    view, exists = pair.warp_source(best.result.transform @ resizing_matrix(size, pair.working), size)
    source = _grey(view)
    correlation = _correlation(target, warp_pixels(source, before))
    alike = (correlation > ALIKE) & exists
    if alike.sum() < FEWEST_ALIKE * max(1, int(exists.sum())):
        return None
    # An untextured window cannot contradict; the smoothness of the search carries the flow across it.
    alike |= (_deviation(target) < UNTEXTURED) & exists
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    search.setUseSpatialPropagation(True)
    after = np.asarray(search.calc(target, source, before.copy()), np.float32)
    start = resize_flow(best.backward, size, frame=pair.working)
    backward = np.asarray(search.calc(source, target, start), np.float32)
    error = forward_backward_error(after, backward, exists=exists)
    old = full_error(best.error, size) * np.float32(max(size) / max(pair.working))
    better = error < np.maximum(old, 1.0)
    near = np.linalg.norm(after - before, axis=2) < REACH + np.minimum(old, MOST_EXPECTED)
    no_worse = _correlation(target, warp_pixels(source, after)) >= correlation - 0.02
    kept = cv2.blur((better & near & no_worse & alike).astype(np.float32), (9, 9))
    # Soft edges between kept and old flow: a hard one would tear the picture.
    weight = np.clip(2 * kept - 0.5, 0, 1)[..., None]
    flow = (before * (1 - weight) + after * weight).astype(np.float32)
    combined = np.where(weight[..., 0] > 0.5, np.minimum(error, max(size)), old).astype(np.float32)
    return Refined(flow, backward, combined, exists)


def _grey(image: Bytes) -> Bytes:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


def _correlation(first: Bytes, second: Bytes) -> Floats:
    """Normalised cross-correlation of the windows around each pixel, -1 to 1."""
    window = (WINDOW, WINDOW)
    a, b = first.astype(np.float32), second.astype(np.float32)
    mean_a, mean_b = cv2.blur(a, window), cv2.blur(b, window)
    product = cv2.blur(a * b, window) - mean_a * mean_b
    variances = (cv2.blur(a * a, window) - mean_a**2) * (cv2.blur(b * b, window) - mean_b**2)
    # A few grey levels of noise: untextured windows are neither alike nor different.
    return np.asarray(product / np.sqrt(np.maximum(variances, 0) + 25.0), np.float32)


def _deviation(image: Bytes) -> Floats:
    """Standard deviation of the window around each pixel, in grey levels."""
    values = image.astype(np.float32)
    window = (WINDOW, WINDOW)
    variance = cv2.blur(values * values, window) - cv2.blur(values, window) ** 2
    return np.asarray(np.sqrt(np.maximum(variance, 0)), np.float32)
