"""Ground truth of a pair, dense or as points, and how far a flow is from it: end-point error, PCK and Fl.

Everything starts from the end-point errors (EPE) of the valid pixels of one image; the functions on data sets
average or pool what was measured on the images. Definitions follow the evaluation code published with
GLU-Net.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from glualign.arrays import Doubles, Field, Mask, Matrix, Points, Size
from glualign.errors import DatasetError
from glualign.geometry import inside, pixel_grid, resize_flow, sample, size_of

PIXEL_THRESHOLDS = (1.0, 3.0, 5.0, 10.0)
ALPHAS = (0.05, 0.1)
CURVE_ALPHAS: Doubles = np.linspace(0.002, 0.2, 50)

FL_PIXELS, FL_SHARE = 3.0, 0.05  # an outlier of KITTI is wrong by more, in pixels and of its true motion

Vectors = npt.NDArray[np.floating]


class Errors(NamedTuple):
    """The errors of one image's valid pixels."""

    epe: Doubles  # (N,) float64, end-point error in pixels of the source
    magnitude: Doubles  # (N,) float64, length of the true flow in pixels
    longer_side: float  # L of PCK at alpha times L, in pixels (usually the longer side of the source image)


class PairMetrics(NamedTuple):
    """What one image pair contributes; shares are fractions in [0, 1], lengths are pixels."""

    pixels: int  # number of valid pixels (or points)
    aepe: float  # mean end-point error
    median: float  # median end-point error
    pck: tuple[float, ...]  # share of pixels with EPE <= each of `PIXEL_THRESHOLDS`
    pck_alpha: tuple[float, ...]  # share of pixels with EPE <= alpha * L for each of `ALPHAS`
    outliers: int  # number of Fl outliers
    curve: tuple[int, ...]  # number of pixels with EPE <= alpha * L for each of `CURVE_ALPHAS`


class GroupMetrics(NamedTuple):
    """The metrics of a data set, or of one group of its pairs."""

    pairs: int  # number of pairs that were measured
    aepe: float  # mean over the pairs of their mean EPE
    median: float  # median over the pairs of their mean EPE: what a typical pair gives
    fl: float  # share of Fl outliers among all valid pixels of all pairs
    pck: Doubles  # PCK at `PIXEL_THRESHOLDS`, mean over the pairs (or pooled over all pixels)
    pck_alpha: Doubles  # PCK at `ALPHAS` times L, likewise
    curve: Doubles  # share of all valid pixels within each of `CURVE_ALPHAS` times their image's L


def end_point_errors(estimate: Vectors, truth: Vectors, longer_side: float) -> Errors:
    """Compare two lists of flow vectors, (N, 2) each.

    A vector that the estimate leaves unknown (not finite) counts as wrong by the length of the true flow plus
    L, so that leaving out hard pixels never improves a mean. A `ValueError` says that the shapes differ, or
    that there is nothing to compare.
    """
    if estimate.shape != truth.shape or truth.ndim != 2 or truth.shape[1] != 2:
        raise ValueError(f"expected two (N, 2) arrays, got {estimate.shape} and {truth.shape}")
    if len(truth) == 0:
        raise ValueError("no pixel with ground truth")
    magnitude = np.linalg.norm(truth.astype(np.float64), axis=1)
    epe = np.linalg.norm(estimate.astype(np.float64) - truth, axis=1)
    return Errors(np.where(np.isfinite(epe), epe, magnitude + longer_side), magnitude, float(longer_side))


@dataclass(frozen=True, eq=False)
class DenseTruth:
    """A true flow (H, W, 2) float32 on the target grid and a mask (H, W) of the pixels where it is known."""

    flow: Field
    mask: Mask

    def __post_init__(self) -> None:
        if self.flow.shape != (*self.mask.shape, 2):
            raise DatasetError(f"ground truth of shape {self.flow.shape}, mask of shape {self.mask.shape}")

    def errors(self, flow: Vectors, longer_side: float) -> Errors:
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

    def errors(self, flow: Vectors, longer_side: float) -> Errors:
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


def measure(errors: Errors) -> PairMetrics:
    """All metrics of one image."""
    epe, side = errors.epe, errors.longer_side
    outliers = (epe > FL_PIXELS) & (epe > FL_SHARE * errors.magnitude)
    return PairMetrics(
        pixels=len(epe),
        aepe=float(epe.mean()),
        median=float(np.median(epe)),
        pck=tuple(float((epe <= threshold).mean()) for threshold in PIXEL_THRESHOLDS),
        pck_alpha=tuple(float((epe <= alpha * side).mean()) for alpha in ALPHAS),
        outliers=int(outliers.sum()),
        curve=tuple(np.searchsorted(np.sort(epe), CURVE_ALPHAS * side, side="right").tolist()),
    )


def summarise(pairs: Sequence[PairMetrics], *, pooled_pck: bool = False) -> GroupMetrics:
    """Metrics of one or more pairs: AEPE and PCK averaged over images, Fl and the PCK curve over all pixels.

    With ``pooled_pck`` the PCK is taken over all pixels as well (the MegaDepth protocol).
    """
    pixels, aepe, _, pck, pck_alpha, outliers, curve = map(np.array, zip(*pairs, strict=True))
    weights = pixels if pooled_pck else np.ones(len(pairs))
    return GroupMetrics(
        pairs=len(pairs),
        aepe=float(aepe.mean()),
        median=float(np.median(aepe)),
        fl=float(outliers.sum() / pixels.sum()),
        pck=np.average(pck, axis=0, weights=weights),
        pck_alpha=np.average(pck_alpha, axis=0, weights=weights),
        # The published code adds 1e-6 to the number of pixels of the curve; kept so that the numbers agree.
        curve=curve.sum(axis=0) / (pixels.sum() + 1e-6),
    )


def mean_of(groups: Sequence[GroupMetrics]) -> GroupMetrics:
    """The unweighted mean of one or more groups (scenes of a rate, groups of a data set)."""
    pairs, *columns = zip(*groups, strict=True)
    return GroupMetrics(sum(pairs), *(np.mean(column, axis=0) for column in columns))
