"""Pairs with known motion from the example photographs, and a stand-in for the network."""

from pathlib import Path

import cv2
import numpy as np

from glualign.images import Image
from glualign.network.preprocessing import working_size
from glualign.stages.passes import PassRunner, PreparedTarget

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def example(name, longer_side=None):
    """An example photograph as ``(H, W, 3)`` uint8 RGB."""
    image = cv2.cvtColor(cv2.imread(str(EXAMPLES / name)), cv2.COLOR_BGR2RGB)
    if longer_side:
        scale = longer_side / max(image.shape[:2])
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return image


def warp_homography(image, matrix, size):
    """The image as a transform (target pixel -> image pixel) shows it on a target of ``size``."""
    return cv2.warpPerspective(
        image, np.asarray(matrix, np.float64), size[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )


def true_flow(matrix, size):
    """The flow ``(H, W, 2)`` of a transform."""
    xs, ys = np.meshgrid(np.arange(size[1]), np.arange(size[0]))
    mapped = np.stack([xs, ys, np.ones_like(xs)], -1) @ np.asarray(matrix).T
    return mapped[..., :2] / mapped[..., 2:] - np.stack([xs, ys], -1)


def median_error(flow, matrix, source_size):
    """Median end-point error in pixels where the true position lies inside the source."""
    truth = true_flow(matrix, flow.shape[:2])
    xs, ys = np.meshgrid(np.arange(flow.shape[1]), np.arange(flow.shape[0]))
    x, y = xs + truth[..., 0], ys + truth[..., 1]
    inside = (x >= 0) & (y >= 0) & (x <= source_size[1] - 1) & (y <= source_size[0] - 1)
    return float(np.median(np.linalg.norm(flow - truth, axis=2)[inside]))


class UntrainedMatcher:
    """Counts how often it is asked; answers nothing."""

    encoded = 0

    def encode(self, image, size):
        UntrainedMatcher.encoded += 1
        raise AssertionError("no network here")


def runner_for(source, target):
    """A runner whose network is never needed."""
    prepared = PreparedTarget(Image(target), target, working_size(*target.shape[:2]), None, None)
    return PassRunner(UntrainedMatcher(), source, prepared)
