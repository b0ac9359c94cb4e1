import numpy as np
import pytest
from PIL import ImageDraw

from glualign.flow import Flow
from glualign.viz.canvas import Drawing, fitting_size, pen_for, readable, text_width
from glualign.viz.colors import palette
from glualign.viz.styles import colorize, draw, striped

SIZES = [(48, 64), (64, 64), (64, 8000), (900, 80), (640, 800), (6000, 8000)]


def test_pen_keeps_its_share_of_the_picture():
    small, large = pen_for(600, 800), pen_for(6000, 8000)
    assert large.line == pytest.approx(10 * small.line, rel=0.6)
    assert large.text == pytest.approx(10 * small.text, rel=0.05)
    assert pen_for(64, 64).line == 1
    assert pen_for(64, 64).text >= 9


def test_text_shrinks_until_it_fits_or_is_left_out():
    assert fitting_size("words", 10_000, 20) == 20
    assert fitting_size("words", text_width("words", 13), 20) == 13
    assert fitting_size("words", 1, 20) is None


@pytest.mark.parametrize("size", SIZES)
def test_captions_stay_inside_the_strip(size):
    height, width = size
    picture = np.zeros((height, width, 3), np.uint8)
    result = Drawing(picture, ("From target, x 2",)).explained()
    strip = result[height:]
    np.testing.assert_array_equal(result[: height - height % 7 : 7], picture[: height - height % 7 : 7])
    assert not result[height - 1].any()
    if width < 80:
        assert not len(strip)
        return
    assert strip.min() < 128, "nothing was written"
    for edge in (strip[0], strip[-1], strip[:, 0], strip[:, -1]):
        assert (edge == 255).all()


def test_a_picture_too_narrow_for_any_text_is_left_alone():
    picture = np.zeros((40, 6, 3), np.uint8)
    assert Drawing(picture, ("words",)).explained().shape == picture.shape


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("top", [0.00321, 7.69, 1, 284.2, 123456])
def test_scale_bars_have_labels_that_neither_overlap_nor_leave(size, top, monkeypatch):
    drawn = []
    original = ImageDraw.ImageDraw.text

    def spy(self, place, text, fill, font, anchor):
        wide = text_width(text, round(font.size))
        left = place[0] - {"l": 0, "m": wide / 2, "r": wide}[anchor[0]]
        drawn.append((round(place[1]), left, left + wide, text))
        original(self, place, text, fill, font, anchor)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", spy)
    picture = np.zeros((*size, 3), np.uint8)
    labels = ("0", readable(top / 2), readable(top) + "+")
    result = Drawing(picture, ("Length of the flow in pixels",), "viridis", labels).explained()
    assert result.shape[0] > size[0]
    for row, left, right, text in drawn:
        assert left >= 0, text
        assert right <= size[1] or len(drawn) == 1, text
        others = [(a, b) for other_row, a, b, other in drawn if other_row == row and other != text]
        assert all(b < left or a > right for a, b in others), text
    assert readable(top) + "+" in [text for *_, text in drawn]


def test_labels_are_those_of_both_ends_and_the_middle():
    flow = Flow(np.full((20, 20, 2), (7, 0), np.float32))
    assert draw(flow, "magnitude", max_flow=284.2)[0].labels == ("0", "142", "284")
    assert draw(flow, "magnitude", max_flow=6.5)[0].labels == ("0", "3.25", "6.5+")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0321, "0.0321"),
        (0.5, "0.5"),
        (3.14159, "3.14"),
        (50, "50"),
        (284.2, "284"),
        (12345.6, "12,346"),
    ],
)
def test_readable_numbers(value, text):
    assert readable(value) == text


@pytest.mark.parametrize("name", ["viridis", "cividis", "inferno"])
def test_sequential_maps_get_lighter_all_the_way(name):
    lightness = palette(name).astype(float) @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(lightness) > -1.0).all()
    assert lightness[-1] - lightness[0] > 120


def test_the_diverging_map_is_lightest_in_the_middle_and_its_sides_differ_in_blue_and_red():
    colors = palette("balance").astype(int)
    lightness = colors @ (0.2126, 0.7152, 0.0722)
    assert 120 <= lightness.argmax() <= 136
    assert colors[20, 2] > colors[20, 0] + 60
    assert colors[235, 0] > colors[235, 2] + 60


def test_colorize_maps_the_range_and_stripes_what_is_unknown():
    values = np.array([[0, 5, 10, 99, -3, np.nan]], np.float32).repeat(9, axis=0)
    picture = colorize(values, 0, 10)
    colors = palette("viridis")
    for column, index in enumerate((0, 128, 255, 255, 0)):
        assert tuple(picture[0, column]) == tuple(colors[index])
    assert {tuple(pixel) for pixel in picture[:, 5]} == {(232, 232, 232), (176, 176, 176)}


def test_stripes_leave_the_rest_alone():
    picture = np.full((30, 40, 3), 77, np.uint8)
    where = np.zeros((30, 40), bool)
    where[10:, 20:] = True
    result = striped(picture, where)
    assert (result[~where] == 77).all()
    assert set(np.unique(result[where])) == {176, 232}


def test_large_fields_are_painted_in_strips_without_seams():
    """More pixels than one strip has: every row is coloured as it is alone."""
    values = np.tile(np.linspace(0, 1, 2000, dtype=np.float32), (1100, 1))
    picture = colorize(values, 0, 1)
    assert (picture == picture[:1]).all()
