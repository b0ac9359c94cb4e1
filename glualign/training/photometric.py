"""Photometric changes drawn independently for the two images of a pair, on uint8 RGB.

Nearly everything is a look-up table, a 3x3 colour matrix or a coarse field, so that a 256x256 image takes
one or two milliseconds. Random noise comes from one fixed bank of normal samples at random offsets:
drawing 200,000 normals for every image would cost more than all the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from glualign.arrays import Array, Doubles, Floats, Mask
from glualign.training.motion import Rng

# uint8. OpenCV's type hints do not follow the dtype of an array through its functions.
Pixels = Array
Field = Array

_LEVELS = np.linspace(0, 1, 256)


@dataclass(frozen=True)
class PhotometricOptions:
    """Probabilities of the changes, each drawn for each image on its own."""

    tone: float = 0.8  # exposure, contrast and gamma
    colour: float = 0.5  # mixing of the channels, hue and saturation
    grey: float = 0.1  # reduction to one channel
    blur: float = 0.2  # Gaussian or motion blur
    noise: float = 0.3  # sensor noise
    jpeg: float = 0.2  # JPEG compression
    shadow: float = 0.2  # smooth or sharp-edged shading
    fog: float = 0.08  # haze towards a light colour, denser in places
    modality: float = 0.0  # as another sensor: inversion, non-monotone curves, gradient pictures
    occlusion: float = 0.1  # a few patches that hide the content
    texture_transfer: float = 0.0  # the content's fine detail makes way for that of another photograph
    strength: float = 1.0  # factor on the range of tone, colour, blur and noise


def change(pixels: Pixels, rng: Rng, options: PhotometricOptions) -> tuple[Pixels, Mask]:
    """Change an (H, W, 3) uint8 RGB image; also returns which pixels an occluding patch hides."""
    hidden: Mask = np.zeros(pixels.shape[:2], bool)
    for name, apply in _CHANGES.items():
        if rng.random() < getattr(options, name):
            changed = apply(pixels, rng, options.strength)
            pixels, hidden = changed if apply is _occlusion else (changed, hidden)
    return pixels, hidden


def transfer_texture(pixels: Pixels, surface: Pixels, rng: Rng) -> Pixels:
    """The shapes of one (H, W, 3) uint8 RGB image under the fine detail of another, in colours of their own.

    Two objects of one class agree in their parts and outlines and in little else.
    """
    height, width = pixels.shape[:2]
    # A median of 3 or 5 at half the size costs a tenth of one of 7 or 9.
    if rng.random() < 0.5:
        pixels = cv2.resize(pixels, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    shapes = cv2.medianBlur(pixels, int(rng.choice([3, 5])))
    shapes = cv2.resize(shapes, (width, height), interpolation=cv2.INTER_LINEAR)
    kind = rng.random()
    if kind < 0.8:
        shapes = (_modality if kind < 0.4 else _colour)(shapes, rng, 3.0)
    around = 2 * int(rng.integers(2, 10)) + 1
    detail: Field = cv2.subtract(surface, cv2.blur(surface, (around, around)), dtype=cv2.CV_32F)
    return cv2.add(shapes, detail * np.float32(rng.uniform(0.2, 1.0)), dtype=cv2.CV_8U)


def _tone(pixels: Pixels, rng: Rng, strength: float) -> Pixels:
    """Exposure, contrast about mid-grey and gamma, in one table; slightly different per channel."""
    gamma = math.exp(rng.uniform(-0.7, 0.7) * strength)
    gain = math.exp(rng.uniform(-0.5, 0.4) * strength)
    contrast = math.exp(rng.uniform(-0.5, 0.35) * strength)
    offset = rng.uniform(-0.12, 0.12) * strength
    tints = 1 + rng.uniform(-0.12, 0.12, 3) * strength
    curves = (((_LEVELS**gamma * gain)[:, None] * tints) - 0.5) * contrast + 0.5 + offset
    return cv2.LUT(pixels, _table(curves))


def _table(curves: Doubles) -> Pixels:
    """Curves on 256 levels, (256, 3) about [0, 1], as a look-up table of OpenCV."""
    return np.clip(curves * 255 + 0.5, 0, 255).astype(np.uint8)[None]


def _colour(pixels: Pixels, rng: Rng, strength: float) -> Pixels:
    """Saturation between grey and over-saturated, a hue rotation about the grey axis and channel gains."""
    saturation = 1 + rng.uniform(-0.7, 0.6) * min(strength, 1.2)
    angle = rng.uniform(-0.5, 0.5) * strength
    grey = np.full((3, 3), 1 / 3)
    # Rotation about (1, 1, 1): the grey axis stays, the hue turns (Rodrigues' formula).
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    hue = math.cos(angle) * np.eye(3) + (1 - math.cos(angle)) * grey + math.sin(angle) * cross
    mixed = (saturation * np.eye(3) + (1 - saturation) * grey) @ hue
    gains = 1 + rng.uniform(-0.2, 0.2, 3) * strength
    return cv2.transform(pixels, (gains[:, None] * mixed).astype(np.float32))


def _grey(pixels: Pixels, _: Rng, __: float) -> Pixels:
    return cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


def _blur(pixels: Pixels, rng: Rng, strength: float) -> Pixels:
    if rng.random() < 0.7:
        return cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.4, 1.6) * strength)
    length, angle = rng.uniform(2, 6) * strength, rng.uniform(0, math.pi)
    kernel = np.zeros((9, 9), np.float32)
    reach = np.array([math.cos(angle), math.sin(angle)]) * min(length, 8) / 2
    # `shift` gives the end points in 1/16 px.
    start, end = ((np.round((4 + sign * reach) * 16)).astype(int).tolist() for sign in (-1, 1))
    cv2.line(kernel, start, end, 1.0, 1, cv2.LINE_8, 4)
    return cv2.filter2D(pixels, -1, kernel / kernel.sum())


@lru_cache(maxsize=1)
def _noise_bank() -> Floats:
    return np.random.default_rng(20).standard_normal(1 << 20, dtype=np.float32)


def _noise(pixels: Pixels, rng: Rng, strength: float) -> Pixels:
    """Normal noise, fine- or coarse-grained, grey or per channel."""
    height, width, _ = pixels.shape
    sigma = rng.uniform(2, 14) * strength
    grain, channels = int(rng.integers(1, 3)), (3 if rng.random() < 0.6 else 1)
    rows, columns = -(-height // grain), -(-width // grain)
    bank = _noise_bank()
    count = rows * columns * channels
    start = int(rng.integers(0, max(1, len(bank) - count)))
    noise: Field = np.resize(bank[start : start + count], (rows, columns, channels)) * np.float32(sigma)
    if grain > 1:
        noise = cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, -1)
    return cv2.add(pixels, np.broadcast_to(noise, pixels.shape), dtype=cv2.CV_8U)


def _jpeg(pixels: Pixels, rng: Rng, _: float) -> Pixels:
    encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 80))])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))


def _coarse_field(rng: Rng, shape: tuple[int, ...], low: float, high: float) -> Field:
    """A smooth random field (H, W) between about ``low`` and ``high``."""
    cells = int(rng.integers(2, 7))
    coarse = rng.uniform(low, high, (cells, cells)).astype(np.float32)
    return cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)


def _polygon(rng: Rng, shape: tuple[int, ...]) -> Pixels:
    """A mask (H, W), 0 or 255, of one random quadrilateral or half plane."""
    mask = np.zeros(shape, np.uint8)
    points = rng.uniform(-0.3, 1.3, (4, 2)) * np.array(shape[::-1])
    cv2.fillConvexPoly(mask, cv2.convexHull(points.astype(np.int32)), 255)
    return mask


def _shadow(pixels: Pixels, rng: Rng, _: float) -> Pixels:
    shape = pixels.shape[:2]
    if rng.random() < 0.5:
        factor = _coarse_field(rng, shape, 0.35, 1.4)
    else:
        depth, soft = rng.uniform(0.35, 0.8), rng.uniform(0.5, 6)
        mask = cv2.GaussianBlur(_polygon(rng, shape), (0, 0), soft)
        factor = 1 - (1 - depth) / 255 * mask.astype(np.float32)
    return cv2.multiply(pixels, cv2.merge([factor] * 3), dtype=cv2.CV_8U)


def _fog(pixels: Pixels, rng: Rng, _: float) -> Pixels:
    density = np.clip(_coarse_field(rng, pixels.shape[:2], 0.05, 0.75), 0, 0.85)
    light = float(rng.uniform(150, 245))
    keep = cv2.merge([1 - density] * 3)
    return cv2.add(cv2.multiply(pixels, keep, dtype=cv2.CV_32F), light * (1 - keep), dtype=cv2.CV_8U)


def _occlusion(pixels: Pixels, rng: Rng, _: float) -> tuple[Pixels, Mask]:
    """One to four rectangles or blobs hidden behind a flat colour or coarse noise, and where they are."""
    pixels = pixels.copy()
    height, width, _ = pixels.shape
    hidden = np.zeros((height, width), np.uint8)
    for _ in range(int(rng.integers(1, 5))):
        centre = (rng.uniform(0, 1, 2) * (width, height)).astype(int)
        half = np.maximum(2, (rng.uniform(0.03, 0.15, 2) * (width, height)).astype(int))
        if rng.random() < 0.5:
            cv2.rectangle(hidden, (centre - half).tolist(), (centre + half).tolist(), 255, -1)
        else:
            cv2.ellipse(hidden, centre.tolist(), half.tolist(), float(rng.uniform(0, 180)), 0, 360, 255, -1)
    cells = int(rng.integers(1, 9))
    cover: Pixels = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
    cover = cv2.resize(cover, (width, height), interpolation=cv2.INTER_LINEAR)
    cv2.copyTo(cover, hidden, pixels)
    return pixels, hidden > 0


def _curve(rng: Rng, knots: int) -> Doubles:
    """A random smooth intensity curve on 256 levels, generally not monotone, using most of the range."""
    values = rng.uniform(0, 1, knots)
    values = (values - values.min()) / max(np.ptp(values), 0.2)
    return np.asarray(np.interp(_LEVELS, np.linspace(0, 1, knots), values))


def _modality(pixels: Pixels, rng: Rng, _: float) -> Pixels:
    """The same scene as another sensor might show it: the edges stay, their sign and strength do not."""
    kind = rng.random()
    if kind < 0.15:
        return cv2.bitwise_not(pixels)
    if kind < 0.30:
        return _gradient_picture(pixels, rng)
    # One channel, or a random mixture of the channels, through a random curve: near infrared, thermal, radar.
    mixture = rng.dirichlet(np.full(3, 0.6))
    if rng.random() < 0.3:
        # Differences of channels, such as vegetation indices, separate by colour instead of by brightness.
        mixture = mixture - rng.dirichlet(np.full(3, 0.6)) * rng.uniform(0.3, 1.0)
    offset = 255.0 * float(-np.minimum(mixture, 0).sum())
    scale = 255.0 / max(255.0 * float(np.abs(mixture).sum()), 1.0)
    weights = np.append(mixture.astype(np.float32) * scale, offset * scale).astype(np.float32)
    one = cv2.transform(pixels, weights[None]).reshape(pixels.shape[:2])
    if kind < 0.55:
        curve = _curve(rng, 2) if rng.random() < 0.5 else 1 - _LEVELS ** math.exp(rng.uniform(-0.6, 0.6))
        curves = [curve] * 3
    elif kind < 0.85:
        curves = [_curve(rng, int(rng.integers(3, 6)))] * 3
    else:
        # False colours: each channel has a curve of its own.
        curves = [_curve(rng, int(rng.integers(2, 6))) for _ in range(3)]
    if rng.random() < 0.35:
        # Partial inversion: only in a part of the picture, as where one surface is warm and another is not.
        one ^= _polygon(rng, pixels.shape[:2])
    return cv2.LUT(cv2.merge([one] * 3), _table(np.stack(curves, axis=-1)))


def _gradient_picture(pixels: Pixels, rng: Rng) -> Pixels:
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    if rng.random() < 0.5:
        grey = cv2.GaussianBlur(grey, (0, 0), rng.uniform(0.6, 1.5))
    across, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    gain = rng.uniform(0.6, 1.6) * 40.0 / (float(np.abs(across).mean()) + 4.0)
    edges: Pixels = np.clip(cv2.magnitude(across, down) * gain, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        edges = cv2.bitwise_not(edges)
    if rng.random() < 0.5:
        edges = cv2.addWeighted(edges, 0.6, grey, 0.4, 0)
    return cv2.merge([edges] * 3)


# In the order in which they are applied, as from the scene to the file; by the name of their probability.
_CHANGES: Mapping[str, Callable[[Pixels, Rng, float], Any]] = {
    each.__name__.removeprefix("_"): each
    for each in (_modality, _shadow, _colour, _grey, _fog, _occlusion, _blur, _tone, _noise, _jpeg)
}
