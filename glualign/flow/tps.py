"""A smooth bend that a whole flow agrees with: a thin-plate spline."""

from __future__ import annotations

import numpy as np

from glualign.arrays import Doubles, Points
from glualign.errors import FlowError
from glualign.flow.field import Flow, Weights, draw_points
from glualign.geometry import SCALE_LIMIT, pixel_grid, strips

_CONTROLS = (6, 6)
"""Control points down and across."""
_SMOOTHING = 1e-4
"""Source pixels squared of misfit that a unit of bending energy is worth, in halves of the target's longer
side."""
_THRESHOLD = 3.0
"""Largest distance of an inlier, in source pixels."""
# Least absolute deviations by reweighting: an affine map to start from that gross errors hardly move.
_AFFINE_STEPS = 15
# Then the plate softens step by step, from almost rigid to the smoothing asked for: a region that moves
# against the rest is recognised as an outlier before the plate could bend to follow it.
_STIFFEST = 1e2
_SOFTENING_STEPS = 8
_FINAL_STEPS = 6
# Tukey's biweight with 95 % efficiency under normal noise, whose deviation is 1.4826 times the median of |x|.
_TUKEY = 4.685 * 1.4826
_SPLINE_POINTS = 10_000
# Kernel values computed at a time: 32 MB.
_CHUNK = 1 << 22


def fit_tps(flow: Flow, weights: Weights | None = None) -> tuple[Flow, float]:
    """Fit a thin-plate spline robustly: penalised least squares, reweighted by Tukey's function.

    Source position of target pixel p: an affine map of it plus ``sum_k b_k U(|p - c_k|)`` with
    ``U(r) = r^2 log r^2`` (Bookstein 1989, Principal Warps). The control points c are a grid of 6 x 6.

    Args:
        flow: target -> source.
        weights: ``(H, W)`` confidence or mask; pixels count in proportion, those at 0 not at all.

    Returns:
        ``(fitted, inlier_share)``: the spline as a flow, and the share (0 to 1) of the flow within 3
        source pixels of it. Where the flow is unknown or has no weight, the spline bends as little as it can.

    Raises:
        FlowError: fewer known pixels than control points, all of them on a line, or a spline that changes
            the scale beyond 50.
    """
    target, source = draw_points(flow, weights, _SPLINE_POINTS)
    count, (height, width) = _CONTROLS[0] * _CONTROLS[1], flow.size
    if len(target) < count:
        raise FlowError(f"a spline of {count} control points needs {count} known pixels; got {len(target)}")
    unit, centre = max(height, width) / 2, np.array([(width - 1) / 2, (height - 1) / 2])
    spacing = np.array([(width - 1) / (_CONTROLS[1] - 1), (height - 1) / (_CONTROLS[0] - 1)])
    lattice = (pixel_grid(_CONTROLS).reshape(-1, 2) * spacing - centre) / unit
    # Bending must hold nothing affine: its coefficients are orthogonal to 1, x and y at the controls.
    between = spline_basis(lattice, lattice)
    unbent = np.linalg.qr(between[:, -3:], mode="complete")[0][:, 3:]

    def basis(pixels: Points) -> Points:
        """What each parameter adds at each pixel; the last three are an affine map."""
        bent = spline_basis((pixels - centre) / unit, lattice)
        return np.column_stack([bent[:, :-3] @ unbent, bent[:, -3:]])

    design, energy = basis(target), np.zeros((count, count))
    energy[:-3, :-3] = unbent.T @ between[:, :-3] @ unbent
    solution = _robust(design, energy, source)
    change = abs(float(np.linalg.det(solution[-2:]))) / unit**2
    if not SCALE_LIMIT**-2 <= change <= SCALE_LIMIT**2:
        raise FlowError(
            f"no real spline: the one that fits best changes the scale more than {SCALE_LIMIT:g} times"
        )
    data = np.empty((height, width, 2), np.float32)
    for top, bottom in strips(flow.size, _CHUNK // count):
        here = pixel_grid((bottom - top, width), top=top).reshape(-1, 2).astype(np.float64)
        data[top:bottom] = (basis(here) @ solution - here).reshape(-1, width, 2)
    share = float((_distances(design, solution, source) <= _THRESHOLD).mean())
    return Flow(data, flow.source_size), share


def _robust(basis: Doubles, energy: Doubles, source: Points) -> Points:
    """Parameters ``(P, 2)`` of least mean squared distance plus bending energy, reweighted."""
    weight = np.ones(len(source))
    affine = basis[:, -3:]
    solution = np.zeros((basis.shape[1], 2))
    for _ in range(_AFFINE_STEPS):
        weighted = affine * (weight / weight.sum())[:, None]
        if np.linalg.eigvalsh(weighted.T @ affine)[0] < 1e-10:
            raise FlowError("a spline needs known pixels that are not all on a line")
        solution[-3:] = np.linalg.solve(weighted.T @ affine, weighted.T @ source)
        weight = 1 / np.maximum(_distances(basis, solution, source), 1e-3)
    softening = np.geomspace(_STIFFEST, _SMOOTHING, _SOFTENING_STEPS)
    for stiffness in (*softening, *[_SMOOTHING] * _FINAL_STEPS):
        distance = _distances(basis, solution, source)
        reach = max(_TUKEY * float(np.median(distance)), _THRESHOLD)
        weight = np.square(np.maximum(1 - np.square(distance / reach), 0))
        weighted = basis * (weight / weight.sum())[:, None]
        solution = np.linalg.solve(weighted.T @ basis + stiffness * energy, weighted.T @ source)
    return solution


def _distances(basis: Doubles, solution: Points, source: Points) -> Doubles:
    return np.asarray(np.hypot(*(basis @ solution - source).T))


def spline_basis(points: Points, controls: Points) -> Points:
    """``(N, K + 3)``: r^2 log r^2 between every point and every control point, then 1, x and y."""
    squared = np.square(points[:, :1] - controls[:, 0]) + np.square(points[:, 1:] - controls[:, 1])
    kernel = squared * np.log(np.maximum(squared, 1e-300))
    return np.column_stack([kernel, np.ones(len(points)), points])
