"""Independent evidence for an alignment: whether edges of both images run along each other.

Normalised gradient fields (Haber and Modersitzki, 2006): the angle between gradients, whatever their sign and
strength, so that it judges photographs, infra-red images and maps alike. The network plays no part in it.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from glualign.geometry import Field, Matrix, Size, pixel_grid, resizing_matrix
from glualign.stages.passes import Mask, PassRunner, Pixels

JUDGED_SIDE = 384
"""Longer side in pixels at which images are compared."""
EDGE = 5
"""Pixels around missing parts that are not judged."""

Values = npt.NDArray[np.float32]


class Evidence(NamedTuple):
    """Agreement of edges between a target and a view of the source, pixel by pixel.

    Attributes:
        agreement: ``(h, w)`` float32, positive where edges are parallel, negative where they cross.
        weight: ``(h, w)`` float32, how much edge there is.
        covered: ``(h, w)`` bool, where the view shows the source.
    """

    agreement: Values
    weight: Values
    covered: Mask

    @property
    def total(self) -> float:
        """Mean agreement over the covered part: about 0 for unrelated images, up to 1."""
        mask = self.covered
        return float(self.agreement[mask].sum() / (self.weight[mask].sum() + 1e-3)) if mask.any() else 0.0

    def local(self, window: int) -> Values:
        """The same in a square window around each pixel."""
        mask = self.covered.astype(np.float32)
        above = cv2.blur(self.agreement * mask, (window, window))
        below = cv2.blur(self.weight * mask, (window, window))
        return np.asarray(above / (below + 1e-3), np.float32)


class Judge:
    """Compares one target with views of one source at a small size."""

    def __init__(self, runner: PassRunner) -> None:
        height, width = runner.target_size
        scale = min(1.0, JUDGED_SIDE / max(height, width))
        self.size: Size = (max(8, round(height * scale)), max(8, round(width * scale)))
        self._runner = runner
        target = cv2.resize(runner.target_pixels, self.size[::-1], interpolation=cv2.INTER_AREA)
        self._target = _edges(np.asarray(target, np.uint8))

    def look(self, transform: Matrix, flow: Field | None = None) -> Evidence:
        """Evidence for a view (working pixel -> source) and a flow of cells in working pixels within it."""
        working = self._runner.working
        view, covered = self._runner.view(
            np.asarray(transform @ resizing_matrix(self.size, working), np.float64), self.size
        )
        if flow is not None:
            scale = np.array([self.size[1] / working[1], self.size[0] / working[0]], np.float32)
            at = pixel_grid(self.size) + cv2.resize(
                flow * scale, self.size[::-1], interpolation=cv2.INTER_LINEAR
            )
            x, y = np.ascontiguousarray(at[..., 0]), np.ascontiguousarray(at[..., 1])
            view = np.asarray(cv2.remap(view, x, y, cv2.INTER_LINEAR), np.uint8)
            covered = cv2.remap(covered.astype(np.uint8), x, y, cv2.INTER_NEAREST) > 0
        kernel = np.ones((EDGE, EDGE), np.uint8)
        inner = cv2.erode(covered.astype(np.uint8), kernel, borderValue=1) > 0
        ax, ay = self._target
        bx, by = _edges(view)
        strength_a, strength_b = ax * ax + ay * ay, bx * bx + by * by
        agreement = 2 * (ax * bx + ay * by) ** 2 - strength_a * strength_b
        # The geometric mean of both images' own edges: an edge that only one of them shows counts against it.
        weight = (strength_a * strength_a + strength_b * strength_b) / 2
        return Evidence(agreement, weight, np.asarray(inner))


def _edges(image: Pixels) -> tuple[Values, Values]:
    """Gradient directions, short where the gradient is no stronger than the image's usual texture."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.0)
    x, y = cv2.Sobel(grey, cv2.CV_32F, 1, 0) / 8, cv2.Sobel(grey, cv2.CV_32F, 0, 1) / 8
    square = x * x + y * y
    length = np.sqrt(square + np.median(square) + 1.0)
    return np.asarray(x / length, np.float32), np.asarray(y / length, np.float32)
