"""Alignments that start from a known motion: the result is the composition of it and what was left."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from glualign import Aligner
from glualign.errors import FlowError
from glualign.flow import Flow, from_transform
from glualign.geometry import rotation_scale_matrix

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SIZE = (220, 260)


@pytest.fixture(scope="module")
def source():
    image = cv2.cvtColor(cv2.imread(str(EXAMPLES / "graf1.png")), cv2.COLOR_BGR2RGB)
    return cv2.resize(image, (400, 320), interpolation=cv2.INTER_AREA)


@pytest.fixture(scope="module")
def truth(source):
    """Upside down and eight times enlarged: more than the fast preset, which does not search, can find."""
    return rotation_scale_matrix(SIZE, source.shape[:2], degrees=170, scale=0.125)


@pytest.fixture(scope="module")
def target(source, truth):
    return cv2.warpPerspective(source, truth, SIZE[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


@pytest.fixture(scope="module")
def aligner():
    return Aligner.from_pretrained(preset="fast", precision="fp32", device="cpu")


@pytest.fixture(scope="module")
def near(source):
    """What a person would say of the motion: a few degrees and pixels off."""
    matrix = rotation_scale_matrix(SIZE, source.shape[:2], degrees=176, scale=0.13)
    return np.array([[1, 0, 4], [0, 1, -3], [0, 0, 1]]) @ matrix


def median_error(alignment, truth):
    return float(np.nanmedian(np.linalg.norm(alignment.flow.data - from_transform(truth, SIZE).data, axis=2)))


def test_what_is_too_far_to_find_is_found_from_a_near_start(aligner, source, target, truth, near):
    assert median_error(aligner.align(source, target), truth) > 50
    found = aligner.align(source, target, init=near)
    assert median_error(found, truth) < 1
    assert found.quality.verdict == "good"
    assert found.flow.source_size == source.shape[:2]
    np.testing.assert_array_equal(found.source.pixels, source)
    assert found.trusted.mean() > 0.8


def test_a_flow_is_as_good_a_start_as_its_matrix(aligner, source, target, truth, near):
    known = from_transform(near, SIZE, source.shape[:2])
    known.data[:80] = np.nan
    found = aligner.align(source, target, init=known)
    assert median_error(found, truth) < 1
    assert not found.trusted[:50].any()


def test_the_transform_is_that_of_the_whole_motion(source, target, truth, near):
    aligner = Aligner.from_pretrained(preset="fast", precision="fp32", device="cpu", transform="similarity")
    found = aligner.align(source, target, init=near)
    np.testing.assert_allclose(found.transform, truth, atol=1.5)
    assert found.quality.inlier_share > 0.5


def test_a_model_that_does_not_fit_is_as_little_trusted_as_without_a_start(source):
    """A shift of a picture that is turned: the flow is right, what was asked for is 40 pixels off."""
    turned = rotation_scale_matrix(SIZE, source.shape[:2], degrees=17)
    target = cv2.warpPerspective(source, turned, SIZE[::-1], flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    aligner = Aligner.from_pretrained(preset="fast", precision="fp32", device="cpu", transform="translation")
    free = Aligner.from_pretrained(preset="fast", precision="fp32", device="cpu", transform="dense")
    start = rotation_scale_matrix(SIZE, source.shape[:2], degrees=0)
    assert free.align(source, target, init=start).quality.verdict == "good"
    found = aligner.align(source, target, init=start)
    assert median_error(found, turned) > 10
    assert found.quality.verdict != "good"
    assert found.trusted.mean() < 0.2
    assert found.confidence.min() >= 0


def test_what_the_target_does_not_show_counts_neither_for_nor_against(aligner, source, target, truth):
    """A window of 1.8 % of the target, nearly all of it right, is no failure."""
    shown = np.zeros(SIZE, np.uint8)
    shown[90:122, 110:142] = 255
    found = aligner.align(source, target, init=truth, target_mask=shown).quality
    assert 0.01 < found.trusted_share < 0.02
    assert found.verdict != "failed"


def test_the_seconds_of_reading_and_composing_count(aligner, tmp_path, source, target, near):
    cv2.imwrite(str(tmp_path / "source.png"), source[..., ::-1])
    timings = aligner.align(tmp_path / "source.png", target, init=near).timings
    assert {"read", "match", "flow", "total"} <= set(timings)
    assert timings["read"] > 1e-4
    assert timings["total"] == pytest.approx(sum(s for name, s in timings.items() if name != "total"))


def test_a_start_outside_the_source_is_a_failed_alignment(aligner, source, target):
    away = np.array([[1, 0, 5000], [0, 1, 0], [0, 0, 1]])
    found = aligner.align(source, target, init=away)
    assert found.quality.verdict == "failed"
    assert not found.trusted.any()


@pytest.mark.parametrize(
    ("init", "words"),
    [
        (np.eye(2), "a transform is a finite 3x3 matrix"),
        (np.full((3, 3), np.nan), "a transform is a finite 3x3 matrix"),
        (np.diag([1.0, 0.0, 1.0]), "this matrix is singular"),
        ("matrix.txt", "got 'matrix.txt'"),
        ([[1, 0], [0]], r"got \[\[1, 0\], \[0\]\]"),
        (Flow(np.zeros((5, 6, 2))), "init is for a target of 6 x 5 pixels"),
        (Flow(np.zeros((*SIZE, 2)), (7, 8)), "source of 8 x 7 pixels"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(aligner, source, target, init, words):
    with pytest.raises(FlowError, match=words):
        aligner.align(source, target, init=init)
