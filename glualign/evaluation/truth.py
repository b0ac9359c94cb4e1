"""Ground truth of one pair, dense or as points, and how a flow is compared with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from glualign.arrays import Mask
from glualign.errors import DatasetError
from glualign.evaluation.metrics import Errors, end_point_errors
from glualign.geometry import Field, Matrix, Points, Size, inside, pixel_grid, resize_flow, sample


def size_of(image: npt.NDArray[np.generic]) -> Size:
    """(height, width) of an image or a field."""
    return image.shape[0], image.shape[1]


@dataclass(frozen=True, eq=False)
class DenseTruth:
    """A true flow (H, W, 2) float32 on the target grid and a mask (H, W) of the pixels where it is known."""

    flow: Field
    mask: Mask

    def __post_init__(self) -> None:
        if self.flow.shape != (*self.mask.shape, 2):
            raise DatasetError(
                f"ground truth of shape {self.flow.shape} with a mask of shape {self.mask.shape}"
            )

    def errors(self, flow: npt.NDArray[np.floating], longer_side: float) -> Errors:
        """Compare ``flow`` (target to source) with the truth; one of another size is resized first."""
        fitting = resize_flow(flow, size_of(self.mask))
        return end_point_errors(fitting[self.mask], self.flow[self.mask], longer_side)

    def count(self) -> int:
        """Number of pixels that are compared."""
        return int(self.mask.sum())


@dataclass(frozen=True, eq=False)
class PointTruth:
    """Corresponding points: ``target`` and ``source`` (N, 2) float64, x and y in pixels of their images."""

    target: Points
    source: Points
    # How the flow is read at a target point: at the point itself, or at the pixel it rounds to.
    sampling: Literal["bilinear", "rounded"] = "bilinear"

    def errors(self, flow: npt.NDArray[np.floating], longer_side: float) -> Errors:
        """Compare ``flow`` (H, W, 2) on the target grid with the points; outside it, its edge counts."""
        points = np.rint(self.target) if self.sampling == "rounded" else self.target
        found = sample(flow, points[:, 0], points[:, 1], outside="edge")
        return end_point_errors(found, self.source - self.target, longer_side)

    def count(self) -> int:
        """Number of points that are compared."""
        return len(self.target)


Truth = DenseTruth | PointTruth


def scattered(target: Points, source: Points, size: Size) -> DenseTruth:
    """Points written into a field at their rounded target pixels, with their exact motion as the value.

    This is how the ETH3D and key-point protocols build their sparse ground truth: points outside the target
    are left out, and where two points share a pixel the later one stands.
    """
    flow = np.zeros((*size, 2), dtype=np.float32)
    mask = np.zeros(size, dtype=bool)
    columns, rows = np.rint(target).astype(np.int64).T
    shown = inside(columns, rows, size)
    flow[rows[shown], columns[shown]] = (source - target)[shown]
    mask[rows[shown], columns[shown]] = True
    return DenseTruth(flow, mask)


def homography_truth(matrix: Matrix, target_size: Size, source_size: Size) -> DenseTruth:
    """The flow of a homography from target to source pixels, known where it lands inside the source.

    Sizes are (height, width). The arithmetic (float32 after the product, 1e-8 added to the denominator, no
    tolerance at the edge) is that of the published HPatches reader, so that border pixels fall on the same
    side.
    """
    grid = pixel_grid(target_size).astype(np.float64)
    mapped = (np.dstack([grid, np.ones(target_size)]) @ matrix.T).astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        position = mapped[..., :2] / (mapped[..., 2:] + np.float32(1e-8))
    last = np.array([source_size[1] - 1, source_size[0] - 1])
    mask = np.asarray(((position >= 0) & (position <= last)).all(axis=2))
    flow = np.asarray(position - grid, np.float32)
    flow[~np.isfinite(flow).all(axis=2)] = 0.0
    return DenseTruth(flow, mask)
