"""Pairs that may be mirrored (TSS): decide from the coarse flow, and undo the mirror in the result."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from glualign.evaluation.datasets.base import Pixels

Field = npt.NDArray[np.float32]

# Coarse flow (16, 16, 2) of (source, target) and full flow (H_t, W_t, 2) of (source, target).
CoarseFlow = Callable[[Pixels, Pixels], Field]
FullFlow = Callable[[Pixels, Pixels], Field]


def mirrored(image: Pixels) -> Pixels:
    """The image mirrored left to right."""
    return np.ascontiguousarray(image[:, ::-1])


def target_is_mirrored(coarse: CoarseFlow, source: Pixels, target: Pixels) -> bool:
    """Whether the pair fits better with the target mirrored.

    The criterion of the published code: of the plain and the mirrored target, the one with the smaller mean
    horizontal motion at 16 x 16 wins; a mirror must win again with source and target exchanged.
    """

    def motion(first: Pixels, second: Pixels) -> float:
        return float(np.abs(coarse(first, second)[..., 0]).mean())

    if motion(source, mirrored(target)) >= motion(source, target):
        return False
    return motion(target, mirrored(source)) < motion(target, source)


def flow_allowing_mirror(coarse: CoarseFlow, full: FullFlow, source: Pixels, target: Pixels) -> Field:
    """Flow of the pair as it is or with the target mirrored, whichever `target_is_mirrored` prefers."""
    if not target_is_mirrored(coarse, source, target):
        return full(source, target)
    return unmirrored(full(source, mirrored(target)))


def unmirrored(flow: Field) -> Field:
    """A flow on the grid of a mirrored target, put on the grid of the target itself."""
    columns = np.arange(flow.shape[1], dtype=np.float32)
    result = flow.copy()
    result[..., 0] += columns  # where each pixel looks in the source: this is what moves with the pixel
    result = result[:, ::-1].copy()
    result[..., 0] -= columns
    return result
