import cv2
import numpy as np
import pytest

from glualign.errors import FlowError
from glualign.flow import Flow
from glualign.viz.lines import arrows, deformed_grid
from glualign.viz.styles import mask_overlay


def uniform(height, width, u, v, source_size=None):
    data = np.empty((height, width, 2), np.float32)
    data[:] = u, v
    return Flow(data, source_size)


def middles(row):
    """Where the runs of ink in a row have their middles."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
    return [(first + last - 1) / 2 for first, last in edges.reshape(-1, 2)]


def inked(picture):
    return (picture < 200).any(axis=-1)


@pytest.mark.parametrize(("u", "v"), [(30, 0), (-30, 0), (0, 30), (0, -30)])
def test_an_arrow_points_where_the_flow_points(u, v):
    data = np.full((105, 105, 2), np.nan, np.float32)
    data[52, 52] = u, v
    picture = arrows(Flow(data), typical=10).picture
    ys, xs = np.nonzero(inked(picture))
    assert xs.size
    # All ink lies between start (52, 52) and tip, and reaches both.
    across = 3  # half the head's width
    assert min(0, u) - across <= xs.min() - 52 <= max(0, min(0, u) + 2)
    along = (xs - 52) * np.sign(u) + (ys - 52) * np.sign(v)
    assert along.min() >= -3
    assert 27 <= along.max() <= 33
    # The head is at the tip: more ink in the second half.
    assert (along > 15).sum() > (along <= 15).sum()


def test_unknown_pixels_have_no_arrow():
    flow = uniform(100, 200, 10, 0)
    data = flow.data.copy()
    data[:, 100:] = np.nan
    picture = arrows(Flow(data), typical=10).picture
    assert inked(picture)[:, :95].any()
    assert not inked(picture)[:, 105:].any()


def test_the_legend_says_the_scale():
    huge = uniform(200, 300, 400, 0)
    drawing = arrows(huge)
    plain, explained = drawing.picture, drawing.explained()
    assert plain.shape == (200, 300, 3)
    assert explained.shape[0] > 200
    np.testing.assert_array_equal(explained[:200], plain)


def test_no_motion_is_drawn_as_dots():
    picture = arrows(uniform(60, 60, 0, 0)).picture
    dots, _, figures, _ = cv2.connectedComponentsWithStats(inked(picture).astype(np.uint8))
    assert dots == 1 + 8 * 8
    assert figures[1:, cv2.CC_STAT_AREA].max() <= 9


def test_an_endless_arrow_is_clipped():
    picture = arrows(uniform(64, 64, 9e8, 9e8), typical=10).picture
    assert picture.shape == (64, 64, 3)


def test_grid_of_the_identity_is_the_grid_of_the_source():
    picture = deformed_grid(uniform(101, 121, 0, 0)).picture
    ink = inked(picture)
    assert middles(ink[11, :118]) == [0.5, 20, 40, 60, 80, 100]
    assert not ink[11, 25:36].any()
    assert ink[20, 30]
    assert ink[100, 30], "the lower edge of the source belongs to the grid"


def test_grid_moves_against_the_flow():
    # Target pixel x shows source x + 7, so the source's line 20 is seen at x = 13.
    ink = inked(deformed_grid(uniform(101, 121, 7, 0)).picture)
    assert ink[11, 13]
    assert not ink[11, 20]


def test_grid_of_a_zoom_has_cells_of_the_zoomed_size():
    x = np.arange(121, dtype=np.float32)
    data = np.zeros((121, 121, 2), np.float32)
    data[..., 0] = x  # source position 2 x: a cell of 20 source pixels covers 10 target pixels
    ink = inked(deformed_grid(Flow(data, (121, 242))).picture)
    assert middles(ink[11, :58])[1:] == [10, 20, 30, 40, 50]


def test_nothing_is_drawn_outside_the_source():
    ink = inked(deformed_grid(uniform(101, 121, 60, 0)).picture)
    assert ink[:, :58].any()
    assert not ink[:, 66:].any()


def test_grid_strips_have_no_seams(monkeypatch):
    rng = np.random.default_rng(5)
    data = cv2.resize(
        rng.normal(size=(6, 7, 2)).astype(np.float32) * 9, (130, 90), interpolation=cv2.INTER_CUBIC
    )
    whole = deformed_grid(Flow(data)).picture
    monkeypatch.setattr("glualign.geometry._STRIP_PIXELS", 130 * 17)
    in_strips = deformed_grid(Flow(data)).picture
    # A line's halo may change by a pixel where strips meet.
    assert (whole != in_strips).any(axis=-1).mean() < 0.01


@pytest.mark.parametrize("draw", [arrows, deformed_grid])
def test_drawing_on_an_image_of_another_size_is_refused(draw):
    with pytest.raises(FlowError, match="20 x 10 and the flow 30 x 20"):
        draw(uniform(20, 30, 1, 1), np.zeros((10, 20, 3), np.uint8))


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (64, 48), (700, 3)])
@pytest.mark.parametrize("draw", [arrows, deformed_grid])
def test_every_size_is_drawn(draw, size):
    flow = uniform(*size, 1, 2)
    image = np.full((*size, 3), 90, np.uint8)
    assert draw(flow, image).picture.shape == (*size, 3)
    assert draw(flow).explained().shape[1] == size[1]


def test_mask_overlay_keeps_valid_pixels_and_marks_the_others():
    image = np.random.default_rng(0).integers(0, 255, (80, 100, 3), dtype=np.uint8)
    mask = np.zeros((80, 100), bool)
    mask[:, :60] = True
    picture = mask_overlay(image, mask).picture
    np.testing.assert_array_equal(picture[:, :55], image[:, :55])
    assert (picture[:, 65:] != image[:, 65:]).any(axis=-1).mean() > 0.95
    orange = (picture[..., 0].astype(int) - picture[..., 2] > 120) & (picture[..., 1] < 140)
    assert orange[:, 57:63].any(axis=1).all(), "an outline separates both parts"
    np.testing.assert_array_equal(mask_overlay(image, np.ones_like(mask)).picture, image)


def test_mask_of_another_size_is_refused():
    with pytest.raises(FlowError, match="image is 9 x 8"):
        mask_overlay(np.zeros((8, 9, 3), np.uint8), np.ones((4, 5), bool))
