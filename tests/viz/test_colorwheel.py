import numpy as np
import pytest

from glualign.errors import FlowError
from glualign.flow import Flow
from glualign.viz.colors import flow_to_rgb, longest, wheel_colors, wheel_disc


def random_flow(height=47, width=61, seed=3):
    return (np.random.default_rng(seed).normal(size=(height, width, 2)) * 12).astype(np.float32)


def test_the_wheel_has_55_different_colors_from_red_round_to_red():
    wheel = wheel_colors()
    assert wheel.shape == (55, 3)
    assert len({tuple(c) for c in wheel}) == 55
    assert tuple(wheel[0]) == (255, 0, 0)
    assert tuple(wheel[15]) == (255, 255, 0)
    assert tuple(wheel[21]) == (0, 255, 0)
    assert tuple(wheel[25]) == (0, 255, 255)
    assert tuple(wheel[36]) == (0, 0, 255)
    assert tuple(wheel[49]) == (255, 0, 255)


@pytest.mark.parametrize("scale", [1.0, 0.01, 500.0])
def test_colors_equal_those_of_flow_vis(scale):
    flow_vis = pytest.importorskip("flow_vis", reason="the parity check needs: pip install flow-vis")
    flow = random_flow() * np.float32(scale)
    # flow_vis divides by (maximum + 1e-5); the same divisor makes the comparison exact to rounding.
    ours = flow_to_rgb(flow, max_flow=longest(Flow(flow)) + 1e-5)
    theirs = flow_vis.flow_to_color(flow)
    difference = np.abs(ours.astype(int) - theirs.astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.05  # float32 against float64 at a floor()


def test_no_motion_is_white_and_unknown_is_black():
    flow = np.zeros((5, 6, 2), np.float32)
    flow[1, 2] = np.nan
    flow[2, 3, 1] = np.inf
    flow[3, 4] = 1.7e9
    rgb = flow_to_rgb(flow)
    unknown = np.zeros((5, 6), bool)
    unknown[[1, 2, 3], [2, 3, 4]] = True
    assert (rgb[unknown] == 0).all()
    assert (rgb[~unknown] == 255).all()


def test_unknown_pixels_do_not_change_the_others():
    flow = random_flow()
    spoilt = flow.copy()
    spoilt[10, 10] = np.nan
    spoilt[20, 20] = 1e10
    keep = np.ones(flow.shape[:2], bool)
    keep[[10, 20], [10, 20]] = False
    np.testing.assert_array_equal(flow_to_rgb(spoilt, 30)[keep], flow_to_rgb(flow, 30)[keep])


def test_automatic_maximum_is_the_longest_vector():
    flow = random_flow()
    np.testing.assert_array_equal(flow_to_rgb(flow), flow_to_rgb(flow, longest(Flow(flow))))
    assert longest(Flow(flow)) == pytest.approx(np.hypot(*np.moveaxis(flow, -1, 0)).max())


def test_longest_can_be_restricted_to_a_mask():
    flow = np.zeros((4, 4, 2), np.float32)
    flow[0, 0] = 3, 4
    flow[3, 3] = 30, 40
    assert longest(Flow(flow)) == pytest.approx(50)
    assert longest(Flow(flow), flow[..., 0] < 10) == pytest.approx(5)
    assert longest(Flow(flow), np.zeros((4, 4), bool)) == 0


def test_fixed_maximum_scales_saturation_and_darkens_what_is_beyond():
    flow = np.full((1, 1, 2), (5, 0), np.float32)
    pale = flow_to_rgb(flow, 20)[0, 0].astype(int)
    full = flow_to_rgb(flow, 5)[0, 0].astype(int)
    beyond = flow_to_rgb(flow, 4)[0, 0].astype(int)
    assert pale.min() > full.min()
    assert full.max() == 255
    assert beyond.max() == int(255 * 0.75)


def test_large_fields_are_painted_in_strips_without_seams():
    """A field of several strips: its rows have the colours of a field that is painted at once."""
    flow = np.tile(random_flow(20, 700), (100, 1, 1))
    whole = flow_to_rgb(flow[:20], 40)
    np.testing.assert_array_equal(flow_to_rgb(flow, 40), np.tile(whole, (100, 1, 1)))


def test_accepts_a_flow_object():
    flow = random_flow()
    np.testing.assert_array_equal(flow_to_rgb(Flow(flow)), flow_to_rgb(flow))


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 3), (0, 4, 2)])
def test_refuses_what_is_no_flow(shape):
    with pytest.raises(FlowError, match=r"\(height, width, 2\)"):
        flow_to_rgb(np.zeros(shape, np.float32))


@pytest.mark.parametrize("maximum", [0, -3, np.nan, np.inf])
def test_refuses_a_senseless_maximum(maximum):
    with pytest.raises(FlowError, match="positive"):
        flow_to_rgb(random_flow(), maximum)


@pytest.mark.parametrize("diameter", [32, 33, 256])
def test_legend_is_a_disc_white_in_the_middle_and_transparent_outside(diameter):
    legend = wheel_disc(diameter)
    assert legend.shape == (diameter, diameter, 4)
    assert legend[0, 0, 3] == 0
    middle = diameter // 2
    assert legend[middle, middle, 3] == 255
    assert legend[middle, middle, :3].min() > 200
    # Flow to the right is drawn on the right, in the colour flow_to_rgb gives it.
    right = legend[middle, diameter - 2, :3].astype(int)
    expected = flow_to_rgb(np.full((1, 1, 2), (1, 0), np.float32), 1)[0, 0].astype(int)
    assert np.abs(right - expected).max() < 70
