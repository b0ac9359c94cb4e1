"""Sub-pixel refinement: dense inverse search (Kroeger et al. 2016) started from the network's flow."""

from __future__ import annotations

import cv2
import numpy as np

from glualign.arrays import Bytes, Floats, Size
from glualign.geometry import (
    corner_motion,
    forward_backward_error,
    inverse,
    resize_flow,
    resizing_matrix,
    size_of,
)
from glualign.images import reduce_image
from glualign.matching.estimate import FusedMatch, MeasuredFlow, full_error
from glualign.matching.similarity import warp_pixels

LARGEST_SIDE = 2048
"""Pixels; larger targets are refined at this size at most."""
WINDOW = 15
"""Side in pixels of the windows that are compared."""
FEWEST_ALIKE = 0.25
"""Share of the overlap that must look alike after the alignment; other pairs are left alone."""
ALIKE = 0.6
"""Normalised cross-correlation from which two windows look alike. With 0.4, 0.6 and 0.8 four Middlebury
scenes have 0.18, 0.19 and 0.21 px, six other pairs that are refined 2.68, 2.67 and 2.64."""
LARGEST_MOTION = 0.1
"""Share of the longer side by which the global motion may move a corner: brightness guides to fractions of a
pixel between neighbouring views (Middlebury 0.32 -> 0.19 px), and drifts by a pixel or two between oblique
ones (PCK-1 of the graffiti wall 64 -> 55 %)."""


def refine(best: FusedMatch) -> MeasuredFlow | None:
    """Refine a hypothesis; None when the images are not alike enough for brightness to guide.

    A pixel keeps the refined flow where both images look alike, no hole in one is near, and the refined
    directions agree better than the network's did.
    """
    pair, coarse = best.edges.pair, best.measured
    motion = inverse(pair.to_source) @ best.result.transform
    if corner_motion(motion, pair.working) > LARGEST_MOTION * max(pair.working):
        return None
    side = min(pair.target.max_side or LARGEST_SIDE, LARGEST_SIDE)
    target = _grey(reduce_image(pair.target_pixels, side))
    size: Size = size_of(target)
    before = resize_flow(coarse.flow, size, frame=coarse.frame)
    transform = best.result.transform @ resizing_matrix(size, pair.working)
    source, exists = _grey(pair.warp_source(transform, size)), pair.source_area(transform, size)
    alike = (_correlation(target, warp_pixels(source, before)) > ALIKE) & exists
    holes = None if pair.source.missing is None else ~exists
    if (missing := pair.target.image.missing) is not None:
        here = reduce_image(missing.astype(np.float32), side) > 0
        holes = here if holes is None else here | holes
    if holes is not None:  # what the surroundings were continued into guides nowhere
        reach = np.ones((2 * WINDOW + 1, 2 * WINDOW + 1), np.uint8)
        alike &= cv2.dilate(holes.astype(np.uint8), reach) == 0
    if alike.sum() < FEWEST_ALIKE * max(1, int(exists.sum())):
        return None
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    search.setFinestScale(0)
    after = np.asarray(search.calc(target, source, before.copy()), np.float32)
    start = resize_flow(best.backward, size, frame=pair.working)
    backward = np.asarray(search.calc(source, target, start), np.float32)
    error = forward_backward_error(after, backward, exists=exists)
    old = full_error(coarse.error, size) * np.float32(max(size) / max(pair.working))
    kept = cv2.blur((alike & (error < np.maximum(old, 1.0))).astype(np.float32), (9, 9))
    # Soft edges between kept and old flow: a hard one would tear the picture.
    weight = np.clip(2 * kept - 0.5, 0, 1)[..., None]
    flow = (before * (1 - weight) + after * weight).astype(np.float32)
    combined = np.where(weight[..., 0] > 0.5, np.minimum(error, max(size)), old).astype(np.float32)
    returned = forward_backward_error(flow, backward, exists=exists)
    unit = np.float32(max(pair.working) / max(size))
    similarity = best.edges.compare(best.result.transform, resize_flow(flow, pair.working, frame=size))
    return MeasuredFlow(flow, size, combined * unit, returned * unit, similarity)


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
