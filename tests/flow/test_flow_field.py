"""`Flow`: what it accepts, what it makes of it, and what valid means."""

import numpy as np
import pytest

from glualign.errors import FlowError
from glualign.flow import Flow
from glualign.geometry import sample


def test_sizes_and_source_frame():
    flow = Flow(np.zeros((3, 5, 2)))
    assert flow.size == (3, 5)
    assert flow.source_size is None
    assert flow.source_frame == (3, 5)
    assert flow.data.dtype == np.float32
    assert Flow(np.zeros((3, 5, 2)), (7, 9)).source_frame == (7, 9)


@pytest.mark.parametrize(
    "data",
    [
        np.zeros((3, 5)),
        np.zeros((3, 5, 3)),
        np.zeros((2, 3, 5)),
        np.zeros((0, 5, 2)),
        np.zeros((3, 5, 2), complex),
        np.full((3, 5, 2), np.inf),
    ],
)
def test_what_is_no_flow_is_refused(data):
    with pytest.raises(FlowError):
        Flow(data)


def test_bad_source_size_is_refused():
    with pytest.raises(FlowError, match="must be positive"):
        Flow(np.zeros((3, 5, 2)), (0, 4))


def test_half_known_pixels_are_unknown_and_the_input_is_left_alone():
    data = np.zeros((2, 2, 2), np.float32)
    data[0, 1, 0] = np.nan
    flow = Flow(data)
    assert np.isnan(flow.data[0, 1]).all()
    assert data[0, 1, 1] == 0
    assert flow.known.tolist() == [[True, False], [True, True]]


def test_valid_is_inside_the_closed_frame_of_the_source():
    # Target of one row; the source is 4 wide and 1 high. Positions: 0, 3, 3.01, -0.01, unknown.
    target = np.arange(5, dtype=np.float64)
    wanted = np.array([0, 3, 3.01, -0.01, np.nan])
    data = np.zeros((1, 5, 2))
    data[0, :, 0] = wanted - target
    assert Flow(data, (1, 4)).valid().tolist() == [[True, True, False, False, False]]


def test_magnitude():
    assert Flow(np.array([[[3, 4], [np.nan, np.nan]]])).magnitude[0, 0] == 5


def test_sample_is_bilinear_and_exact():
    y, x = np.mgrid[:6, :8].astype(np.float64)
    field = 2 * x - 3 * y + 0.5 * x * y
    at_x, at_y = np.array([0, 1.25, 6.999, 7]), np.array([0, 3.5, 4.75, 5])
    np.testing.assert_allclose(sample(field, at_x, at_y), 2 * at_x - 3 * at_y + 0.5 * at_x * at_y, atol=1e-12)


def test_sample_outside_and_unknown():
    field = np.array([[0.0, 1.0, np.nan]])
    assert np.isnan(sample(field, np.array([-0.5, 2.5, np.nan]), np.zeros(3))).all()
    assert sample(field, np.array([-0.5]), np.array([9.0]), outside="edge").tolist() == [0.0]
    # A neighbour without weight does not spoil the value; one with weight does.
    assert sample(field, np.array([1.0]), np.zeros(1)).tolist() == [1.0]
    assert np.isnan(sample(field, np.array([1.5]), np.zeros(1)))
