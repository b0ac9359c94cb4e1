"""Training pairs with exact flow, made from photographs; a pair is a function of its seed and index alone.

Both images are sampled from the *full-size* photograph: the source through an upright crop, the target
through that crop after the random map. Each pixel is resampled once, and the target shows real content
where the source frame ends. The flow is the map that the target was sampled through, so it is exact.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from glualign.arrays import Bytes, Mask
from glualign.errors import TrainingError
from glualign.geometry import inside
from glualign.training import motion
from glualign.training.motion import Map, Matrix, Rng
from glualign.training.photometric import PhotometricOptions, Pixels, change, transfer_texture
from glualign.training.photos import PhotoStore
from glualign.training.strata import STRATA, Objects, check_mix

_HIDDEN = 255


@dataclass(frozen=True, eq=False)
class TrainingPair:
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
    mix: Mapping[str, float]  # weight of each stratum (names of `STRATA`); weights need not sum to 1
    aligned: float = 0.0  # share of the pairs whose sides come from two photographs (`PhotoStore.aligned`)
    photometric: bool = True  # False leaves both images as resampled

    def __post_init__(self) -> None:
        check_mix(self.mix, "data.mix")
        if self.aligned > 0 and not len(self._aligned_indices):
            raise TrainingError(
                "data.aligned is above 0, but no two training photographs have names that differ in a final "
                "_a and _b alone"
            )

    @cached_property
    def _aligned_indices(self) -> npt.NDArray[np.int64]:
        """Photographs that may be used together with their partners."""
        allowed, partners = set(self.indices.tolist()), self.photos.aligned
        return np.array([i for i in self.indices.tolist() if partners.get(i) in allowed], dtype=np.int64)

    def pair(self, index: int, size: int) -> TrainingPair:
        """Pair ``index`` at working size ``size`` (pixels, square)."""
        rng = np.random.default_rng((self.seed, index))
        weights = np.array(list(self.mix.values()), dtype=np.float64)
        name = list(self.mix)[int(rng.choice(len(weights), p=weights / weights.sum()))]
        stratum = STRATA[name]
        mapping = stratum.motion(rng, size)
        photo = other = self._photo(rng)
        if self.aligned > 0 and rng.random() < self.aligned:
            index = int(self._aligned_indices[int(rng.integers(len(self._aligned_indices)))])
            photo, other = self.photos[index], self.photos[self.photos.aligned[index]]
        to_photo = _random_crop(rng, photo.shape[:2], size)
        source = _sample(photo, cv2.transform(motion.identity_map(size), to_photo[:2]), size)
        target = _sample(other, cv2.transform(mapping, to_photo[:2]), size)
        source_ids = np.zeros((size, size), np.uint8)
        target_ids = np.zeros((size, size), np.uint8)
        if rng.random() < stratum.objects.chance:
            for identity in range(1, 1 + int(rng.integers(1, stratum.objects.most + 1))):
                self._paste(
                    rng, stratum.objects, identity, (source, target), (source_ids, target_ids), mapping
                )
        valid = inside(mapping[..., 0], mapping[..., 1], (size, size))
        visible = valid
        if source_ids.any() or target_ids.any():
            _hide_edges(source_ids)
            _hide_edges(target_ids)
        if self.photometric:
            source, source_hidden = self._change(source, rng, stratum.photometric)
            target, target_hidden = self._change(target, rng, stratum.photometric)
            if source_hidden is not None:
                source_ids[source_hidden] = _HIDDEN
            if target_hidden is not None:
                target_ids[target_hidden] = _HIDDEN - 1
        if source_ids.any() or target_ids.any():
            seen = cv2.remap(source_ids, mapping[..., 0], mapping[..., 1], cv2.INTER_NEAREST)
            visible = valid & (seen == target_ids) & (target_ids < _HIDDEN - 1)
        flow = mapping - motion.identity_map(size)
        return TrainingPair(source, target, flow, valid, visible)

    def _photo(self, rng: Rng) -> Pixels:
        return self.photos[int(self.indices[int(rng.integers(len(self.indices)))])]

    def _change(self, pixels: Pixels, rng: Rng, options: PhotometricOptions) -> tuple[Pixels, Mask | None]:
        if options.texture_transfer and rng.random() < options.texture_transfer:
            size, other = len(pixels), self._photo(rng)
            crop = _random_crop(rng, other.shape[:2], size)
            surface = _sample(other, cv2.transform(motion.identity_map(size), crop[:2]), size)
            pixels = transfer_texture(pixels, surface, rng)
        return change(pixels, rng, options)

    def _paste(
        self,
        rng: Rng,
        options: Objects,
        identity: int,
        images: tuple[Pixels, Pixels],
        ids: tuple[Bytes, Bytes],
        mapping: Map,
    ) -> None:
        """Paste one object over both images and write its own motion into ``mapping`` (all in place)."""
        size = len(mapping)
        centre = rng.uniform(0.1, 0.9, 2) * size
        x, y = centre.astype(int)
        # The object follows the background at its place (value and Jacobian) and adds a motion of its own.
        jacobian = np.stack(
            [
                mapping[y, min(x + 1, size - 1)] - mapping[y, max(x - 1, 0)],
                mapping[min(y + 1, size - 1), x] - mapping[max(y - 1, 0), x],
            ],
            axis=1,
        ).astype(np.float64)
        jacobian /= 2
        own = motion.similarity(rng, options.rotation, options.zoom, 0.0)[:2, :2]
        to_source = np.eye(3)
        to_source[:2, :2] = jacobian @ own
        goal = mapping[y, x] + rng.uniform(-options.shift, options.shift, 2) * size
        to_source[:2, 2] = goal - to_source[:2, :2] @ centre
        if abs(np.linalg.det(to_source[:2, :2])) < 0.02:
            return
        patch, radius = _cut_out(rng, self._photo(rng), size)
        # The patch lies about `goal` in the source frame.
        in_source = np.eye(3)
        in_source[:2, 2] = goal - radius
        in_target = np.linalg.inv(to_source) @ in_source
        for image, labels, placement in zip(images, ids, (in_source, in_target), strict=True):
            box = _box(placement, patch.shape[:2], size)
            if box is None:
                continue
            rows, columns = box
            local = placement[:2].copy()
            local[:, 2] -= (columns.start, rows.start)
            extent = (columns.stop - columns.start, rows.stop - rows.start)
            layer = cv2.warpAffine(patch, local, extent, flags=cv2.INTER_LINEAR)
            alpha = layer[:, :, 3]
            share = cv2.merge([alpha] * 3).astype(np.uint16)
            mixed = layer[:, :, :3] * share + image[rows, columns] * (255 - share) + 127
            image[rows, columns] = mixed // 255
            labels[rows, columns][alpha > 0] = _HIDDEN
            labels[rows, columns][alpha == 255] = identity
            if labels is ids[1]:
                grid = motion.identity_map(size)[rows, columns]
                moved = cv2.transform(grid, to_source[:2])
                inside = alpha > 127
                mapping[rows, columns][inside] = moved[inside]


def _random_crop(rng: Rng, shape: tuple[int, ...], size: int) -> Matrix:
    """3x3 from source pixels to photograph pixels: a random upright crop, sometimes mirrored or turned."""
    height, width = shape[:2]
    side = rng.uniform(0.55, 1.0) * min(height, width)
    scale = side / size
    matrix = np.diag([scale, scale, 1.0])
    if rng.random() < 0.5:
        matrix[0, 0] = -scale
    if rng.random() < 0.15:
        matrix[:2, :2] = matrix[:2, :2] @ np.array([[0.0, -1.0], [1.0, 0.0]])
    middle = (
        np.array([rng.uniform(side / 2, width - side / 2), rng.uniform(side / 2, height - side / 2)]) - 0.5
    )
    matrix[:2, 2] = middle - matrix[:2, :2] @ np.full(2, (size - 1) / 2)
    return matrix


def _sample(photo: Pixels, positions: Map, size: int) -> Pixels:
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


def _box(placement: Matrix, shape: tuple[int, ...], size: int) -> tuple[slice, slice] | None:
    """Rows and columns of the frame that a placed patch can cover, or None."""
    height, width = shape
    corners = (
        np.array([[0, 0], [width, 0], [width, height], [0, height]]) @ placement[:2, :2].T + placement[:2, 2]
    )
    low = np.clip(np.floor(corners.min(0)), 0, size).astype(int)
    high = np.clip(np.ceil(corners.max(0)) + 1, 0, size).astype(int)
    if (high - low < 1).any():
        return None
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def _hide_edges(ids: Bytes) -> None:
    """Mark the two pixels on either side of every border between labels as hidden, in place."""
    window = np.ones((3, 3), np.uint8)
    ids[cv2.dilate(ids, window) != cv2.erode(ids, window)] = _HIDDEN
