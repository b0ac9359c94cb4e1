"""Sub-pixel refinement at full size: dense inverse search started from the network's flow, where it helps."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from glualign.geometry import Field, Size, resizing_matrix
from glualign.stages.blend import Hypothesis
from glualign.stages.dense import upsampled, view_transform
from glualign.stages.passes import PassRunner, disagreement

LARGEST_SIDE = 2048
"""Pixels; larger targets are refined at this size."""
LIKENESS_WINDOW = 15
FEWEST_ALIKE = 0.25
"""Share of the overlap that must look alike after the alignment; other pairs are left alone."""
ALIKE = 0.6
"""Normalised cross-correlation from which two windows look alike."""
REACH = 1.0
"""Pixels beyond the expected error by which the refined flow may differ: it refines, it does not search."""
MOST_EXPECTED = 4.0
"""Pixels; where more error is expected there is nothing to refine."""
FLAT = 3.0
"""Standard deviation, in grey levels, below which a window shows nothing to compare."""


@dataclass(frozen=True, eq=False)
class Refined:
    """A refined flow within the view of a pass.

    Attributes:
        flow: ``(H, W, 2)`` float32, target -> view, in pixels of the target.
        error: ``(H, W)`` float32, forward-backward disagreement in target pixels.
        share: part of the target where the refinement was kept.
    """

    flow: Field
    error: npt.NDArray[np.float32]
    share: float


def refine(best: Hypothesis, runner: PassRunner, error: npt.NDArray[np.float32]) -> Refined | None:
    """Refine a hypothesis at full size; None when the pair is not alike enough for brightness to guide.

    A pixel keeps the refined flow where the refined directions agree better than the network's did and the
    warped source looks at least as much like the target as before.

    Args:
        best: a flow within a view.
        runner: of the pair.
        error: ``(H, W)`` expected error of that flow in target pixels.
    """
    height, width = runner.target_size
    scale = min(1.0, LARGEST_SIDE / max(height, width))
    size: Size = (max(1, round(height * scale)), max(1, round(width * scale)))
    before = _resized(upsampled(best.flow, runner), size)
    shown = cv2.resize(runner.target_pixels, size[::-1], interpolation=cv2.INTER_AREA)
    target = _grey(np.asarray(shown, np.uint8))
    view, exists = runner.view(
        view_transform(best.found, runner) @ resizing_matrix(size, runner.target_size), size
    )
    source = _grey(view)
    likeness = _likeness(target, _moved(source, before))
    alike = (likeness > ALIKE) & exists
    if alike.sum() < FEWEST_ALIKE * max(1, int(exists.sum())):
        return None
    # A flat window cannot contradict; the smoothness of the search carries the flow across it.
    alike |= (_spread(target) < FLAT) & exists
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    search.setFinestScale(0)
    search.setUseSpatialPropagation(True)
    after = np.asarray(search.calc(target, source, before.copy()), np.float32)
    start = _resized(upsampled(best.backward, runner), size)
    back = np.asarray(search.calc(source, target, start), np.float32)
    disagreeing = disagreement(after, back, stride=1, exists=exists)
    old = np.asarray(cv2.resize(error, size[::-1], interpolation=cv2.INTER_LINEAR)) * scale
    better = disagreeing < np.maximum(old, 1.0)
    near = np.linalg.norm(after - before, axis=2) < REACH + np.minimum(old, MOST_EXPECTED)
    no_worse = _likeness(target, _moved(source, after)) >= likeness - 0.02
    kept = cv2.blur((better & near & no_worse & alike).astype(np.float32), (9, 9))
    # Soft edges between kept and old flow: a hard one would tear the picture.
    weight = np.clip(2 * kept - 0.5, 0, 1)[..., None]
    flow = before * (1 - weight) + after * weight
    combined = np.where(weight[..., 0] > 0.5, np.minimum(disagreeing, max(size)), old).astype(np.float32)
    return Refined(
        _resized(flow.astype(np.float32), (height, width)),
        np.asarray(cv2.resize(combined, (width, height), interpolation=cv2.INTER_LINEAR) / scale, np.float32),
        float(weight.mean()),
    )


def _grey(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)


def _resized(flow: Field, size: Size) -> Field:
    """A flow on its own frame as the same motion on a frame of another size."""
    if flow.shape[:2] == size:
        return flow
    scale = np.array([size[1] / flow.shape[1], size[0] / flow.shape[0]], np.float32)
    return np.asarray(cv2.resize(flow, size[::-1], interpolation=cv2.INTER_LINEAR) * scale, np.float32)


def _moved(image: npt.NDArray[np.uint8], flow: Field) -> npt.NDArray[np.uint8]:
    height, width = flow.shape[:2]
    xs, ys = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return np.asarray(cv2.remap(image, xs + flow[..., 0], ys + flow[..., 1], cv2.INTER_LINEAR), np.uint8)


def _likeness(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Normalised cross-correlation of the windows around each pixel, -1 to 1."""
    window = (LIKENESS_WINDOW, LIKENESS_WINDOW)
    a, b = first.astype(np.float32), second.astype(np.float32)
    mean_a, mean_b = cv2.blur(a, window), cv2.blur(b, window)
    product = cv2.blur(a * b, window) - mean_a * mean_b
    variances = (cv2.blur(a * a, window) - mean_a**2) * (cv2.blur(b * b, window) - mean_b**2)
    # A few grey levels of noise: flat windows are neither alike nor different.
    return np.asarray(product / np.sqrt(np.maximum(variances, 0) + 25.0), np.float32)


def _spread(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Standard deviation of the window around each pixel, in grey levels."""
    values = image.astype(np.float32)
    window = (LIKENESS_WINDOW, LIKENESS_WINDOW)
    variance = cv2.blur(values * values, window) - cv2.blur(values, window) ** 2
    return np.asarray(np.sqrt(np.maximum(variance, 0)), np.float32)
