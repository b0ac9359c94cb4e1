"""Ground truth of one pair, dense or as points, and how a flow is compared with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from glualign.errors import DatasetError
from glualign.evaluation.metrics import Errors, end_point_errors, masked_errors

Field = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DenseTruth:
    """A true flow (H, W, 2) float32 on the target grid and a mask (H, W) of the pixels where it is known."""

    flow: Field
    mask: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.flow.shape != (*self.mask.shape, 2):
            raise DatasetError(
                f"ground truth of shape {self.flow.shape} with a mask of shape {self.mask.shape}"
            )

    def errors(self, flow: npt.NDArray[np.floating], longer_side: float) -> Errors:
        """Compare ``flow`` (target to source) with the truth; one of another size is resized first."""
        return masked_errors(match_size(flow, self.mask.shape), self.flow, self.mask, longer_side)

    def count(self) -> int:
        """Number of pixels that are compared."""
        return int(self.mask.sum())


@dataclass(frozen=True, eq=False)
class PointTruth:
    """Corresponding points: ``target`` and ``source`` (N, 2) float64, x and y in pixels of their images.

    ``sampling`` says how the flow is read at a target point: "bilinear" at the point itself, or at the
    "rounded" pixel, as some protocols do.
    """

    target: Points
    source: Points
    sampling: Literal["bilinear", "rounded"] = "bilinear"

    def errors(self, flow: npt.NDArray[np.floating], longer_side: float) -> Errors:
        """Compare ``flow`` (H, W, 2) on the target grid with the points."""
        height, width = flow.shape[:2]
        points = np.rint(self.target) if self.sampling == "rounded" else self.target
        points = np.clip(points, 0.0, [width - 1.0, height - 1.0])
        low = np.minimum(points.astype(np.int64), [max(width - 2, 0), max(height - 2, 0)])
        high = np.minimum(low + 1, [width - 1, height - 1])
        (x0, y0), (x1, y1) = low.T, high.T
        wx, wy = (points - low).T[:, :, None]
        top = flow[y0, x0] * (1 - wx) + flow[y0, x1] * wx
        bottom = flow[y1, x0] * (1 - wx) + flow[y1, x1] * wx
        return end_point_errors(top * (1 - wy) + bottom * wy, self.source - self.target, longer_side)

    def count(self) -> int:
        """Number of points that are compared."""
        return len(self.target)


Truth = DenseTruth | PointTruth


def match_size(flow: npt.NDArray[np.floating], size: tuple[int, ...]) -> npt.NDArray[np.floating]:
    """``flow`` resized bilinearly to ``size`` (height, width), vectors scaled; as it is if it fits."""
    height, width = size
    if flow.shape[:2] == (height, width):
        return flow
    scale = np.array([width / flow.shape[1], height / flow.shape[0]], dtype=np.float32)
    resized = cv2.resize(flow.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.float32) * scale


def scattered(target: Points, source: Points, size: tuple[int, int]) -> DenseTruth:
    """Points written into a field at their rounded target pixels, with their exact motion as the value.

    This is how the ETH3D and key-point protocols build their sparse ground truth: points outside the target
    are left out, and where two points share a pixel the later one stands.
    """
    flow = np.zeros((*size, 2), dtype=np.float32)
    mask = np.zeros(size, dtype=bool)
    columns, rows = np.rint(target).astype(np.int64).T
    inside = (columns >= 0) & (rows >= 0) & (columns < size[1]) & (rows < size[0])
    flow[rows[inside], columns[inside]] = (source - target)[inside]
    mask[rows[inside], columns[inside]] = True
    return DenseTruth(flow, mask)


def homography_truth(
    matrix: npt.NDArray[np.float64], target_size: tuple[int, int], source_size: tuple[int, int]
) -> DenseTruth:
    """The flow of a homography from target to source pixels, known where it lands inside the source.

    Sizes are (height, width). The arithmetic (float32 after the product, 1e-8 added to the denominator) is
    that of the published HPatches reader, so that border pixels fall on the same side.
    """
    height, width = target_size
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    mapped = np.einsum("ij,jhw->ihw", matrix, np.stack([x, y, np.ones_like(x)])).astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        position = mapped[:2] / (mapped[2] + np.float32(1e-8))
    mask = (position[0] >= 0) & (position[0] <= source_size[1] - 1)
    mask &= (position[1] >= 0) & (position[1] <= source_size[0] - 1)
    flow = np.stack([position[0] - x, position[1] - y], axis=-1).astype(np.float32)
    flow[~np.isfinite(flow).all(axis=-1)] = 0.0
    return DenseTruth(flow, mask)
