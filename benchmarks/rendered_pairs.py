"""Pairs drawn by this project, with known flow: related ones of every difficulty, and unrelated ones.

What the thresholds of the verdict are set and tested on. Nothing is read from a file, so that the pairs can
be drawn wherever the repository is; every pair is the same on every machine, up to the rounding of OpenCV.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from glualign.geometry import pixel_grid, transform_flow

Pixels = npt.NDArray[np.uint8]
Draw = Callable[[np.random.Generator, int, int], Pixels]

HEIGHT, WIDTH = 360, 480


@dataclass(frozen=True, eq=False)
class RenderedPair:
    """A pair of drawn images.

    Attributes:
        name: scene, and how the images differ.
        source: ``(H, W, 3)`` uint8 RGB.
        target: the same.
        flow: ``(H, W, 2)`` float32, target -> source in source pixels; None for an unrelated pair.
    """

    name: str
    source: Pixels
    target: Pixels
    flow: npt.NDArray[np.float32] | None


def rounded_down(values: npt.NDArray[Any]) -> Pixels:
    """Grey levels as 8 bits; those outside 0..255 as the nearest."""
    return np.asarray(np.clip(values, 0, 255), np.uint8)


# ---- scenes


def noise(rng: np.random.Generator, height: int, width: int, coarsest: int = 128) -> npt.NDArray[np.float32]:
    """Value noise of all octaves up to cells of ``coarsest`` pixels, 0 to 1."""
    total = np.zeros((height, width), np.float32)
    cell = coarsest
    while cell >= 2:
        grid = rng.random((height // cell + 3, width // cell + 3)).astype(np.float32)
        layer = cv2.resize(grid, None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)
        total += layer[:height, :width] * (cell / coarsest) ** 0.8
        cell //= 2
    low, high = float(total.min()), float(total.max())
    return (total - low) / (high - low)


def colours(values: npt.NDArray[np.float32], rng: np.random.Generator) -> Pixels:
    """A smooth random palette over values of 0 to 1."""
    stops = rng.uniform(20, 235, (5, 3))
    position = values * (len(stops) - 1)
    channels = [np.interp(position, np.arange(len(stops)), stops[:, k]) for k in range(3)]
    return rounded_down(np.stack(channels, axis=2))


def terrain(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Land from above: fractal heights, shaded from one side."""
    heights = noise(rng, height, width)
    shade = cv2.Sobel(heights, cv2.CV_32F, 1, 1, ksize=5)
    image = colours(heights, rng).astype(np.float32) + 180 * np.tanh(2 * shade)[..., None]
    return rounded_down(image)


def leaves(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Discs of all sizes that hide one another: the edge statistics of natural scenes."""
    image = np.full((height, width, 3), 128, np.uint8)
    for radius in np.sort(70 * rng.random(900) ** 3 + 3)[::-1]:
        centre = (int(rng.integers(0, width)), int(rng.integers(0, height)))
        axes = (int(radius), int(radius * rng.uniform(0.4, 1.0)) + 1)
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        cv2.ellipse(image, centre, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
    grain = (noise(rng, height, width, 16)[..., None] - 0.5) * 40
    return rounded_down(image + grain)


def city(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """Houses with windows before a sky."""
    sky = np.linspace(230, 150, height, dtype=np.float32)[:, None, None] * np.array([0.7, 0.85, 1.0])
    image = np.broadcast_to(sky, (height, width, 3)).astype(np.uint8).copy()
    for depth in range(3):
        left = -int(rng.integers(0, 40))
        while left < width:
            across = int(rng.integers(40, 110))
            top = int(height * (0.15 + 0.2 * depth) + rng.integers(0, height // 4))
            wall = tuple(int(v) for v in rng.integers(50, 200, 3))
            cv2.rectangle(image, (left, top), (left + across, height), wall, -1)
            step = int(rng.integers(12, 22))
            for y in range(top + 8, height - 8, step):
                for x in range(left + 6, left + across - 10, step):
                    light = tuple(int(v) for v in rng.integers(20, 255, 3) * (rng.random() > 0.3))
                    cv2.rectangle(image, (x, y), (x + step // 2, y + step // 2), light, -1)
            left += across + int(rng.integers(0, 12))
    grain = (noise(rng, height, width, 8)[..., None] - 0.5) * 30
    return rounded_down(image + grain)


def bricks(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """A brick wall: the same pattern everywhere, only the stains tell places apart."""
    stains = noise(rng, height, width, 64)[..., None] * 60
    image = np.full((height, width, 3), (170, 165, 155), np.float32)
    for row, y in enumerate(range(0, height, 20)):
        for x in range(-24 * (row % 2), width, 48):
            tone = np.array([150, 70, 55]) + rng.normal(0, 8, 3)
            image[y + 2 : y + 19, max(0, x + 2) : max(0, x + 47)] = tone
    return rounded_down(image + stains - 30)


def _page(height: int, width: int) -> Pixels:
    return np.full((height, width, 3), 250, np.uint8)


def _word(rng: np.random.Generator) -> str:
    return "".join(rng.choice(list("abcdefghiklmnoprstuvwy"), int(rng.integers(2, 9))))


def text(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """A printed page."""
    image = _page(height, width)
    for y in range(24, height - 6, 15):
        x = 20
        while x < width - 60:
            word = _word(rng)
            cv2.putText(image, word, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (30, 30, 35), 1, cv2.LINE_AA)
            x += 8 * len(word) + 6
    return image


def form(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """A form with printed fields, the same for every ``rng``, filled in by hand."""
    image = _page(height, width)
    printed = np.random.default_rng(7)
    for y in range(30, height - 20, 36):
        for x in (20, width // 2 + 10):
            cv2.rectangle(image, (x, y), (x + width // 2 - 36, y + 22), (120, 120, 130), 1)
            label = _word(printed)
            cv2.putText(
                image, label, (x, y - 3), cv2.FONT_HERSHEY_SIMPLEX, 0.32, (60, 60, 60), 1, cv2.LINE_AA
            )
            points = np.cumsum(rng.normal((5, 0), (2, 4), (24, 2)), axis=0) + np.array([x + 8, y + 11])
            cv2.polylines(image, [points.astype(np.int32)], False, (40, 40, 150), 1, cv2.LINE_AA)
    return image


def spreadsheet(rng: np.random.Generator, height: int, width: int) -> Pixels:
    """A table of numbers on a grid that is the same for every ``rng``."""
    image = _page(height, width)
    for y in range(0, height, 18):
        cv2.line(image, (0, y), (width, y), (200, 200, 205), 1)
        for x in range(0, width, 60):
            number = f"{rng.integers(0, 10 ** int(rng.integers(2, 6)))}"
            cv2.putText(image, number, (x + 4, y + 14), cv2.FONT_HERSHEY_SIMPLEX, 0.34, (20, 20, 20), 1)
    for x in range(0, width, 60):
        cv2.line(image, (x, 0), (x, height), (200, 200, 205), 1)
    return image


SCENES: dict[str, Draw] = {
    "terrain": terrain,
    "leaves": leaves,
    "city": city,
    "bricks": bricks,
    "text": text,
    "form": form,
    "spreadsheet": spreadsheet,
}


# ---- appearance


def night(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Dark, noisy, lit by a few lamps."""
    height, width = image.shape[:2]
    light = np.full((height, width), 0.12, np.float32)
    grid = pixel_grid((height, width))
    for _ in range(4):
        y, x, reach = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(40, 90)
        light += 0.5 * np.exp(-np.square(grid - (x, y)).sum(axis=2) / reach**2)
    dark = image.astype(np.float32) * light[..., None] * (1.0, 0.8, 0.6) + rng.normal(0, 5, image.shape)
    return rounded_down(dark)


def thermal(image: Pixels, rng: np.random.Generator) -> Pixels:
    """One channel, other tones of which some are reversed, blurred."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (0, 0), 1.2)
    curve = np.interp(np.arange(256), [0, 90, 160, 255], [200, 120, 170, 30]).astype(np.uint8)
    seen = curve[grey].astype(np.float32) + rng.normal(0, 3, grey.shape)
    return np.repeat(rounded_down(seen)[..., None], 3, axis=2)


def season(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Other colours, and patches of something white."""
    mixed = image.astype(np.float32) @ rng.dirichlet((2, 2, 2), 3).T
    height, width = image.shape[:2]
    snow = np.clip(4 * (noise(rng, height, width, 64) - 0.55), 0, 0.8)[..., None]
    return rounded_down(mixed * (1 - snow) + 240 * snow)


def exposure(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Brighter, softer, with some noise."""
    bright = 255 * (image.astype(np.float32) / 255) ** 0.6
    soft = cv2.GaussianBlur(bright, (0, 0), 0.8) + rng.normal(0, 3, image.shape)
    return rounded_down(soft)


APPEARANCES = {"exposure": exposure, "season": season, "thermal": thermal, "night": night}


# ---- motion


def homography_flow(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """The flow of a random homography that moves the corners by up to 8 % of the width."""
    corners = np.array([[0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT]], np.float32)
    moved = corners + rng.uniform(-0.08, 0.08, (4, 2)).astype(np.float32) * WIDTH
    matrix = cv2.getPerspectiveTransform(corners, moved)
    return transform_flow(np.asarray(matrix, np.float64), (HEIGHT, WIDTH))


def rotation_flow(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """The flow of a turn about the centre, with a little zoom."""
    degrees = float(rng.choice([-25, 20, 30]))
    matrix = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), degrees, float(rng.uniform(0.85, 1.0)))
    return transform_flow(np.vstack([matrix, [0, 0, 1]]), (HEIGHT, WIDTH))


def bend_flow(rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """A smooth bend by up to 3 % of the width."""
    coarse = rng.normal(0, 0.03 * WIDTH / 2, (4, 5, 2)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), np.float32)


def moved(image: Pixels, flow: npt.NDArray[np.float32]) -> Pixels:
    """The target that ``flow`` makes of a source."""
    x, y = cv2.split(pixel_grid((HEIGHT, WIDTH)) + flow)
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT), np.uint8)


MOTIONS: dict[str, Callable[[np.random.Generator], npt.NDArray[np.float32]]] = {
    "shifted view": homography_flow,
    "bent": bend_flow,
    "turned": rotation_flow,
}


# ---- pairs


def related() -> Iterator[RenderedPair]:
    """Every scene in two appearances and two motions: 28 pairs, and a still one of each scene: 35."""
    appearances, motions = list(APPEARANCES), list(MOTIONS)
    for index, (scene, draw) in enumerate(SCENES.items()):
        for variant in range(5):
            rng = np.random.default_rng(100 * index + variant)
            source = draw(rng, HEIGHT, WIDTH)
            appearance = appearances[(index + variant) % len(appearances)]
            if variant == 4:
                motion, flow = "still", np.zeros((HEIGHT, WIDTH, 2), np.float32)
            else:
                motion = motions[(index + variant) % len(motions)]
                flow = MOTIONS[motion](rng)
            target = APPEARANCES[appearance](moved(source, flow), rng)
            yield RenderedPair(f"{scene}, {motion}, {appearance}", source, target, flow)


def unrelated() -> Iterator[RenderedPair]:
    """Pairs of different things: two drawings of every kind, and one of every kind with the next: 35 pairs.

    Two forms, two tables and two walls share what is printed or built alike; they are different all the same.
    """
    names = list(SCENES)
    for index, scene in enumerate(names):
        for variant in range(3):
            rng = np.random.default_rng(10_000 + 100 * index + variant)
            source, target = (SCENES[scene](rng, HEIGHT, WIDTH) for _ in range(2))
            yield RenderedPair(f"two of {scene}, {variant}", source, target, None)
        for step in (1, 3):
            rng = np.random.default_rng(20_000 + 100 * index + step)
            other = names[(index + step) % len(names)]
            source, target = SCENES[scene](rng, HEIGHT, WIDTH), SCENES[other](rng, HEIGHT, WIDTH)
            yield RenderedPair(f"{scene} and {other}", source, target, None)
