"""Forward-backward error and warped sources, on fields and images with a known answer."""

import numpy as np
import pytest

from glualign.geometry import forward_backward_error
from glualign.images import Image, reduce_image
from glualign.matching.pair import CONSISTENT, PairMatcher, PreparedImage
from tests.matching.known_pairs import NoPredictor, pair_without_network


def constant(u, v, size=(16, 20)):
    return np.full((*size, 2), (u, v), np.float32)


def test_flows_that_undo_each_other_have_no_error():
    error = forward_backward_error(constant(8, -4), constant(-8, 4), cell=4)
    reaches = error[1:, :-2]  # two cells to the right and one up
    assert (reaches == 0).all()


def test_what_leaves_the_frame_has_an_infinite_error():
    error = forward_backward_error(constant(8, -4), constant(-8, 4), cell=4)
    assert np.isinf(error[0]).all()
    assert np.isinf(error[:, -2:]).all()


def test_the_error_is_in_pixels():
    error = forward_backward_error(constant(4, 0), constant(-1, 4), cell=4)
    np.testing.assert_allclose(error[:, :-1], 5.0)


def test_cells_that_point_at_missing_source_have_an_infinite_error():
    exists = np.ones((64, 80), bool)
    exists[:, :40] = False
    error = forward_backward_error(constant(0, 0), constant(0, 0), cell=4, exists=exists)
    assert np.isinf(error[:, :10]).all()
    assert (error[:, 10:] == 0).all()


@pytest.mark.parametrize("far", [1e6, -1e6])
def test_a_flow_far_outside_has_an_infinite_error(far):
    exists = np.ones((64, 80), bool)
    error = forward_backward_error(constant(far, far), constant(0, 0), cell=4, exists=exists)
    assert np.isinf(error).all()


@pytest.mark.parametrize(("miss", "score"), [(0, 1.0), (CONSISTENT, np.exp(-1)), (1e6, 0.0)])
def test_consistency_falls_from_one(miss, score):
    """Every way back leads ``miss`` pixels beside the start."""
    pair = pair_without_network(*np.zeros((2, 256, 320, 3), np.uint8))
    result = pair.result(np.eye(3), constant(0, 0, (64, 80)), constant(0, miss, (64, 80)))
    assert result.consistency == pytest.approx(score)


def test_what_is_ignored_has_no_say_under_another_global_motion_either():
    """The left of the source and the top of the target are ignored; the source moves 80 px to the right."""
    images = [Image(np.zeros((256, 320, 3), np.uint8)) for _ in range(2)]
    left, top = np.zeros((2, 256, 320), bool)
    left[:, :80] = top[:64] = True
    source, target = (image.replace(ignored=mask) for image, mask in zip(images, (left, top), strict=True))
    prepared = PreparedImage(target, target.pixels, (256, 320), None, None, 0)
    pair = PairMatcher(NoPredictor(), source, prepared)
    still = pair.result(pair.to_source, constant(0, 0, (64, 80)), constant(0, 0, (64, 80)))
    shift = np.array([[1.0, 0, -80], [0, 1, 0], [0, 0, 1]])
    moved = pair.change_transform(still, shift)
    assert np.isinf(moved.error[:16]).all()
    assert np.isinf(moved.error[:, :20]).all()
    assert (moved.error[17:, 21:59] < 0.1).all()
    assert not moved.counted[:16].any()


def test_small_images_are_not_reduced():
    image = np.zeros((30, 40, 3), np.uint8)
    assert reduce_image(image, 40) is image
    assert reduce_image(image, None) is image
    assert reduce_image(image, 20).shape == (15, 20, 3)


def test_a_transform_that_shrinks_the_source_does_not_alias():
    # Stripes one pixel wide: sampled every fourth pixel they would be all black or all white.
    source = np.zeros((256, 256, 3), np.uint8)
    source[:, ::2] = 255
    pair = pair_without_network(source, source)
    transform = np.diag([4.0, 4.0, 1.0])
    shown, exists = pair.warp_source(transform, (60, 60)), pair.source_area(transform, (60, 60))
    assert exists.all()
    assert abs(float(shown[5:-5, 5:-5].mean()) - 127.5) < 8
