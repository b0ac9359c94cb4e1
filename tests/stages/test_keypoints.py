"""Views from key points: a known homography recovered, nonsense refused."""

import numpy as np
import pytest
from stage_pairs import example, true_flow, warp_homography

from glualign.geometry import keypoint_transform, rotation_scale_matrix


@pytest.mark.parametrize(("degrees", "zoom"), [(0, 1.0), (37, 1.0), (90, 0.8), (180, 0.4)])
def test_a_turned_and_zoomed_photograph_is_found(degrees, zoom):
    source = example("graf1.png", 640)
    size = (400, 500)
    matrix = rotation_scale_matrix(size, source.shape[:2], degrees=degrees, scale=zoom)
    found = keypoint_transform(source, warp_homography(source, matrix, size))
    assert found is not None
    difference = true_flow(found, size) - true_flow(matrix, size)
    assert np.abs(difference).max() < 2.0


def test_unrelated_photographs_give_nothing_or_no_view():
    assert keypoint_transform(example("graf1.png", 500), example("aloeL.jpg", 500)) is None


def test_a_picture_without_key_points_gives_nothing():
    flat = np.full((200, 200, 3), 128, np.uint8)
    assert keypoint_transform(flat, example("graf1.png", 300)) is None
    assert keypoint_transform(example("graf1.png", 300), flat) is None
