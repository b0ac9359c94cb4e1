"""Each classical method recovers the motion it is made for, and says so when it cannot."""

import cv2
import numpy as np
import pytest

from glualign.errors import DatasetError
from glualign.evaluation.datasets import Sample
from glualign.evaluation.methods import BASELINES, open_baseline
from glualign.evaluation.metrics import homography_truth
from tests.evaluation.fakes import grid, texture

MATRIX = np.array([[0.97, 0.06, 9.0], [-0.05, 1.02, 6.0], [1e-4, -5e-5, 1.0]])
SMALL_SHIFT = np.array([[1.0, 0, 2.5], [0, 1.0, -1.5], [0, 0, 1.0]])


def sample_of(matrix, size=(240, 320), source_size=(240, 320)):
    """A source, and the target that ``matrix`` (target -> source) makes of it."""
    source = texture(*source_size, seed=4)
    target = cv2.warpPerspective(
        source, matrix, (size[1], size[0]), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    return Sample(source, target, homography_truth(matrix, size, source_size), max(source_size))


def aepe_of(name, sample):
    estimate = open_baseline(name).estimate(sample)
    assert estimate.flow.dtype == np.float32
    assert estimate.flow.shape == (*sample.target.shape[:2], 2)
    assert estimate.seconds > 0
    return sample.truth.errors(estimate.flow, sample.longer_side).epe.mean(), estimate.note


@pytest.mark.parametrize("name", ["sift", "orb"])
def test_key_points_recover_a_homography(name):
    error, note = aepe_of(name, sample_of(MATRIX))
    assert note == ""
    assert error < 1.0


@pytest.mark.parametrize("name", ["dis", "farneback", "ecc"])
def test_flow_methods_recover_a_small_motion(name):
    error, note = aepe_of(name, sample_of(SMALL_SHIFT))
    assert note == ""
    assert error < 0.6


def test_identity_is_wrong_by_the_motion_itself():
    error, _ = aepe_of("identity", sample_of(SMALL_SHIFT))
    assert error == pytest.approx(np.hypot(2.5, 1.5), abs=1e-5)


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_a_source_of_another_size_is_understood_in_its_own_pixels(name):
    # target pixel x lies at (x + 0.5) * 1.5 - 0.5 of a source that is 1.5 times as large
    stretch = np.array([[1.5, 0, 0.25], [0, 1.5, 0.25], [0, 0, 1]])
    error, _ = aepe_of(name, sample_of(stretch, (200, 300), (300, 450)))
    assert error < 1.0


@pytest.mark.parametrize("name", ["sift", "orb"])
def test_without_texture_it_gives_up_and_answers_the_identity(name):
    flat = np.full((80, 100, 3), 128, np.uint8)
    sample = Sample(flat, flat, homography_truth(np.eye(3), (80, 100), (80, 100)), 100)
    estimate = open_baseline(name).estimate(sample)
    assert "key points" in estimate.note
    assert not estimate.flow.any()


def test_unrelated_images_make_key_points_give_up():
    sample = Sample(
        texture(200, 240, 1), texture(200, 240, 2), homography_truth(np.eye(3), (200, 240), (200, 240)), 240
    )
    assert open_baseline("sift").estimate(sample).note


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_two_runs_give_the_same_bits(name):
    sample = sample_of(MATRIX)
    first, second = (open_baseline(name).estimate(sample) for _ in range(2))
    np.testing.assert_array_equal(first.flow, second.flow)


def test_the_identity_of_equal_sizes_is_zero_everywhere():
    x, _ = grid(5, 6)
    image = np.repeat(x[..., None], 3, axis=2).astype(np.uint8)
    assert not BASELINES["identity"](image, image).any()


def test_an_unknown_baseline_is_refused_with_the_list():
    with pytest.raises(DatasetError, match="farneback"):
        open_baseline("raft")
