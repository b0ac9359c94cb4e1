"""From the cells of a pass to every pixel of the target."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from glualign.stages.geometry import Field, Size, apply, grid
from glualign.stages.passes import Pass, PassRunner

_STRIP = 1 << 22
"""Pixels handled at a time, so that large targets need little memory beyond the result."""


def full_flow(found: Pass, runner: PassRunner) -> Field:
    """Flow ``(H, W, 2)`` float32 of every target pixel in source pixels; NaN where the transform has none.

    The cells' flow is resized bilinearly (the published up-sampling) and carried through the transform.
    """
    height, width = runner.target_size
    flow = np.asarray(cv2.resize(found.flow, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    step = max(1, _STRIP // width)
    for top in range(0, height, step):
        rows = flow[top : top + step]
        here = grid((rows.shape[0], width)) + np.array([0, top], np.float32)
        source = apply(found.transform, apply(runner.from_target, here) + rows)
        flow[top : top + step] = source - here
    return flow


def full_error(found: Pass, target_size: Size, working: Size) -> npt.NDArray[np.float32]:
    """Disagreement of both directions ``(H, W)`` float32 in target pixels; large where it is not defined."""
    height, width = target_size
    worst = float(max(working))
    cells = np.minimum(found.error, worst)
    error = cv2.resize(cells, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(error * np.float32(max(target_size) / max(working)), np.float32)
