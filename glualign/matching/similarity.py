"""Whether a target and a warped source look alike, without the network: their edges, and what lies between.

Edges are compared by normalised gradient fields (Haber and Modersitzki, 2006): the angle between gradients,
whatever their sign and strength, compares photographs, infra-red images and maps alike.

Two walls of one pattern, two forms of one print, two tables on one grid share their strongest edges and
differ in the rest. So `content_correlation` leaves the shared edges out, and compares the rest by local
correlation, squared, so that reversed tones are alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, partial

import cv2
import numpy as np

from glualign.arrays import Field, Floats, Mask, Matrix, Size
from glualign.geometry import pixel_grid, resize_flow, resizing_matrix, size_of
from glualign.images import reduce_image
from glualign.matching.pair import PairMatcher
from glualign.matching.predictor import Pixels

UNRELATED = 0.12
"""Edge similarity below which images look unrelated. On the drawn pairs of benchmarks/verdicts.py right
alignments have 0.50 and more, unrelated pairs 0.29 at most, 17 of 26 below this limit. Two walls of one
pattern have 0.96, forms and tables on one grid 0.67 to 0.72: `content_correlation` is for these."""
COMPARED_SIDE = 384
"""Longer side in pixels at which images are compared."""
BORDER = 5
"""Side in pixels of the window by which missing parts are widened."""
SHARED = 0.5
"""Product of edges, 0 to 1, from which both images have the same one."""
FINE, COARSE, CONTENT_WINDOW = 2.0, 4.0, 6.0
"""Standard deviations of the band that is compared and of the window, in pixels of half the compared size."""
ABOVE_NOISE = 4.0
"""Variance of the band, in units of that of the image's noise, from which a window shows something."""
FEWEST_PIXELS = 0.3
"""Share of a window's pixels that must lie between shared edges."""
FEWEST_SHOWN = 0.3
"""Share of the covered part where both images must show something between the shared edges."""


@dataclass(frozen=True, eq=False)
class Similarity:
    """Similarity of the edges of a target and a warped source, pixel by pixel, ``(h, w)``."""

    product: Floats  # positive where edges are parallel, negative where they cross
    strength: Floats  # how much edge there is
    covered: Mask  # where the source is
    source: Pixels  # (h, w, 3) uint8, the warped source

    @cached_property
    def total(self) -> float:
        """Mean over the covered part, 1 at most; see `UNRELATED`."""
        mask = self.covered
        return float(self.product[mask].sum() / (self.strength[mask].sum() + 1e-3)) if mask.any() else 0.0

    def within(self, mask: Mask) -> Similarity:
        """The same of the part in a mask ``(h, w)``."""
        return replace(self, covered=self.covered & mask)

    def local(self, window: int) -> Floats:
        """The total in a square window around each pixel."""
        mask = self.covered.astype(np.float32)
        above = cv2.blur(self.product * mask, (window, window))
        below = cv2.blur(self.strength * mask, (window, window))
        return np.asarray(above / (below + 1e-3), np.float32)


class EdgeSimilarity:
    """Compares the target of a pair with warps of its source at a small size.

    Attributes:
        size: ``(height, width)`` at which they are compared.
        target: ``(h, w, 3)`` uint8, the target at that size.
    """

    def __init__(self, pair: PairMatcher) -> None:
        self.pair = pair
        self.target = reduce_image(pair.target_pixels, COMPARED_SIDE)
        self.size: Size = size_of(self.target)
        self._target = x, y = edge_directions(self.target)
        self._strength = x * x + y * y
        missing = pair.target.image.missing
        self._known: Mask | None = None
        if missing is not None:
            self._known = reduce_image(missing.astype(np.float32), COMPARED_SIDE) == 0

    def compare(self, transform: Matrix, flow: Field | None = None) -> Similarity:
        """Similarity under a transform (working pixel -> source) and a flow of cells in working pixels."""
        to_working = resizing_matrix(self.size, self.pair.working)
        warped = self.pair.warp_source(transform @ to_working, self.size)
        covered = self.pair.source_area(transform @ to_working, self.size)
        if flow is not None:
            flow = resize_flow(flow, self.size, frame=self.pair.working)
            warped = warp_pixels(warped, flow)
            covered = warp_pixels(covered.astype(np.uint8), flow, cv2.INTER_NEAREST) > 0
        if self._known is not None:
            covered = covered & self._known
        inner = cv2.erode(covered.astype(np.uint8), np.ones((BORDER, BORDER), np.uint8), borderValue=1) > 0
        (ax, ay), (bx, by) = self._target, edge_directions(warped)
        product = ax * bx + ay * by
        # The mean of both images' own products: an edge that only one of them shows counts against it.
        strength = np.asarray((self._strength + (bx * bx + by * by)) / 2, np.float32)
        return Similarity(product, strength, np.asarray(inner), warped)


def warp_pixels(image: Pixels, flow: Field, interpolation: int = cv2.INTER_LINEAR) -> Pixels:
    """An image ``(h, w[, 3])`` uint8 as a flow ``(h, w, 2)`` target -> image shows it, black beyond it."""
    at = pixel_grid(size_of(flow)) + flow
    x, y = np.ascontiguousarray(at[..., 0]), np.ascontiguousarray(at[..., 1])
    return np.asarray(cv2.remap(image, x, y, interpolation), np.uint8)


def edge_directions(image: Pixels) -> tuple[Floats, Floats]:
    """Directions of gradients, ``(h, w)`` x and y; the angle is doubled, so that their sign does not count.

    Of length 1, shorter where the gradient is no stronger than the image's usual texture.
    """
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.0)
    x, y = (cv2.Sobel(grey, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    both, x, y = x * y, x * x, y * y
    square = x + y
    # Partitioned at one place: a fifteenth of the time of numpy's median.
    square += np.partition(square, square.size // 2, axis=None)[square.size // 2] + 1
    return np.asarray((x - y) / square, np.float32), np.asarray(2 * both / square, np.float32)


def content_correlation(target: Pixels, compared: Similarity) -> float | None:
    """Compare a target ``(h, w, 3)`` uint8 with a warped source apart from the edges that both show.

    Mean squared correlation of what both show there, 0 to 1; None where that is too little to judge by.
    """
    shared = cv2.dilate((compared.product > SHARED).astype(np.uint8), np.ones((3, 3), np.uint8))
    between = (compared.covered & (shared == 0)).astype(np.float32)
    half = (max(1, between.shape[1] // 2), max(1, between.shape[0] // 2))
    reduced = partial(cv2.resize, dsize=half, interpolation=cv2.INTER_AREA)
    weight, covered = reduced(between), reduced(compared.covered.astype(np.float32)) > 0.5
    window = cv2.GaussianBlur(weight, (0, 0), CONTENT_WINDOW) + 1e-3
    bands, shown = [], window > FEWEST_PIXELS
    for image in (target, compared.source):
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
        values = reduced(grey * between)
        # The band between two scales, of the pixels that have a weight alone.
        fine, coarse = (
            cv2.GaussianBlur(values, (0, 0), scale) / (cv2.GaussianBlur(weight, (0, 0), scale) + 1e-3)
            for scale in (FINE, COARSE)
        )
        band = (fine - coarse) * weight
        variance = cv2.GaussianBlur(band * band, (0, 0), CONTENT_WINDOW) / window
        shown &= variance > ABOVE_NOISE * _noise(grey) + 0.5
        bands.append((band, variance))
    (a, variance_a), (b, variance_b) = bands
    covariance = cv2.GaussianBlur(a * b, (0, 0), CONTENT_WINDOW) / window
    square = np.clip(covariance**2 / (variance_a * variance_b + 1e-6), 0, 1)
    shown &= covered
    if shown.sum() <= FEWEST_SHOWN * covered.sum():
        return None
    return float(square[shown].mean())


def _noise(grey: Floats) -> float:
    """Variance that white noise of the image's strength has in the band.

    The strength is the median response to a kernel that sees neither steps nor slopes (Immerkaer, 1996).
    """
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    strength = np.abs(cv2.filter2D(grey, -1, kernel))
    sigma = float(np.median(strength)) / 0.6745 / 6
    fine, coarse = 2 * FINE, 2 * COARSE
    gain = (1 / fine**2 + 1 / coarse**2 - 4 / (fine**2 + coarse**2)) / (4 * np.pi)
    return sigma**2 * gain
