"""Random motions: maps from target pixels to source positions, dense float32, exact by construction.

A *map* is (H, W, 2) float32: ``map[y, x]`` is the source position (x, y) that target pixel (x, y) shows.
Ranges are given for a unit frame, [-1, 1] in both axes, so that they do not depend on the working size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from glualign.geometry import affine_basis, pixel_grid, thin_plate_kernel

# float32 and float64. OpenCV's type hints do not follow the dtype of an array through its functions.
Map = npt.NDArray[Any]
Matrix = npt.NDArray[Any]
Rng = np.random.Generator


def identity_map(size: int) -> Map:
    """The map of no motion, (size, size, 2)."""
    return pixel_grid((size, size))


def frame_matrix(size: int) -> Matrix:
    """3x3 from the unit frame [-1, 1] to pixels 0 .. size - 1."""
    half = (size - 1) / 2
    return np.array([[half, 0, half], [0, half, half], [0, 0, 1]])


def apply_matrix(matrix: Matrix, points: Map) -> Map:
    """Apply a 3x3 matrix to every point of a map."""
    out: Map = cv2.perspectiveTransform(points, matrix)
    return out


def affine(
    rng: Rng,
    rotation: float = math.pi / 12,
    shear: float = math.pi / 12,
    stretch: float = 0.45,
    shift: float = 0.25,
) -> Matrix:
    """Random affine in the unit frame: rotation, stretch along random axes, shift (all uniform)."""
    angle, axis = rng.uniform(-rotation, rotation), rng.uniform(-shear, shear)
    lengths = rng.uniform(1 - stretch, 1 + stretch, 2)
    matrix = np.eye(3)
    turn = rotation_matrix(axis)[:2, :2]
    matrix[:2, :2] = rotation_matrix(angle)[:2, :2] @ turn.T @ np.diag(lengths) @ turn
    matrix[:2, 2] = rng.uniform(-shift, shift, 2)
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


def homography(rng: Rng, offset: float = 0.5) -> Matrix:
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
            matrix: Matrix = cv2.getPerspectiveTransform(corners, moved)
            return matrix
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
    rotation = turn @ about_y @ turn.T
    # The frame's corners lie at sqrt(2), the horizon at distance / tan(angle).
    distance = max(rng.uniform(1.8, 5.0), 1.6 * math.tan(angle))
    matrix = np.column_stack([rotation[:, 0], rotation[:, 1], np.zeros(3)])
    matrix[:2] *= distance
    matrix[2, 2] = distance
    return matrix if rng.random() < 0.5 else np.linalg.inv(matrix)


def thin_plate(rng: Rng, offset: float, grid: int = 3, normal: bool = False) -> Callable[[Map], Map]:
    """Random thin-plate spline of the unit frame on a grid x grid lattice of control points.

    Each control point moves by up to ``offset`` per axis (uniform), or normally with that deviation.
    Returns a function from unit-frame points (..., 2) to unit-frame points.
    """
    controls = pixel_grid((grid, grid)).reshape(-1, 2).astype(np.float64) * (2 / (grid - 1)) - 1
    moves = rng.normal(0, offset, controls.shape) if normal else rng.uniform(-offset, offset, controls.shape)
    count = len(controls)
    system = np.zeros((count + 3, count + 3))
    system[:count, :count] = thin_plate_kernel(controls, controls)
    system[:count, count:] = affine_basis(controls)
    system[count:, :count] = affine_basis(controls).T
    weights = np.linalg.solve(system, np.concatenate([moves, np.zeros((3, 2))]))

    def evaluate(points: Map) -> Map:
        flat = points.reshape(-1, 2).astype(np.float64)
        bending = thin_plate_kernel(flat, controls) @ weights[:count]
        out = flat + bending + affine_basis(flat) @ weights[count:]
        moved: Map = out.reshape(points.shape).astype(np.float32)
        return moved

    return evaluate


def smooth_field(rng: Rng, size: int, cells: int, amplitude: float) -> Map:
    """A random smooth displacement field (size, size, 2) in pixels, normal with that amplitude per axis.

    Random values on a coarse ``cells`` x ``cells`` lattice, interpolated bicubically.
    """
    coarse = rng.normal(0, amplitude, (cells, cells, 2)).astype(np.float32)
    field: Map = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return field


def bend(points: Map, warp: Callable[[Map], Map], size: int, lattice: int = 24) -> Map:
    """Apply a smooth unit-frame warp to the pixel grid of a ``size`` frame, evaluated on a coarse lattice.

    The displacement is evaluated at lattice points and interpolated bicubically. The interpolated map
    *is* the motion (images are sampled through it), so nothing is approximated. ``points`` is the
    identity map of that size.
    """
    # cv2.resize puts lattice cell k at pixel (k + 0.5) * size / lattice - 0.5; evaluate there.
    pixels = (pixel_grid((lattice, lattice)) + np.float32(0.5)) * np.float32(size / lattice) - np.float32(0.5)
    coarse = pixels / np.float32((size - 1) / 2) - np.float32(1)
    moves = (warp(coarse) - coarse) * np.float32((size - 1) / 2)
    out: Map = points + cv2.resize(moves, (size, size), interpolation=cv2.INTER_CUBIC)
    return out
