"""Photometric changes drawn independently for the two images of a pair, on uint8 RGB.

Nearly everything is a look-up table, a 3x3 colour matrix or a coarse field, so that a 256x256 image takes
one or two milliseconds. Random noise comes from one fixed bank of normal samples at random offsets:
drawing 200,000 normals for every image would cost more than all the rest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from glualign.arrays import Array, Doubles, Floats, Mask

# uint8. OpenCV's type hints do not follow the dtype of an array through its functions.
Pixels = Array
Field = Array
Rng = np.random.Generator

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


def change(pixels: Pixels, rng: Rng, options: PhotometricOptions) -> tuple[Pixels, Mask | None]:
    """Change an (H, W, 3) uint8 RGB image; also returns which pixels an occluding patch hides, or None."""
    hidden = None
    strength = options.strength
    if rng.random() < options.modality:
        pixels = _other_modality(pixels, rng)
    if rng.random() < options.shadow:
        pixels = _shade(pixels, rng)
    if rng.random() < options.colour:
        pixels = cv2.transform(pixels, _colour_matrix(rng, strength))
    if rng.random() < options.grey:
        pixels = cv2.cvtColor(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < options.fog:
        pixels = _fog(pixels, rng)
    if rng.random() < options.occlusion:
        pixels, hidden = _occlude(pixels, rng)
    if rng.random() < options.blur:
        pixels = _blur(pixels, rng, strength)
    if rng.random() < options.tone:
        pixels = _tone(pixels, rng, strength)
    if rng.random() < options.noise:
        pixels = _noise(pixels, rng, strength)
    if rng.random() < options.jpeg:
        _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 80))])
        pixels = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))
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
    if kind < 0.4:
        shapes = _other_modality(shapes, rng)
    elif kind < 0.8:
        shapes = cv2.transform(shapes, _colour_matrix(rng, 3.0))
    around = 2 * int(rng.integers(2, 10)) + 1
    detail: Field = cv2.subtract(surface, cv2.blur(surface, (around, around)), dtype=cv2.CV_32F)
    return cv2.add(shapes, detail * np.float32(rng.uniform(0.2, 1.0)), dtype=cv2.CV_8U)


def _tone(pixels: Pixels, rng: Rng, strength: float) -> Pixels:
    """Exposure, contrast about mid-grey and gamma, in one table; slightly different per channel."""
    gamma = math.exp(rng.uniform(-0.7, 0.7) * strength)
    gain = math.exp(rng.uniform(-0.5, 0.4) * strength)
    contrast = math.exp(rng.uniform(-0.5, 0.35) * strength)
    offset = rng.uniform(-0.12, 0.12) * strength
    table = np.empty((1, 256, 3), np.uint8)
    for channel, tint in enumerate(1 + rng.uniform(-0.12, 0.12, 3) * strength):
        curve = ((_LEVELS**gamma * gain * tint) - 0.5) * contrast + 0.5 + offset
        table[0, :, channel] = np.clip(curve * 255 + 0.5, 0, 255)
    return cv2.LUT(pixels, table)


def _colour_matrix(rng: Rng, strength: float) -> Floats:
    """Saturation between grey and over-saturated, a hue rotation about the grey axis and channel gains."""
    saturation = 1 + rng.uniform(-0.7, 0.6) * min(strength, 1.2)
    angle = rng.uniform(-0.5, 0.5) * strength
    grey = np.full((3, 3), 1 / 3)
    # Rotation about (1, 1, 1): the grey axis stays, the hue turns (Rodrigues' formula).
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    hue = math.cos(angle) * np.eye(3) + (1 - math.cos(angle)) * grey + math.sin(angle) * cross
    mixed = (saturation * np.eye(3) + (1 - saturation) * grey) @ hue
    gains = 1 + rng.uniform(-0.2, 0.2, 3) * strength
    return (gains[:, None] * mixed).astype(np.float32)


def _blur(pixels: Pixels, rng: Rng, strength: float) -> Pixels:
    if rng.random() < 0.7:
        sigma = rng.uniform(0.4, 1.6) * strength
        return cv2.GaussianBlur(pixels, (0, 0), sigma)
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
    if channels == 1:
        noise = cv2.merge([noise, noise, noise])
    return cv2.add(pixels, noise, dtype=cv2.CV_8U)


def _coarse_field(rng: Rng, shape: tuple[int, ...], low: float, high: float) -> Field:
    """A smooth random field (H, W) between about ``low`` and ``high``."""
    cells = int(rng.integers(2, 7))
    coarse = rng.uniform(low, high, (cells, cells)).astype(np.float32)
    return cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)


def _polygon(rng: Rng, shape: tuple[int, ...]) -> Pixels:
    """A mask (H, W), 0 or 255, of one random quadrilateral or half plane."""
    mask = np.zeros(shape, np.uint8)
    points = rng.uniform(-0.3, 1.3, (4, 2)) * np.array(shape[::-1])
    hull = cv2.convexHull(points.astype(np.int32))
    cv2.fillConvexPoly(mask, hull, 255)
    return mask


def _shade(pixels: Pixels, rng: Rng) -> Pixels:
    shape = pixels.shape[:2]
    if rng.random() < 0.5:
        factor = _coarse_field(rng, shape, 0.35, 1.4)
    else:
        depth, soft = rng.uniform(0.35, 0.8), rng.uniform(0.5, 6)
        mask = cv2.GaussianBlur(_polygon(rng, shape), (0, 0), soft)
        factor = 1 - (1 - depth) / 255 * mask.astype(np.float32)
    return cv2.multiply(pixels, cv2.merge([factor, factor, factor]), dtype=cv2.CV_8U)


def _fog(pixels: Pixels, rng: Rng) -> Pixels:
    density = np.clip(_coarse_field(rng, pixels.shape[:2], 0.05, 0.75), 0, 0.85)
    light = float(rng.uniform(150, 245))
    keep = cv2.merge([1 - density] * 3)
    return cv2.add(cv2.multiply(pixels, keep, dtype=cv2.CV_32F), light * (1 - keep), dtype=cv2.CV_8U)


def _occlude(pixels: Pixels, rng: Rng) -> tuple[Pixels, Mask]:
    """Hide one to four rectangles or blobs behind a flat colour or coarse noise."""
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
    low, high = values.min(), values.max()
    values = (values - low) / max(high - low, 0.2)
    curve: Doubles = np.interp(_LEVELS, np.linspace(0, 1, knots), values)
    return curve


def _other_modality(pixels: Pixels, rng: Rng) -> Pixels:
    """The same scene as another sensor might show it: the edges stay, their sign and strength do not."""
    kind = rng.random()
    if kind < 0.15:
        return cv2.subtract(np.full_like(pixels, 255), pixels)
    if kind < 0.30:
        return _gradient_picture(pixels, rng)
    # One channel, or a random mixture of the channels, through a random curve: near infrared, thermal, radar.
    mixture = rng.dirichlet(np.full(3, 0.6))
    if rng.random() < 0.3:
        # Differences of channels, such as vegetation indices, separate by colour instead of by brightness.
        mixture = mixture - rng.dirichlet(np.full(3, 0.6)) * rng.uniform(0.3, 1.0)
    weights = mixture.reshape(1, 3).astype(np.float32)
    offset = 255.0 * float(-np.minimum(mixture, 0).sum())
    scale = 255.0 / max(255.0 * float(np.abs(mixture).sum()), 1.0)
    one = cv2.transform(
        pixels, np.concatenate([weights * scale, [[offset * scale]]], axis=1).astype(np.float32)
    )
    one = one.reshape(pixels.shape[:2])
    if kind < 0.55:
        table = _curve(rng, 2) if rng.random() < 0.5 else 1 - _LEVELS ** math.exp(rng.uniform(-0.6, 0.6))
        curves = np.stack([table] * 3, axis=-1)
    elif kind < 0.85:
        curves = np.stack([_curve(rng, int(rng.integers(3, 6)))] * 3, axis=-1)
    else:
        # False colours: each channel has a curve of its own.
        curves = np.stack([_curve(rng, int(rng.integers(2, 6))) for _ in range(3)], axis=-1)
    if rng.random() < 0.35:
        # Partial inversion: only in a part of the picture, as where one surface is warm and another is not.
        part = _polygon(rng, pixels.shape[:2])
        one = np.where(part > 0, 255 - one, one).astype(np.uint8)
    table8 = np.clip(curves * 255 + 0.5, 0, 255).astype(np.uint8).reshape(1, 256, 3)
    return cv2.LUT(cv2.merge([one, one, one]), table8)


def _gradient_picture(pixels: Pixels, rng: Rng) -> Pixels:
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    if rng.random() < 0.5:
        grey = cv2.GaussianBlur(grey, (0, 0), rng.uniform(0.6, 1.5))
    across = cv2.Sobel(grey, cv2.CV_32F, 1, 0)
    down = cv2.Sobel(grey, cv2.CV_32F, 0, 1)
    gain = rng.uniform(0.6, 1.6) * 40.0 / (float(np.abs(across).mean()) + 4.0)
    edges: Pixels = np.clip(cv2.magnitude(across, down) * gain, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        edges = 255 - edges
    if rng.random() < 0.5:
        edges = cv2.addWeighted(edges, 0.6, grey, 0.4, 0)
    return np.dstack([edges, edges, edges])
