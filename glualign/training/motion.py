"""Random motions: maps from target pixels to source positions, dense float32, exact by construction.

A *map* is (H, W, 2) float32: ``map[y, x]`` is the source position (x, y) that target pixel (x, y) shows.
Matrices act on a unit frame, [-1, 1] in both axes, so that their ranges do not depend on the working size.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from glualign.arrays import Array
from glualign.flow.tps import spline_basis
from glualign.geometry import pixel_grid

# float32 and float64. OpenCV's type hints do not follow the dtype of an array through its functions.
Map = Array
Matrix = Array
Rng = np.random.Generator


def slight_motion(rng: Rng, size: int) -> Map:
    """From a tenth of a pixel to some eight pixels: drift, slight turn and zoom, smooth non-rigid motion.

    A unit is a 256th of the frame, so the motion is that of a video frame at any working size.
    """
    unit = size / 256
    reach = math.exp(rng.uniform(math.log(0.1), math.log(8.0))) * unit
    turn = similarity(rng, rotation=0.5 * reach / size, zoom=1 + reach / size, shift=0.0)
    out = _projective(turn, size)
    out += rng.uniform(-reach, reach, 2).astype(np.float32)
    if rng.random() < 0.8:
        cells = int(rng.integers(3, 13))
        amplitude = reach * rng.uniform(0.1, 0.7) * 3 / cells
        bends = rng.normal(0, amplitude, (cells, cells, 2)).astype(np.float32)
        out += cv2.resize(bends, (size, size), interpolation=cv2.INTER_CUBIC)
    return out


def moderate_motion(rng: Rng, size: int) -> Map:
    """A second hand-held photograph: a homography, an affine map or a gentle thin-plate spline."""
    kind = rng.random()
    if kind < 0.5:
        return _projective(homography(rng, rng.uniform(0.05, 0.4)), size)
    if kind < 0.75:
        return _projective(affine(rng, stretch=0.25), size)
    return thin_plate(rng, size, rng.uniform(0.03, 0.15), normal=True)


def large_motion(rng: Rng, size: int) -> Map:
    """Wide baselines: oblique views, strong homographies, zoom up to 3x, strong splines, compositions."""
    if rng.random() < 0.3:
        turn = similarity(rng, rotation=math.pi / 5, zoom=1.6, shift=0.3)
        return _projective(turn @ viewpoint(rng, math.radians(68)), size)
    kind = rng.random()
    if kind < 0.35:
        return _projective(homography(rng, rng.uniform(0.3, 2 / 3)), size)
    if kind < 0.55:
        zoom = similarity(rng, rotation=math.pi / 6, zoom=3.0, shift=0.4)
        return _projective(zoom @ homography(rng, 0.2), size)
    if kind < 0.75:
        return thin_plate(rng, size, 0.2, normal=True)
    bent = thin_plate(rng, size, 0.15)
    return _projective(affine(rng) if kind < 0.9 else homography(rng, 0.45), size, bent)


def rotated_motion(rng: Rng, size: int) -> Map:
    """Rotation in the plane, half the time within 60 degrees, else any; with a moderate viewpoint change."""
    most = math.pi / 3 if rng.random() < 0.5 else math.pi
    turn = similarity(rng, rotation=most, zoom=1.5, shift=0.2)
    return _projective(turn @ homography(rng, 0.25), size)


def class_motion(rng: Rng, size: int) -> Map:
    """One object of a class onto another: shift, zoom and slight turn, and parts of other proportions."""
    turn = similarity(rng, rotation=math.pi / 10, zoom=1.6, shift=0.25)
    return _projective(turn, size, thin_plate(rng, size, rng.uniform(0.03, 0.15), normal=True))


def _projective(matrix: Matrix, size: int, points: Map | None = None) -> Map:
    """A 3x3 matrix of the unit frame, applied to a map (None: that of no motion)."""
    half = (size - 1) / 2
    frame = np.array([[half, 0, half], [0, half, half], [0, 0, 1]])
    points = pixel_grid((size, size)) if points is None else points
    return cv2.perspectiveTransform(points, frame @ matrix @ np.linalg.inv(frame))


def affine(rng: Rng, stretch: float = 0.45) -> Matrix:
    """Random rotation within 15 degrees, stretch along random axes and shift within 1/4 (all uniform)."""
    angle, axis = rng.uniform(-math.pi / 12, math.pi / 12, 2)
    lengths = rng.uniform(1 - stretch, 1 + stretch, 2)
    turn = rotation_matrix(axis)
    matrix: Matrix = rotation_matrix(angle) @ turn.T @ np.diag([*lengths, 1.0]) @ turn
    matrix[:2, 2] = rng.uniform(-0.25, 0.25, 2)
    return matrix


def similarity(rng: Rng, rotation: float, zoom: float, shift: float) -> Matrix:
    """Random rotation within ``rotation`` radians, scale between 1/zoom and zoom (log-uniform), shift."""
    scale = math.exp(rng.uniform(-1, 1) * math.log(zoom))
    matrix = rotation_matrix(rng.uniform(-rotation, rotation))
    matrix[:2, :2] *= scale
    matrix[:2, 2] = rng.uniform(-shift, shift, 2)
    return matrix


def rotation_matrix(angle: float) -> Matrix:
    """3x3 rotation by ``angle`` radians about the origin."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def homography(rng: Rng, offset: float) -> Matrix:
    """Random homography of the unit frame: each corner moves by up to ``offset`` per axis (uniform).

    Offsets that fold the frame (a corner behind the camera or a mirrored quadrilateral) are halved
    until they do not.
    """
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)
    moves = rng.uniform(-offset, offset, (4, 2)).astype(np.float32)
    while True:
        moved = corners + moves
        sides = np.roll(moved, -1, axis=0) - moved
        following = np.roll(sides, -1, axis=0)
        if (sides[:, 0] * following[:, 1] - sides[:, 1] * following[:, 0] > 0.3).all():
            return cv2.getPerspectiveTransform(corners, moved)
        moves *= 0.5


def viewpoint(rng: Rng, tilt: float) -> Matrix:
    """A plane seen head-on and from the side, by a pinhole camera that goes round its centre.

    By up to ``tilt`` radians in any direction, far off or close by, but never so close that the plane's
    horizon enters the frame. Half the time the map starts in the head-on view, half the time it ends there.
    """
    angle, direction = rng.uniform(0, tilt), rng.uniform(-math.pi, math.pi)
    turn = rotation_matrix(direction)
    about_y = np.array(
        [[math.cos(angle), 0.0, math.sin(angle)], [0.0, 1.0, 0.0], [-math.sin(angle), 0.0, math.cos(angle)]]
    )
    # The frame's corners lie at sqrt(2), the horizon at distance / tan(angle).
    distance = max(rng.uniform(1.8, 5.0), 1.6 * math.tan(angle))
    matrix: Matrix = turn @ about_y @ turn.T
    matrix[:, 2] = 0.0, 0.0, 1.0
    matrix[:2] *= distance
    matrix[2, 2] = distance
    return matrix if rng.random() < 0.5 else np.linalg.inv(matrix)


def thin_plate(rng: Rng, size: int, offset: float, normal: bool = False) -> Map:
    """The map of a random thin-plate spline with 3 x 3 control points on the unit frame, (size, size, 2).

    Each control point moves by up to ``offset`` per axis (uniform), or normally with that deviation. The
    spline is evaluated on a lattice of 24 x 24 and interpolated bicubically. The interpolated map *is* the
    motion (images are sampled through it), so nothing is approximated.
    """
    controls = pixel_grid((3, 3)).reshape(-1, 2).astype(np.float64) - 1
    moves = rng.normal(0, offset, controls.shape) if normal else rng.uniform(-offset, offset, controls.shape)
    basis = spline_basis(controls, controls)
    system = np.vstack([basis, np.column_stack([basis[:, -3:].T, np.zeros((3, 3))])])
    weights = np.linalg.solve(system, np.concatenate([moves, np.zeros((3, 2))]))
    # cv2.resize puts lattice cell k at pixel (k + 0.5) * size / lattice - 0.5; evaluate there.
    lattice, half = 24, (size - 1) / 2
    pixels = (pixel_grid((lattice, lattice)).reshape(-1, 2).astype(np.float64) + 0.5) * size / lattice - 0.5
    points = pixels / half - 1
    coarse = (spline_basis(points, controls) @ weights * half).reshape(lattice, lattice, 2).astype(np.float32)
    return pixel_grid((size, size)) + cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
