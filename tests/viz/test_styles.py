import numpy as np
import pytest

from glualign.errors import FlowError
from glualign.flow import Flow, from_transform, invert
from glualign.styles import FLOW_STYLES, PAIR_STYLES
from glualign.viz.styles import draw

SIZE = (120, 240)


def pair(source, target, flow, style="blend", **more):
    return [each.picture for each in draw(flow, style, source=source, target=target, **more)]


@pytest.fixture
def flow():
    turn = np.deg2rad(9)
    matrix = [[np.cos(turn), -np.sin(turn), 4], [np.sin(turn), np.cos(turn), -3], [0.0004, 0, 1]]
    return from_transform(matrix, SIZE, (125, 250))


@pytest.fixture
def source():
    return np.random.default_rng(4).integers(0, 256, (125, 250, 3), np.uint8)


@pytest.fixture
def target():
    return np.random.default_rng(6).integers(0, 256, (*SIZE, 3), np.uint8)


@pytest.mark.parametrize("style", FLOW_STYLES)
@pytest.mark.parametrize("legend", [True, False])
def test_every_flow_style_draws_the_grid_of_the_flow(style, legend, flow, target):
    (drawing,) = draw(
        flow,
        style,
        target=target,
        backward=invert(flow),
        confidence=np.linspace(0, 1, 120 * 240, dtype=np.float32).reshape(SIZE),
    )
    picture = drawing.explained() if legend else drawing.picture
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (240, 3)
    assert (picture.shape[0] > 120) == legend
    assert np.unique(picture[:120].reshape(-1, 3), axis=0).shape[0] > 2, "an empty picture"


@pytest.mark.parametrize("style", FLOW_STYLES)
def test_flow_styles_survive_a_flow_that_is_unknown_everywhere(style):
    nothing = Flow(np.full((*SIZE, 2), np.nan, np.float32))
    (drawing,) = draw(nothing, style, backward=nothing, confidence=np.full(SIZE, np.nan, np.float32))
    assert drawing.explained().shape[1] == 240


@pytest.mark.parametrize("style", PAIR_STYLES)
def test_every_pair_style_draws_the_warped_source(style, flow, source, target):
    frames = pair(source, target, flow, style)
    assert len(frames) == (2 if style == "flicker" else 1)
    other = pair(255 - source, target, flow, style)
    assert (frames[-1] != other[-1]).any(), "the source does not show"
    other = pair(source, 255 - target, flow, style)
    assert (frames[0] != other[0]).any(), "the target does not show"


def test_a_perfectly_aligned_pair_has_no_difference(source):
    shift = from_transform([[1, 0, 5], [0, 1, 2], [0, 0, 1]], SIZE, (125, 250))
    target = source[2:122, 5:245]
    picture = pair(source, target, shift, "difference")[0].astype(int)
    assert np.abs(picture[..., 0] - picture[..., 1]).max() <= 1


def test_the_mask_of_the_alignment_is_respected(flow, source, target):
    nowhere = np.zeros(SIZE, bool)
    one = pair(source, target, flow, "blend", valid=nowhere)[0]
    np.testing.assert_array_equal(one, pair(255 - source, target, flow, "blend", valid=nowhere)[0])


def test_wrong_sizes_are_refused_with_both_sizes(flow, source, target):
    with pytest.raises(FlowError, match="target is 240 x 40 and the flow 240 x 120"):
        pair(source, target[:40], flow)
    with pytest.raises(FlowError, match="belongs to a source of 250 x 125 pixels, the image is 250 x 49"):
        pair(source[:49], target, flow)
    with pytest.raises(FlowError, match="confidence map"):
        draw(flow, "confidence", confidence=np.zeros((4, 4), np.float32))


@pytest.mark.parametrize(("style", "missing"), [("error", "backward"), ("confidence", "confidence")])
def test_missing_inputs_are_named(style, missing, flow):
    with pytest.raises(FlowError, match=missing):
        draw(flow, style)
