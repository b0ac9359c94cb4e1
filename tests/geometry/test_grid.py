"""Grids and frames: pixel centres, and the two ends that a frame can have."""

import numpy as np
import pytest

from glualign.geometry import inside, pixel_grid, positions, strips


def test_a_grid_holds_x_then_y_of_every_pixel():
    grid = pixel_grid((2, 3), left=10, top=20)
    assert grid.dtype == np.float32
    assert grid.tolist() == [[[10, 20], [11, 20], [12, 20]], [[10, 21], [11, 21], [12, 21]]]


def test_positions_are_the_grid_plus_the_flow_in_float64():
    flow = np.full((1, 2, 2), 0.25, np.float32)
    x, y = positions(flow, top=5, left=40_000)
    assert x.tolist() == [[40_000.25, 40_001.25]]
    assert y.tolist() == [[5.25, 5.25]]


@pytest.mark.parametrize(
    ("edge", "expected"),
    [
        # x of a frame 4 pixels wide: centres end at 0 and 3, areas at -0.5 and 3.5.
        ("centres", [False, False, True, True, True, False, False, False]),
        ("areas", [False, True, True, True, True, True, False, False]),
    ],
)
def test_a_frame_ends_at_pixel_centres_or_at_pixel_areas(edge, expected):
    x = np.array([-0.51, -0.49, 0, 1.5, 3, 3.49, 3.51, np.nan])
    assert inside(x, np.zeros(8), (1, 4), edge=edge).tolist() == expected
    assert inside(np.zeros(8), x, (4, 1), edge=edge).tolist() == expected


def test_float32_rounding_does_not_push_a_position_out_of_the_frame():
    assert inside(np.array([-1e-4, 3 + 1e-4]), np.zeros(2), (1, 4)).all()


def test_strips_cover_every_row_once():
    rows = [row for top, bottom in strips((1000, 4000)) for row in range(top, bottom)]
    assert rows == list(range(1000))
