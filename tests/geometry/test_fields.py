"""Fields as arrays: resized, read and compared with their return, on values known by hand."""

import numpy as np
import pytest

from glualign.geometry import (
    apply_transform,
    fill_unknown,
    forward_backward_error,
    pixel_grid,
    resize_flow,
    resizing_matrix,
    sample,
    transform_flow,
)

AFFINE = np.array([[1.1, 0.1, -2.0], [-0.05, 0.9, 3.0], [0, 0, 1]])


def test_the_flow_of_a_transform_leads_where_the_transform_does():
    homography = AFFINE + np.array([[0, 0, 0], [0, 0, 0], [1e-3, -5e-4, 0]])
    grid = pixel_grid((30, 40))
    np.testing.assert_allclose(
        grid + transform_flow(homography, (30, 40)), apply_transform(homography, grid), atol=1e-4
    )


def test_a_transform_and_its_negative_are_the_same():
    np.testing.assert_array_equal(transform_flow(-AFFINE, (9, 9)), transform_flow(AFFINE, (9, 9)))


def test_beyond_the_horizon_of_the_centre_is_nothing():
    flow = transform_flow(np.array([[1, 0, 0], [0, 1, 0], [-1 / 90, 0, 1.0]]), (4, 120))
    assert np.isfinite(flow[:, :89]).all()
    assert np.isnan(flow[:, 91:]).all()


@pytest.mark.parametrize("size", [(60, 80), (15, 20), (45, 44)])
def test_a_resized_flow_is_the_transform_between_resized_images(size):
    before = (30, 40)
    scaling = resizing_matrix(before, size)
    expected = transform_flow(scaling @ AFFINE @ np.linalg.inv(scaling), size)
    inner = np.s_[2:-2, 2:-2]  # beyond the outermost pixel centres the flow is continued constantly
    found = resize_flow(transform_flow(AFFINE, before), size)
    np.testing.assert_allclose(found[inner], expected[inner], atol=1e-4)


def test_cells_count_in_pixels_of_their_frame():
    cells = np.full((4, 5, 2), 2.0, np.float32)  # 2 working pixels, one cell being 4 of them
    np.testing.assert_allclose(resize_flow(cells, (32, 40), frame=(16, 20)), 4.0)
    np.testing.assert_allclose(resize_flow(cells, (16, 20), frame=(16, 20)), 2.0)


def test_unknown_pixels_stay_unknown_and_spread_no_further_than_their_weight():
    flow = np.zeros((8, 8, 2), np.float32)
    flow[3, 3] = np.nan
    unknown = np.isnan(resize_flow(flow, (16, 16))[..., 0])
    # Pixel 3 covers 6 and 7 of the doubled grid and has a weight in their neighbours 5 and 8.
    assert np.argwhere(unknown.any(axis=0)).ravel().tolist() == [5, 6, 7, 8]
    assert np.isnan(resize_flow(flow, (8, 8))[3, 3]).all()


def test_there_and_back_misses_by_the_difference():
    forward = np.full((20, 30, 2), (3, -2), np.float32)
    backward = np.full((20, 30, 2), (-3, 5), np.float32)
    error = forward_backward_error(forward, backward)
    assert (error[2:, :27] == 3).all()
    assert np.isinf(error[:2]).all()
    assert np.isinf(error[:, 27:]).all()


def test_cells_of_a_coarser_grid_are_compared_in_pixels():
    # Two cells of four pixels to the right; the way back falls short by one pixel.
    forward = np.full((6, 6, 2), (8, 0), np.float32)
    backward = np.full((6, 6, 2), (-7, 0), np.float32)
    error = forward_backward_error(forward, backward, cell=4)
    assert (error[:, :4] == 1).all()
    assert np.isinf(error[:, 4:]).all()


def test_a_source_of_another_size_is_a_frame_of_its_own():
    forward = transform_flow(np.diag([0.5, 0.5, 1]), (20, 20))
    backward = transform_flow(np.diag([2.0, 2.0, 1]), (10, 10))
    assert forward_backward_error(forward, backward).max() < 1e-4 + 1  # the last half pixel has no neighbour
    assert forward_backward_error(forward, backward)[:19, :19].max() < 1e-4


def test_the_way_back_is_read_between_pixels_exactly():
    # OpenCV's remap of two channels rounds to 1/32 px, which a slope of 1 shows as an error of up to 0.016.
    y, x = np.mgrid[:40, :40].astype(np.float32)
    backward = np.stack([x, y], axis=-1)
    forward = np.full((40, 40, 2), 0.01, np.float32)
    error = forward_backward_error(forward, backward)[:39, :39]
    np.testing.assert_allclose(error, np.hypot(x + 0.02, y + 0.02)[:39, :39], atol=1e-5)


def test_sample_of_many_channels_keeps_their_order():
    field = np.arange(24, dtype=np.float64).reshape(2, 3, 4)
    np.testing.assert_allclose(sample(field, np.array([0.5]), np.array([0.5]))[0], [8, 9, 10, 11])


def test_unknown_pixels_continue_what_surrounds_them():
    columns = np.broadcast_to(np.arange(64, dtype=np.float32)[:, None], (48, 64, 1))
    values = np.concatenate([columns, columns + 100], axis=2)
    known = np.ones((48, 64), bool)
    known[16:32, 24:40] = False
    filled = fill_unknown(np.where(known[..., None], values, np.nan), known)
    np.testing.assert_array_equal(filled[known], values[known])
    assert np.abs(filled - values)[~known].max() < 8  # half of the hole's width, where nothing is steeper
    assert (fill_unknown(values, np.zeros_like(known)) == 0).all()
