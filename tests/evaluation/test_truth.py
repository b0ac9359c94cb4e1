import numpy as np
import pytest

from glualign.errors import DatasetError
from glualign.evaluation.metrics import DenseTruth, PointTruth, homography_truth, scattered
from tests.evaluation.fakes import grid


def test_bilinear_points_read_a_linear_field_exactly():
    x, y = grid(20, 30)
    flow = np.stack([0.5 * x - 0.1 * y, 2 + 0.2 * y], axis=-1)
    target = np.array([[0.0, 0.0], [3.25, 7.5], [29.0, 19.0], [28.9, 0.1]])
    moved = np.stack([0.5 * target[:, 0] - 0.1 * target[:, 1], 2 + 0.2 * target[:, 1]], axis=1)
    np.testing.assert_allclose(PointTruth(target, target + moved).errors(flow, 30).epe, 0, atol=1e-12)


def test_rounded_points_read_the_nearest_pixel():
    flow = np.zeros((10, 10, 2))
    flow[4, 3] = (5, 6)
    truth = PointTruth(np.array([[3.4, 3.6]]), np.array([[8.4, 9.6]]), sampling="rounded")
    np.testing.assert_allclose(truth.errors(flow, 10).epe, 0, atol=1e-12)


def test_points_on_a_one_pixel_image_and_outside_are_clamped():
    truth = PointTruth(np.array([[5.0, -3.0]]), np.array([[6.0, -3.0]]))
    assert truth.errors(np.ones((1, 1, 2)), 1).epe[0] == pytest.approx(1.0)


def test_scattered_keeps_the_exact_motion_at_the_rounded_pixel_and_the_later_point():
    target = np.array([[3.5, 2.5], [4.5, 3.5], [10.49, 8.51], [99.0, 0.0]])
    source = np.array([[5.75, 3.5], [3.5, 5.0], [13.79, 6.51], [0.0, 0.0]])
    truth = scattered(target, source, (12, 14))
    # 3.5 and 4.5 both round to 4, 2.5 to 2 and 3.5 to 4 (half to even)
    assert truth.count() == 3
    np.testing.assert_allclose(truth.flow[2, 4], [2.25, 1.0])
    np.testing.assert_allclose(truth.flow[4, 4], [-1.0, 1.5])
    np.testing.assert_allclose(truth.flow[9, 10], [3.3, -2.0], rtol=1e-6)


def test_homography_truth_masks_what_leaves_the_source():
    truth = homography_truth(np.array([[1, 0, 5.0], [0, 1, 0], [0, 0, 1]]), (4, 10), (4, 10))
    np.testing.assert_allclose(truth.flow[..., 0], 5, atol=1e-5)
    assert truth.mask[0].tolist() == [True] * 5 + [False] * 5


def test_homography_truth_has_no_infinities_at_the_horizon():
    truth = homography_truth(np.array([[1, 0, 0.0], [0, 1, 0], [-0.2, 0, 1]]), (4, 10), (4, 10))
    assert np.isfinite(truth.flow).all()


def test_a_flow_of_another_size_is_resized_before_it_is_compared():
    truth = DenseTruth(np.full((20, 80, 2), [16.0, 12.0], np.float32), np.ones((20, 80), bool))
    assert not truth.errors(np.full((10, 20, 2), [4.0, 6.0], np.float32), 80).epe.any()


def test_only_pixels_of_the_mask_count():
    mask = np.zeros((4, 5), bool)
    mask[1, 2] = mask[3, 4] = True
    estimate = np.full((4, 5, 2), 100.0, np.float32)
    estimate[1, 2], estimate[3, 4] = (3, 4), (0, 1)
    truth = DenseTruth(np.zeros((4, 5, 2), np.float32), mask)
    assert truth.errors(estimate, 5).epe.tolist() == [5.0, 1.0]


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(DatasetError, match="mask"):
        DenseTruth(np.zeros((4, 5, 2), np.float32), np.zeros((5, 4), bool))
