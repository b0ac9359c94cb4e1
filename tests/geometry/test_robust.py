"""One transform through many point pairs, and what makes a transform implausible."""

import numpy as np
import pytest

from glualign.errors import FlowError
from glualign.geometry import (
    apply_transform,
    rotation_scale_matrix,
    transform_fault,
)
from glualign.geometry.robust import fit_points, transfer_errors

SIZE = (120, 160)
TRUTH = {
    "homography": np.array([[1.08, 0.06, -12], [-0.04, 0.96, 9], [3e-4, 2e-4, 1]]),
    "affine": np.array([[1.1, 0.1, -12], [-0.05, 0.9, 9], [0, 0, 1.0]]),
    "similarity": rotation_scale_matrix(SIZE, SIZE, degrees=25, scale=1.2),
    "translation": np.array([[1, 0, 7.25], [0, 1, -3.5], [0, 0, 1.0]]),
}


@pytest.mark.parametrize("model", TRUTH)
def test_points_give_back_their_transform_through_half_of_gross_errors(model):
    generator = np.random.default_rng(0)
    target = generator.uniform(0, (160, 120), (400, 2))
    source = apply_transform(TRUTH[model], target)
    source[::2] = generator.uniform(0, 160, (200, 2))
    np.testing.assert_allclose(
        fit_points(target, source, model, threshold=1.0), TRUTH[model], rtol=1e-3, atol=1e-5
    )


def test_points_that_determine_nothing_are_refused():
    line = np.column_stack([np.arange(20.0), np.arange(20.0)])
    with pytest.raises(FlowError, match="no affine fits the points"):
        fit_points(line, line, "affine", threshold=1.0)
    with pytest.raises(FlowError, match="1 points do not determine the similarity, which needs 2"):
        fit_points(line[:1], line[:1], "similarity", threshold=1.0)


def test_a_point_behind_the_camera_is_infinitely_wrong():
    horizon = np.array([[1, 0, 0], [0, 1, 0], [-0.1, 0, 1.0]])
    points = np.array([[5.0, 0], [20, 0]])
    np.testing.assert_array_equal(
        transfer_errors(horizon, points, np.array([[10.0, 3], [0, 0]])), [3, np.inf]
    )


@pytest.mark.parametrize(
    ("matrix", "fault"),
    [
        (np.eye(3), None),
        (-np.eye(3), None),
        (np.diag([49.0, 49, 1]), None),
        (rotation_scale_matrix(SIZE, SIZE, degrees=180, scale=0.03), None),
        (np.diag([60.0, 60, 1]), "changes the scale more than 50 times"),
        (np.diag([1 / 60, 1 / 60, 1]), "changes the scale more than 50 times"),
        (np.zeros((3, 3)), "puts the horizon inside the picture"),
        (np.array([[1, 0, 0], [0, 1, 0], [-1 / 100, 0, 1.0]]), "puts the horizon inside the picture"),
        (np.full((3, 3), np.nan), "is not finite"),
        (rotation_scale_matrix(SIZE, SIZE, mirror=True), "mirrors the picture"),
        (-rotation_scale_matrix(SIZE, SIZE, mirror=True), "mirrors the picture"),
    ],
)
def test_what_makes_a_transform_implausible(matrix, fault):
    assert transform_fault(matrix, SIZE, mirror=False) == fault
    if fault == "mirrors the picture":
        assert transform_fault(matrix, SIZE) is None
