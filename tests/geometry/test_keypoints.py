"""A homography from key points: a known one recovered, nonsense refused with its reason."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from glualign.errors import FlowError
from glualign.geometry import rotation_scale_matrix, transform_flow
from glualign.geometry.robust import keypoint_homography

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def example(name, width):
    image = cv2.cvtColor(cv2.imread(str(next(EXAMPLES.rglob(name)))), cv2.COLOR_BGR2RGB)
    return cv2.resize(
        image, (width, round(image.shape[0] * width / image.shape[1])), interpolation=cv2.INTER_AREA
    )


@pytest.mark.parametrize("detector", ["sift", "orb"])
@pytest.mark.parametrize(("degrees", "scale"), [(0, 1.0), (37, 1.0), (90, 0.8), (180, 0.4)])
def test_a_rotated_and_scaled_photograph_is_found(detector, degrees, scale):
    source, size = example("graf1.png", 640), (400, 500)
    matrix = rotation_scale_matrix(size, source.shape[:2], degrees=degrees, scale=scale)
    target = cv2.warpPerspective(source, matrix, size[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    found = transform_flow(keypoint_homography(source, target, detector=detector), size)
    assert np.abs(found - transform_flow(matrix, size)).max() < 3.0


def test_unrelated_photographs_give_nothing():
    with pytest.raises(FlowError, match=r"matches|inliers|homography"):
        keypoint_homography(example("graf1.png", 500), example("aloeL.jpg", 500))


def test_a_picture_without_key_points_gives_nothing_and_says_so():
    flat, photograph = np.full((200, 200, 3), 128, np.uint8), example("graf1.png", 300)
    for pair in ((flat, photograph), (photograph, flat)):
        with pytest.raises(FlowError, match=r"^0 key points"):
            keypoint_homography(*pair)
