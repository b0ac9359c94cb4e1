"""Pairs with known motion from the example photographs, and matchers that answer with the truth."""

from pathlib import Path

import cv2
import numpy as np

from glualign.geometry import apply_transform, pixel_grid
from glualign.images import Image
from glualign.matching.pair import PairMatcher, PreparedImage
from glualign.network.config import GLUNetConfig
from glualign.network.warping import working_size

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def example(name, longer_side=None):
    """An example photograph as ``(H, W, 3)`` uint8 RGB."""
    image = cv2.cvtColor(cv2.imread(str(EXAMPLES / name)), cv2.COLOR_BGR2RGB)
    if longer_side:
        scale = longer_side / max(image.shape[:2])
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return image


def warp_homography(image, matrix, size):
    """The image warped by a transform (target pixel -> image pixel) onto a target of ``size``."""
    return cv2.warpPerspective(
        image, np.asarray(matrix, np.float64), size[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )


def true_flow(matrix, size):
    """The flow ``(H, W, 2)`` of a transform."""
    grid = pixel_grid(size).astype(np.float64)
    return apply_transform(np.asarray(matrix, np.float64), grid) - grid


def end_point_errors(flow, matrix, source_size):
    """End-point errors in pixels where the true position lies inside the source."""
    truth = true_flow(matrix, flow.shape[:2])
    at = pixel_grid(flow.shape[:2]) + truth
    inside = ((at >= 0) & (at <= np.array(source_size[::-1]) - 1)).all(axis=2)
    return np.linalg.norm(flow - truth, axis=2)[inside]


def median_error(flow, matrix, source_size):
    """Their median."""
    return float(np.median(end_point_errors(flow, matrix, source_size)))


class NoPredictor:
    """Stands where no network may be asked: every use of it but its configuration is an error."""

    config = GLUNetConfig()

    def __getattr__(self, name):
        raise AssertionError(f"the network was asked for {name}")


def pair_without_network(source, target, kind=PairMatcher):
    """A pair whose network must not be used."""
    prepared = PreparedImage(Image(target), target, working_size(*target.shape[:2]), None, None, 0)
    return kind(NoPredictor(), Image(source), prepared)


class KnownPair(PairMatcher):
    """Answers with the true motion, but only where what is left of it is at most ``reach`` working pixels.

    Cells that are asked for more answer with noise, as those of a network do.
    """

    truth = np.eye(3)
    reach = 1e9
    stride = 4

    def match_transformed(self, transform):
        rng = np.random.default_rng(0)
        size = (self.working[0] // self.stride, self.working[1] // self.stride)
        centres = (pixel_grid(size).astype(np.float64) + 0.5) * self.stride - 0.5
        to_source = self.truth @ np.linalg.inv(self.from_target)
        forward = apply_transform(np.linalg.inv(transform) @ to_source, centres) - centres
        backward = apply_transform(np.linalg.inv(to_source) @ transform, centres) - centres
        for flow in (forward, backward):
            lost = np.nan_to_num(np.linalg.norm(flow, axis=2), nan=np.inf) > self.reach
            flow[lost] = rng.normal(0, 60, (int(lost.sum()), 2))
        exists = self.source_area(transform, self.working)
        flows = (flow.astype(np.float32) for flow in (forward, backward))
        return self.result(transform, *flows, exists)


def known_pair(source, target, truth, reach=1e9):
    """A pair whose matches are true up to a motion of ``reach`` working pixels."""
    pair = pair_without_network(source, target, KnownPair)
    pair.truth, pair.reach = np.asarray(truth, np.float64), reach
    return pair
