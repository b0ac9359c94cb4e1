"""Whether a target and a warped source agree in what lies between the edges that they share.

Two walls of one pattern, two forms of one print, two tables on one grid share their strongest edges and
differ in the rest. So the shared edges are left out, and the rest is compared by local correlation, squared,
so that reversed tones are alike.
"""

from __future__ import annotations

import cv2
import numpy as np

from glualign.matching.predictor import Pixels
from glualign.matching.similarity import Similarity, Values

SHARED = 0.5
"""Product of edges, 0 to 1, from which both images have the same one."""
FINE, COARSE, WINDOW = 2.0, 4.0, 6.0
"""Standard deviations of the band that is compared and of the window, in pixels of half the compared size."""
ABOVE_NOISE = 4.0
"""Variance of the band, in units of that of the image's noise, from which a window shows something."""
FEWEST_PIXELS = 0.3
"""Share of a window's pixels that must lie between shared edges."""
FEWEST_SHOWN = 0.3
"""Share of the covered part where both images must show something between the shared edges."""


def content_agreement(target: Pixels, compared: Similarity) -> float | None:
    """Compare a target with a warped source apart from the edges that both show.

    Args:
        target: ``(h, w, 3)`` uint8.
        compared: its similarity to the warped source.

    Returns:
        Mean squared correlation of what both show there, 0 to 1; None where that is too little to judge by.
    """
    shared = cv2.dilate((compared.product > SHARED).astype(np.uint8), np.ones((3, 3), np.uint8))
    between = (compared.covered & (shared == 0)).astype(np.float32)
    weight, covered = _half(between), _half(compared.covered.astype(np.float32)) > 0.5
    window = cv2.GaussianBlur(weight, (0, 0), WINDOW) + 1e-3
    bands, shown = [], window > FEWEST_PIXELS
    for image in (target, compared.source):
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
        band = _band(_half(grey * between), weight)
        variance = cv2.GaussianBlur(band * band, (0, 0), WINDOW) / window
        shown &= variance > ABOVE_NOISE * _noise(grey) + 0.5
        bands.append((band, variance))
    (a, variance_a), (b, variance_b) = bands
    covariance = cv2.GaussianBlur(a * b, (0, 0), WINDOW) / window
    square = np.clip(covariance**2 / (variance_a * variance_b + 1e-6), 0, 1)
    shown &= covered
    if shown.sum() <= FEWEST_SHOWN * covered.sum():
        return None
    return float(square[shown].mean())


def _half(values: Values) -> Values:
    height, width = values.shape
    size = (max(1, width // 2), max(1, height // 2))
    return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_AREA), np.float32)


def _band(values: Values, weight: Values) -> Values:
    """The band of weighted values between two scales, of the pixels that have a weight alone."""
    fine, coarse = (
        cv2.GaussianBlur(values, (0, 0), scale) / (cv2.GaussianBlur(weight, (0, 0), scale) + 1e-3)
        for scale in (FINE, COARSE)
    )
    return np.asarray((fine - coarse) * weight, np.float32)


def _noise(grey: Values) -> float:
    """Variance that white noise of the image's strength has in the band.

    The strength is the median response to a kernel that sees neither steps nor slopes (Immerkaer, 1996).
    """
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    sigma = float(np.median(np.abs(cv2.filter2D(grey, -1, kernel)))) / 0.6745 / 6
    fine, coarse = 2 * FINE, 2 * COARSE
    gain = (1 / fine**2 + 1 / coarse**2 - 4 / (fine**2 + coarse**2)) / (4 * np.pi)
    return sigma**2 * gain
