"""Random motions: maps from target pixels to source positions, dense float32, exact by construction.

A *map* is (H, W, 2) float32: ``map[y, x]`` is the source position (x, y) that target pixel (x, y) shows.
Ranges are given for a unit frame, [-1, 1] in both axes, so that they do not depend on the working size.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from glualign.arrays import Array
from glualign.geometry import affine_basis, pixel_grid, thin_plate_kernel

# float32 and float64. OpenCV's type hints do not follow the dtype of an array through its functions.
Map = Array
Matrix = Array
Rng = np.random.Generator


def identity_map(size: int) -> Map:
    """The map of no motion, (size, size, 2)."""
    return pixel_grid((size, size))


def frame_matrix(size: int) -> Matrix:
    """3x3 from the unit frame [-1, 1] to pixels 0 .. size - 1."""
    half = (size - 1) / 2
    return np.array([[half, 0, half], [0, half, half], [0, 0, 1]])


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


def thin_plate(rng: Rng, size: int, offset: float, normal: bool = False) -> Map:
    """The map of a random thin-plate spline with 3 x 3 control points on the unit frame, (size, size, 2).

    Each control point moves by up to ``offset`` per axis (uniform), or normally with that deviation. The
    spline is evaluated on a lattice of 24 x 24 and interpolated bicubically. The interpolated map *is* the
    motion (images are sampled through it), so nothing is approximated.
    """
    controls = pixel_grid((3, 3)).reshape(-1, 2).astype(np.float64) - 1
    moves = rng.normal(0, offset, controls.shape) if normal else rng.uniform(-offset, offset, controls.shape)
    basis = affine_basis(controls)
    system = np.block([[thin_plate_kernel(controls, controls), basis], [basis.T, np.zeros((3, 3))]])
    weights = np.linalg.solve(system, np.concatenate([moves, np.zeros((3, 2))]))
    # cv2.resize puts lattice cell k at pixel (k + 0.5) * size / lattice - 0.5; evaluate there.
    lattice, half = 24, (size - 1) / 2
    pixels = (pixel_grid((lattice, lattice)).reshape(-1, 2).astype(np.float64) + 0.5) * size / lattice - 0.5
    points = pixels / half - 1
    shifts = thin_plate_kernel(points, controls) @ weights[:-3] + affine_basis(points) @ weights[-3:]
    coarse = (shifts * half).reshape(lattice, lattice, 2).astype(np.float32)
    out: Map = identity_map(size) + cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return out


def smooth_field(rng: Rng, size: int, cells: int, amplitude: float) -> Map:
    """A random smooth displacement field (size, size, 2) in pixels, normal with that amplitude per axis.

    Random values on a coarse ``cells`` x ``cells`` lattice, interpolated bicubically.
    """
    coarse = rng.normal(0, amplitude, (cells, cells, 2)).astype(np.float32)
    field: Map = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return field
