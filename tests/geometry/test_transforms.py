"""Transforms between frames, on values known by hand."""

import numpy as np
import pytest

from glualign.geometry import (
    apply_transform,
    inside,
    resizing_matrix,
    rotation_scale_matrix,
    shown_area,
    transformed,
)


def test_resizing_keeps_pixel_centres():
    halved = resizing_matrix((10, 20), (5, 10))
    # The first two pixels of a row become one, whose centre lies between theirs.
    np.testing.assert_allclose(
        apply_transform(halved, np.array([[0.5, 0.5], [2.5, 4.5]], np.float32)), [[0, 0], [1, 2]]
    )


def test_resizing_back_is_the_inverse():
    there, back = resizing_matrix((30, 50), (48, 20)), resizing_matrix((48, 20), (30, 50))
    np.testing.assert_allclose(back @ there, np.eye(3), atol=1e-12)


@pytest.mark.parametrize(("degrees", "corner"), [(0, (0, 0)), (90, (9, 0)), (180, (9, 9)), (270, (0, 9))])
def test_a_quarter_turn_moves_the_corners(degrees, corner):
    matrix = rotation_scale_matrix((10, 10), (10, 10), degrees=degrees)
    np.testing.assert_allclose(apply_transform(matrix, np.zeros((1, 2), np.float32))[0], corner, atol=1e-5)


def test_a_mirror_exchanges_left_and_right():
    matrix = rotation_scale_matrix((10, 10), (10, 10), mirror=True)
    np.testing.assert_allclose(apply_transform(matrix, np.array([[0, 3]], np.float32))[0], (9, 3), atol=1e-5)


def test_a_view_of_another_aspect_is_not_distorted_and_has_the_same_area():
    matrix = rotation_scale_matrix((100, 100), (100, 400), degrees=30)
    np.testing.assert_allclose(matrix[:2, :2] @ matrix[:2, :2].T, np.eye(2) * 4, atol=1e-9)


def test_points_behind_the_camera_have_no_position():
    horizon = np.array([[1, 0, 0], [0, 1, 0], [-0.1, 0, 1.0]])
    positions = apply_transform(horizon, np.array([[5, 0], [20, 0]], np.float32))
    np.testing.assert_allclose(positions[0], (10, 0), atol=1e-5)
    assert np.isnan(positions[1]).all()


def test_the_area_that_a_transform_shows_is_what_it_puts_inside():
    rng, image = np.random.default_rng(2), (30, 40)
    x, y = np.arange(50), np.arange(35)[:, None]
    shares = []
    for number in range(400):
        matrix = np.eye(3) + rng.normal(0, 0.5, (3, 3)) * ([1, 1, 15], [1, 1, 15], [0.02, 0.02, 0.2])
        if number % 2:
            matrix[2] = 0, 0, rng.choice([-1.0, 1.0])
        expected = inside(*transformed(matrix, x, y), image, edge="areas")
        np.testing.assert_array_equal(shown_area(matrix, (35, 50), image), expected)
        shares.append(expected.mean())
    assert np.ptp(shares) > 0.9
    assert not shown_area(np.full((3, 3), np.nan), (35, 50), image).any()
