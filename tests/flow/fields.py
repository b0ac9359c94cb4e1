"""Flow fields whose properties are known because they were made that way."""

from __future__ import annotations

import numpy as np

from glualign.flow import Flow


def smooth_flow(height: int = 90, width: int = 120, strength: float = 1.0, phase: float = 0.0) -> Flow:
    """A smooth field without folds: lengths of several pixels, derivatives below 0.4."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    u = strength * (5 * np.sin(y / 25 + phase) + 3 * np.cos(x / 20) + 1.5)
    v = strength * (4 * np.cos(x / 30 + phase) - 3 * np.sin(y / 22))
    return Flow(np.stack([u, v], axis=-1).astype(np.float32))


def similarity(degrees: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    """A 3x3 similarity."""
    angle = np.deg2rad(degrees)
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[c, -s, shift[0]], [s, c, shift[1]], [0, 0, 1.0]])
