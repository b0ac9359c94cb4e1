"""The kinds of pairs that training draws: each has a motion, moving objects and photometric changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np

from glualign.errors import TrainingError
from glualign.training import motion
from glualign.training.motion import Map, Rng
from glualign.training.photometric import PhotometricOptions


@dataclass(frozen=True)
class Objects:
    """Independently moving objects pasted over both images."""

    chance: float = 0.0  # probability that there are any
    most: int = 1  # up to so many of them
    shift: float = 0.08  # extra translation per axis, uniform, in fractions of the frame
    rotation: float = math.pi / 6  # extra rotation in radians
    zoom: float = 1.35  # extra scale, log-uniform between 1/zoom and zoom


@dataclass(frozen=True)
class Stratum:
    """One kind of pair: ``motion`` draws the map from the target frame to the source frame."""

    motion: Callable[[Rng, int], Map]
    photometric: PhotometricOptions
    objects: Objects = Objects()


def slight_motion(rng: Rng, size: int) -> Map:
    """From a tenth of a pixel to some eight pixels: drift, slight turn and zoom, smooth non-rigid motion.

    A unit is a 256th of the frame, so the motion is that of a video frame at any working size.
    """
    unit = size / 256
    reach = math.exp(rng.uniform(math.log(0.1), math.log(8.0))) * unit
    turn = motion.similarity(rng, rotation=0.5 * reach / size, zoom=1 + reach / size, shift=0.0)
    out = _projective(turn, size)
    out += rng.uniform(-reach, reach, 2).astype(np.float32)
    if rng.random() < 0.8:
        cells = int(rng.integers(3, 13))
        out += motion.smooth_field(rng, size, cells, amplitude=reach * rng.uniform(0.1, 0.7) * 3 / cells)
    return out


def moderate_motion(rng: Rng, size: int) -> Map:
    """A second hand-held photograph: a homography, an affine map or a gentle thin-plate spline."""
    kind = rng.random()
    if kind < 0.5:
        return _projective(motion.homography(rng, rng.uniform(0.05, 0.4)), size)
    if kind < 0.75:
        return _projective(motion.affine(rng, stretch=0.25), size)
    return motion.thin_plate(rng, size, rng.uniform(0.03, 0.15), normal=True)


def large_motion(rng: Rng, size: int) -> Map:
    """Wide baselines: oblique views, strong homographies, zoom up to 3x, strong splines, compositions."""
    if rng.random() < 0.3:
        turn = motion.similarity(rng, rotation=math.pi / 5, zoom=1.6, shift=0.3)
        return _projective(turn @ motion.viewpoint(rng, math.radians(68)), size)
    kind = rng.random()
    if kind < 0.35:
        return _projective(motion.homography(rng, rng.uniform(0.3, 2 / 3)), size)
    if kind < 0.55:
        zoom = motion.similarity(rng, rotation=math.pi / 6, zoom=3.0, shift=0.4)
        return _projective(zoom @ motion.homography(rng, 0.2), size)
    if kind < 0.75:
        return motion.thin_plate(rng, size, 0.2, normal=True)
    bent = motion.thin_plate(rng, size, 0.15)
    first = motion.affine(rng) if kind < 0.9 else motion.homography(rng, 0.45)
    return _projective(first, size, bent)


def rotated_motion(rng: Rng, size: int) -> Map:
    """Rotation in the plane, half the time within 60 degrees, else any; with a moderate viewpoint change."""
    most = math.pi / 3 if rng.random() < 0.5 else math.pi
    turn = motion.similarity(rng, rotation=most, zoom=1.5, shift=0.2)
    return _projective(turn @ motion.homography(rng, 0.25), size)


def class_motion(rng: Rng, size: int) -> Map:
    """One object of a class onto another: shift, zoom and slight turn, and parts of other proportions."""
    turn = motion.similarity(rng, rotation=math.pi / 10, zoom=1.6, shift=0.25)
    return _projective(turn, size, motion.thin_plate(rng, size, rng.uniform(0.03, 0.15), normal=True))


def _projective(matrix: motion.Matrix, size: int, points: Map | None = None) -> Map:
    """A 3x3 matrix of the unit frame, applied to a map (None: that of no motion)."""
    frame = motion.frame_matrix(size)
    points = motion.identity_map(size) if points is None else points
    out: Map = cv2.perspectiveTransform(points, frame @ matrix @ np.linalg.inv(frame))
    return out


_MILD = PhotometricOptions(
    tone=0.5, colour=0.3, grey=0.05, blur=0.15, shadow=0.1, fog=0.02, occlusion=0.03, strength=0.5
)
_USUAL = PhotometricOptions(modality=0.04)
_HARSH = PhotometricOptions(
    tone=0.9, shadow=0.3, fog=0.12, noise=0.4, blur=0.3, occlusion=0.1, modality=0.5, strength=1.3
)

STRATA: dict[str, Stratum] = {
    "small": Stratum(
        slight_motion, _MILD, Objects(chance=0.6, most=5, shift=0.02, rotation=math.pi / 40, zoom=1.04)
    ),
    "moderate": Stratum(moderate_motion, _USUAL, Objects(chance=0.1)),
    "large": Stratum(large_motion, _USUAL),
    "rotation": Stratum(rotated_motion, _USUAL),
    "modality": Stratum(moderate_motion, _HARSH),
    "dynamic": Stratum(
        moderate_motion, replace(_USUAL, occlusion=0.0), Objects(chance=1.0, most=3, shift=0.1)
    ),
    "class": Stratum(class_motion, replace(_USUAL, colour=0.8, grey=0.15, texture_transfer=0.9)),
}
"""Strata by the name that recipes and validation tables use."""


def check_mix(mix: Mapping[str, float], where: str) -> None:
    """Refuse weights of strata that are unknown, or none of which is positive; ``where`` names them.

    Raises:
        TrainingError: with what is wrong.
    """
    unknown = sorted(set(mix) - set(STRATA))
    if unknown:
        raise TrainingError(f"{where}: unknown stratum {', '.join(unknown)}; known are {', '.join(STRATA)}")
    if sum(mix.values()) <= 0:
        raise TrainingError(f"{where}: at least one weight must be positive")
