"""Training pairs with exact flow, made from photographs. A pair is a function of its seed and index alone.

Both images are sampled from the *full-size* photograph: the source through an upright crop, the target
through that crop after the random map. Each pixel is resampled once, and the target shows real content
where the source frame ends. The flow is the map that the target was sampled through, so it is exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from glualign.arrays import Bytes, Mask
from glualign.geometry import inside, pixel_grid, rotation_scale_matrix
from glualign.training import motion
from glualign.training.motion import Map, Matrix, Rng
from glualign.training.photometric import PhotometricOptions, Pixels, change, transfer_texture
from glualign.training.photos import PhotoStore

_HIDDEN = 255


@dataclass(frozen=True)
class Objects:
    """Independently moving objects pasted over both images."""

    chance: float = 0.0  # probability that there are any
    most: int = 1  # up to so many of them
    shift: float = 0.08  # extra translation per axis, uniform, in fractions of the frame
    rotation: float = math.pi / 6  # extra rotation in radians
    zoom: float = 1.35  # extra scale, log-uniform between 1/zoom and zoom


class Stratum(NamedTuple):
    """One kind of pair."""

    motion: Callable[[Rng, int], Map]  # draws the map from the target frame to the source frame
    photometric: PhotometricOptions  # changes of each image
    objects: Objects = Objects()


_USUAL = PhotometricOptions(modality=0.04)
_MILD = PhotometricOptions(
    tone=0.5, colour=0.3, grey=0.05, blur=0.15, shadow=0.1, fog=0.02, occlusion=0.03, strength=0.5
)
_HARSH = PhotometricOptions(
    tone=0.9, shadow=0.3, fog=0.12, noise=0.4, blur=0.3, occlusion=0.1, modality=0.5, strength=1.3
)
_SLOW_OBJECTS = Objects(chance=0.6, most=5, shift=0.02, rotation=math.pi / 40, zoom=1.04)

STRATA: dict[str, Stratum] = {
    "small": Stratum(motion.slight_motion, _MILD, _SLOW_OBJECTS),
    "moderate": Stratum(motion.moderate_motion, _USUAL, Objects(chance=0.1)),
    "large": Stratum(motion.large_motion, _USUAL),
    "rotation": Stratum(motion.rotated_motion, _USUAL),
    "modality": Stratum(motion.moderate_motion, _HARSH),
    "dynamic": Stratum(
        motion.moderate_motion, replace(_USUAL, occlusion=0.0), Objects(chance=1.0, most=3, shift=0.1)
    ),
    "class": Stratum(motion.class_motion, replace(_USUAL, colour=0.8, grey=0.15, texture_transfer=0.9)),
}
"""Strata by the name that recipes and validation tables use."""


class TrainingPair(NamedTuple):
    """One training pair of a square working size S."""

    source: Pixels  # (S, S, 3) uint8 RGB
    target: Pixels  # (S, S, 3) uint8 RGB
    flow: Map  # (S, S, 2) float32, target -> source in pixels, known everywhere (also outside the frame)
    valid: Mask  # (S, S) bool, the flow points into the source frame
    visible: Mask  # (S, S) bool, valid and not hidden by an object, its edge or a patch


@dataclass(frozen=True, eq=False)
class PairSynthesis:
    """Draws pairs from photographs."""

    photos: PhotoStore  # where the pixels come from
    indices: npt.NDArray[np.int64]  # which photographs may be used
    seed: int  # pairs of different seeds are unrelated
    mix: Mapping[str, float]  # weight of each stratum (others are left out); weights need not sum to 1
    photometric: bool = True  # False leaves both images as resampled

    def pair(self, index: int, size: int, sides: tuple[Pixels, Pixels] | None = None) -> TrainingPair:
        """Pair ``index`` at a working size, of one photograph or two ``sides`` that are aligned already."""
        rng = np.random.default_rng((self.seed, index))
        stratum = STRATA[draw_name(rng, {name: self.mix[name] for name in self.mix if name in STRATA})]
        mapping = stratum.motion(rng, size)
        sides = sides or (self._photo(rng),) * 2
        return self.warped(rng, stratum, mapping, sides, _random_crop(rng, sides[0].shape[:2], size))

    def warped(
        self, rng: Rng, stratum: Stratum, mapping: Map, photos: tuple[Pixels, Pixels], to_photo: Matrix
    ) -> TrainingPair:
        """The pair of a map, sides cut from two photographs of one place, with what a stratum changes."""
        size = len(mapping)
        images = [
            resample(photo, cv2.transform(positions, to_photo), size)
            for photo, positions in zip(photos, (pixel_grid((size, size)), mapping), strict=True)
        ]
        # What each pixel shows: 0 the photograph, 1 and up the objects, or something hidden.
        labels = [np.zeros((size, size), np.uint8) for _ in images]
        if rng.random() < stratum.objects.chance:
            for label in range(1, 1 + int(rng.integers(1, stratum.objects.most + 1))):
                self._paste(rng, stratum.objects, label, images, labels, mapping)
        valid = visible = inside(mapping[..., 0], mapping[..., 1], (size, size))
        if any(ids.any() for ids in labels):
            # The two pixels on either side of every border between labels are hidden.
            window = np.ones((3, 3), np.uint8)
            for ids in labels:
                ids[cv2.dilate(ids, window) != cv2.erode(ids, window)] = _HIDDEN
        for side, ids in enumerate(labels):
            images[side], hidden = self.changed(images[side], rng, stratum.photometric)
            ids[hidden] = _HIDDEN - side
        if any(ids.any() for ids in labels):
            source_ids, target_ids = labels
            seen = cv2.remap(source_ids, mapping[..., 0], mapping[..., 1], cv2.INTER_NEAREST)
            visible = valid & (seen == target_ids) & (target_ids < _HIDDEN - 1)
        source, target = images
        return TrainingPair(source, target, mapping - pixel_grid((size, size)), valid, visible)

    def _photo(self, rng: Rng) -> Pixels:
        return self.photos[int(self.indices[int(rng.integers(len(self.indices)))])]

    def changed(self, pixels: Pixels, rng: Rng, options: PhotometricOptions) -> tuple[Pixels, Mask]:
        """An image as another camera or another light shows it, and (S, S) bool, what a patch hides."""
        if not self.photometric:
            return pixels, np.zeros(pixels.shape[:2], bool)
        if options.texture_transfer and rng.random() < options.texture_transfer:
            size, other = len(pixels), self._photo(rng)
            crop = _random_crop(rng, other.shape[:2], size)
            surface = resample(other, cv2.transform(pixel_grid((size, size)), crop), size)
            pixels = transfer_texture(pixels, surface, rng)
        return change(pixels, rng, options)

    def _paste(
        self, rng: Rng, options: Objects, label: int, images: list[Pixels], labels: list[Bytes], mapping: Map
    ) -> None:
        """Paste one object over both images and write its own motion into ``mapping`` (all in place)."""
        size = len(mapping)
        centre = rng.uniform(0.1, 0.9, 2) * size
        x, y = centre.astype(int)
        # The object follows the background at its place (value and Jacobian) and adds a motion of its own.
        across = mapping[y, min(x + 1, size - 1)] - mapping[y, max(x - 1, 0)]
        down = mapping[min(y + 1, size - 1), x] - mapping[max(y - 1, 0), x]
        jacobian = np.stack([across, down], axis=1).astype(np.float64) / 2
        to_source = np.eye(3)
        to_source[:2, :2] = jacobian @ motion.similarity(rng, options.rotation, options.zoom, 0.0)[:2, :2]
        goal = mapping[y, x] + rng.uniform(-options.shift, options.shift, 2) * size
        to_source[:2, 2] = goal - to_source[:2, :2] @ centre
        if abs(np.linalg.det(to_source[:2, :2])) < 0.02:
            return
        patch, radius = _cut_out(rng, self._photo(rng), size)
        # The patch lies about `goal` in the source frame.
        in_source = np.eye(3)
        in_source[:2, 2] = goal - radius
        for side, placement in enumerate((in_source, np.linalg.inv(to_source) @ in_source)):
            # The rows and columns of the frame that the placed patch can cover.
            corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * len(patch)
            corners = corners @ placement[:2, :2].T + placement[:2, 2]
            left, top = np.clip(np.floor(corners.min(0)), 0, size).astype(int)
            right, bottom = np.clip(np.ceil(corners.max(0)) + 1, 0, size).astype(int)
            if right <= left or bottom <= top:
                continue
            box = slice(top, bottom), slice(left, right)
            local = placement[:2] - [[0, 0, left], [0, 0, top]]
            layer = cv2.warpAffine(
                patch, local, (int(right - left), int(bottom - top)), flags=cv2.INTER_LINEAR
            )
            alpha = layer[:, :, 3]
            share = cv2.merge([alpha] * 3).astype(np.uint16)
            images[side][box] = (layer[:, :, :3] * share + images[side][box] * (255 - share) + 127) // 255
            labels[side][box][alpha > 0] = _HIDDEN
            labels[side][box][alpha == 255] = label
            if side == 1:
                moved = cv2.transform(pixel_grid((size, size))[box], to_source[:2])
                mapping[box][alpha > 127] = moved[alpha > 127]


def draw_name(rng: Rng, mix: Mapping[str, float]) -> str:
    """One of the names of a mix, by their weights."""
    weights = np.array(list(mix.values()), dtype=np.float64)
    return list(mix)[int(rng.choice(len(weights), p=weights / weights.sum()))]


def _random_crop(rng: Rng, shape: tuple[int, ...], size: int) -> Matrix:
    """2x3 from source pixels to photograph pixels: a random upright crop, sometimes mirrored or turned."""
    height, width = shape[:2]
    side, mirror = rng.uniform(0.55, 1.0) * min(height, width), bool(rng.random() < 0.5)
    degrees, scale = 90.0 * (rng.random() < 0.15), side / math.sqrt(height * width)
    matrix = rotation_scale_matrix(
        (size, size), (height, width), degrees=degrees, scale=scale, mirror=mirror
    )[:2]
    matrix[:, 2] += rng.uniform(-0.5, 0.5, 2) * (width - side, height - side)
    return matrix


def resample(photo: Pixels, positions: Map, size: int) -> Pixels:
    """Sample a photograph at (size, size, 2) positions, from a reduced copy where the map shrinks it."""
    middle = size // 2
    right = positions[middle, middle + 1] - positions[middle, middle]
    below = positions[middle + 1, middle] - positions[middle, middle]
    shrink = math.sqrt(abs(float(right[0] * below[1] - right[1] * below[0])))
    octave = max(0, round(math.log2(max(shrink, 1e-3))))
    if octave:
        factor = 0.5 ** min(octave, 3)
        height, width = (max(8, round(n * factor)) for n in photo.shape[:2])
        ratio = np.array([width / photo.shape[1], height / photo.shape[0]], np.float32)
        photo = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)
        positions = (positions + np.float32(0.5)) * ratio - np.float32(0.5)
    # A homography near its horizon sends pixels arbitrarily far; reflection needs them within a few frames.
    positions = np.clip(positions, -4 * photo.shape[1], 5 * photo.shape[1])
    across, down = cv2.split(positions)
    return cv2.remap(photo, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def _cut_out(rng: Rng, photo: Pixels, size: int) -> tuple[Pixels, float]:
    """A blob cut from a photograph, (2r, 2r, 4) uint8 RGB and alpha, and its radius r in pixels."""
    radius = int(
        np.clip(size * math.exp(rng.uniform(math.log(0.05), math.log(0.22))), 8, min(photo.shape[:2]) // 2)
    )
    y, x = (int(rng.integers(0, n - 2 * radius + 1)) for n in photo.shape[:2])
    angles = np.linspace(0, 2 * math.pi, 48, endpoint=False)
    outline = np.full(48, 0.72)
    for wave in range(2, 7):
        outline += rng.normal(0, 0.3 / wave**1.3) * np.cos(wave * angles + rng.uniform(0, 2 * math.pi))
    stretch, turn = rng.uniform(0.35, 1.0), rng.uniform(0, math.pi)
    outline = np.clip(outline, 0.2, 0.92)
    points = np.stack([outline * np.cos(angles), outline * stretch * np.sin(angles)], axis=-1)
    points = points @ motion.rotation_matrix(turn)[:2, :2].T
    alpha = np.zeros((2 * radius, 2 * radius), np.uint8)
    cv2.fillPoly(alpha, [np.round((points + 1) * radius).astype(np.int32)], 255)
    return np.dstack([photo[y : y + 2 * radius, x : x + 2 * radius], alpha]), float(radius)
