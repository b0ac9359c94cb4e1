import math

import numpy as np
import pytest

from glualign.training import motion

CORNERS = np.array([[-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]], float).T


def views(tilt: float, count: int = 200) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [motion.viewpoint(rng, tilt) for _ in range(count)]


def test_the_head_on_view_is_the_plane_itself() -> None:
    for matrix in views(tilt=0.0, count=5):
        np.testing.assert_allclose(matrix / matrix[2, 2], np.eye(3), atol=1e-12)


def test_no_horizon_enters_the_frame_in_either_direction() -> None:
    for matrix in views(tilt=math.radians(68)):
        for direction in (matrix, np.linalg.inv(matrix)):
            depth = (direction @ CORNERS)[2]
            assert (depth * np.sign(direction[2, 2]) > 0).all()


def test_an_oblique_view_is_foreshortened_by_the_cosine() -> None:
    """At the centre, the areas of the two views are as one to the cosine of the angle between them."""
    tilt = math.radians(68)
    ratios = []
    for matrix in views(tilt):
        # The derivative of a homography that keeps the origin, at the origin.
        ratio = abs(np.linalg.det(matrix[:2, :2] / matrix[2, 2]))
        ratios.append(min(ratio, 1 / ratio))
    assert min(ratios) == pytest.approx(math.cos(tilt), abs=0.02)
    assert max(ratios) > 0.99
    assert 0.3 < np.median(ratios) < 0.95
