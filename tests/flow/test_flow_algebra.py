"""Compose, invert, resize and compare fields whose answers are known by construction."""

import tracemalloc

import numpy as np
import pytest

from glualign.errors import FlowError
from glualign.flow import (
    Flow,
    compose,
    folding_share,
    forward_backward_error,
    from_transform,
    invert,
    jacobian_determinant,
    resize,
    to_source,
    to_target,
)
from glualign.geometry import resizing_matrix
from tests.flow.fields import similarity, smooth_flow

SIZE = (90, 120)


def largest(first, second, where):
    return np.abs(first - second)[where].max()


def test_from_transform_is_the_matrix():
    matrix = np.array([[1.1, 0.05, -20], [-0.03, 0.95, 10], [2e-4, 1e-4, 1]])
    flow = from_transform(matrix, SIZE, (50, 60))
    x, y = 77, 33
    u, v, w = matrix @ (x, y, 1)
    np.testing.assert_allclose(flow.data[y, x], (u / w - x, v / w - y), rtol=1e-5)
    assert flow.source_size == (50, 60)


def test_from_transform_is_unknown_beyond_the_horizon():
    flow = from_transform([[1, 0, 0], [0, 1, 0], [-1 / 90, 0, 1]], (4, 120))
    assert flow.known[:, :89].all()
    assert not flow.known[:, 91:].any()
    with pytest.raises(FlowError):
        from_transform(np.eye(2), SIZE)
    with pytest.raises(FlowError):
        from_transform(np.full((3, 3), np.nan), SIZE)


def test_composing_transforms_is_multiplying_matrices():
    first, second = similarity(20, 0.8, (15, -5)), similarity(-35, 1.3, (4, 9))
    both = compose(from_transform(first, SIZE, (80, 100)), from_transform(second, (80, 100), (70, 60)))
    expected = from_transform(second @ first, SIZE)
    assert both.source_size == (70, 60)
    assert both.known.mean() > 0.4
    assert largest(both.data, expected.data, both.known) < 1e-3


def test_compose_refuses_what_does_not_fit():
    with pytest.raises(FlowError, match="an image of 100 x 80 pixels, the second starts from 120 x 90"):
        compose(from_transform(np.eye(3), SIZE, (80, 100)), smooth_flow())


def test_compose_carries_unknown_pixels():
    first, second = smooth_flow(), smooth_flow(phase=1)
    hole = first.data.copy()
    hole[10:20, 30:40] = np.nan
    assert not compose(Flow(hole), second).known[10:20, 30:40].any()
    gone = compose(first, Flow(np.where(np.arange(120)[None, :, None] < 60, np.nan, second.data)))
    x = np.arange(120) + first.data[..., 0]
    assert not gone.known[x < 59].any()


def test_identity_is_neutral():
    flow, nothing = smooth_flow(), Flow(np.zeros((*SIZE, 2)))
    np.testing.assert_array_equal(compose(nothing, flow).data, flow.data)
    np.testing.assert_allclose(compose(flow, nothing).data[flow.valid()], flow.data[flow.valid()], atol=1e-5)


@pytest.mark.parametrize("phase", [0.0, 1.0, 2.5])
def test_a_flow_and_its_inverse_cancel(phase):
    flow = smooth_flow(phase=phase)
    back = invert(flow)
    for round_trip in (compose(flow, back), compose(back, flow)):
        assert round_trip.known.mean() > 0.85
        assert np.nanmax(round_trip.magnitude) < 0.1


def test_inverse_of_a_composition_is_the_composition_of_inverses():
    first, second = smooth_flow(strength=0.6), smooth_flow(strength=0.5, phase=2)
    one = invert(compose(first, second))
    other = compose(invert(second), invert(first))
    both = one.known & other.known
    assert both.mean() > 0.75
    assert largest(one.data, other.data, both) < 0.1


@pytest.mark.parametrize(
    ("degrees", "scale"), [(0, 1), (30, 1.2), (90, 1), (180, 0.7), (100, 2.3), (-45, 0.4)]
)
def test_inverse_of_a_similarity_is_the_inverse_matrix(degrees, scale):
    source_size = (160, 170)
    centred = similarity(0, 1, (85, 80)) @ similarity(degrees, scale, (0, 0)) @ similarity(0, 1, (-60, -45))
    back = invert(from_transform(centred, SIZE, source_size))
    expected = from_transform(np.linalg.inv(centred), source_size, SIZE)
    assert back.size == source_size
    assert back.source_size == SIZE
    assert largest(back.data, expected.data, back.known) < 0.06
    missed = expected.valid() & ~back.known
    assert missed.mean() < 0.005, "what the target shows must be known"
    far = ~expected.valid() & back.known
    assert far.mean() < 0.01


def test_inverse_is_unknown_where_the_flow_is():
    data = smooth_flow().data.copy()
    data[30:50, 40:70] = np.nan
    back = invert(Flow(data))
    middle = to_source(smooth_flow(), [(55, 40)])[0]
    assert not back.known[round(middle[1]), round(middle[0])]
    assert 0.6 < back.known.mean() < 0.95


def test_points_there_and_back():
    flow = smooth_flow()
    points = np.random.default_rng(0).uniform((15, 15), (105, 75), (200, 2))
    assert np.abs(to_target(flow, to_source(flow, points)) - points).max() < 0.05
    np.testing.assert_allclose(to_source(flow, [(7, 5)])[0], (7, 5) + flow.data[5, 7], rtol=1e-6)
    assert np.isnan(to_source(flow, [(-3, 5), (np.nan, 1)])).all()
    assert np.isnan(to_target(flow, [(5000, 5), (np.nan, 1)])).all()


def test_resize_of_a_transform_is_the_transform_between_resized_images():
    matrix = similarity(10, 1.1, (-8, 3))

    def scaling(from_size, to_size):
        sy, sx = to_size[0] / from_size[0], to_size[1] / from_size[1]
        return np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1]])

    flow = from_transform(matrix, SIZE, (100, 80))
    new, new_source = (200, 150), (33, 160)
    expected = scaling((100, 80), new_source) @ matrix @ np.linalg.inv(scaling(SIZE, new))
    found = resize(flow, new, new_source)
    inner = np.s_[2:-2, 2:-2]
    assert np.abs(found.data - from_transform(expected, new).data)[inner].max() < 1e-3
    assert found.source_size == new_source


def test_an_enlarged_zoom_is_exact_up_to_its_border():
    zoom = np.array([[3.0, 0, 7], [0, 3, -4], [0, 0, 1]])
    found = resize(from_transform(zoom, (100, 80)), (1000, 800))
    to_large = resizing_matrix((1000, 800), (100, 80))
    expected = from_transform(np.linalg.inv(to_large) @ zoom @ to_large, (1000, 800))
    np.testing.assert_allclose(found.data, expected.data, atol=1e-3)


def test_unknown_pixels_stay_alone_when_nothing_is_resized():
    flow = smooth_flow()
    flow.data[-1, -2] = np.nan
    np.testing.assert_allclose(resize(flow, flow.size).data, flow.data, atol=1e-5)


def test_resize_by_default_scales_the_source_too():
    doubled = resize(Flow(smooth_flow().data, SIZE), (180, 240))
    assert doubled.source_size == (180, 240)
    again = resize(doubled, SIZE)
    assert np.abs(again.data - smooth_flow().data).max() < 0.05
    with pytest.raises(FlowError):
        resize(smooth_flow(), (0, 5))


def test_forward_backward_error_measures_the_miss():
    forward = smooth_flow()
    backward = invert(forward)
    assert np.nanmax(forward_backward_error(forward, backward)) < 0.1
    wrong = Flow(backward.data + np.float32([3, 4]), backward.source_size)
    miss = forward_backward_error(forward, wrong)
    assert np.nanmedian(miss) == pytest.approx(5, abs=0.05)
    assert np.isnan(miss[~forward.valid()]).all()
    # A file may not know the size of the source: it is that of the way back.
    larger = from_transform(np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]]), (40, 50), (80, 100))
    assert np.isfinite(forward_backward_error(Flow(larger.data), invert(larger))).mean() > 0.9
    with pytest.raises(FlowError):
        forward_backward_error(forward, from_transform(np.eye(3), SIZE, (5, 5)))


def test_jacobian_is_the_change_of_area():
    assert jacobian_determinant(from_transform(similarity(33, 1.5, (0, 0)), SIZE)) == pytest.approx(
        2.25, abs=1e-3
    )
    mirror = from_transform(np.diag([-1, 1, 1.0]), SIZE)
    assert folding_share(mirror) == 0, "it folds nowhere"
    assert folding_share(smooth_flow()) == 0
    half = np.zeros((*SIZE, 2), np.float32)
    half[:, 60:, 0] = -2 * np.arange(60)
    assert folding_share(Flow(half)) == pytest.approx(0.5, abs=0.02)
    with pytest.raises(FlowError):
        jacobian_determinant(Flow(np.zeros((1, 5, 2))))


def test_folding_is_counted_in_little_memory():
    """In strips, with the result of the whole, whose derivatives take more than the flow does."""
    data = np.random.default_rng(0).normal(0, 0.5, (6007, 1000, 2)).astype(np.float32)
    data[5:9, 3:8] = np.nan
    flow = Flow(data)
    determinant = jacobian_determinant(flow)
    whole = (determinant <= 0).sum() / np.isfinite(determinant).sum()
    del determinant
    tracemalloc.start()
    try:
        assert folding_share(flow) == whole
        assert tracemalloc.get_traced_memory()[1] < data.nbytes
    finally:
        tracemalloc.stop()
