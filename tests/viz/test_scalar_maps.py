import numpy as np
import pytest

from glualign.errors import FlowError
from glualign.flow import Flow
from glualign.viz import styles
from glualign.viz.colors import palette, scale_of


def scaled(factor_x, factor_y, size=40):
    y, x = np.mgrid[:size, :size].astype(np.float32)
    return Flow(np.stack([(factor_x - 1) * x, (factor_y - 1) * y], axis=-1), (size * 3, size * 3))


def test_scale_of_takes_the_longest_vector_that_stays_inside():
    data = np.zeros((10, 10, 2), np.float32)
    data[0, 0] = 3, 4
    data[5, 5] = 300, 400
    assert scale_of(Flow(data)) == pytest.approx(5)
    data[:] = 1000, 0
    assert scale_of(Flow(data)) == pytest.approx(1000)  # none inside: better than nothing
    assert scale_of(Flow(np.zeros((4, 4, 2), np.float32))) == 1


def test_magnitude_goes_from_dark_to_yellow():
    data = np.zeros((30, 40, 2), np.float32)
    data[:, 20:] = 6, 8
    picture = styles.draw(Flow(data, (100, 100)), "magnitude", max_flow=10)[0].picture
    assert tuple(picture[3, 3]) == tuple(palette("viridis")[0])
    assert tuple(picture[3, 30]) == tuple(palette("viridis")[255])
    half = styles.draw(Flow(data, (100, 100)), "magnitude", max_flow=20)[0].picture
    assert tuple(half[3, 30]) == tuple(palette("viridis")[128])


def test_magnitude_refuses_a_senseless_maximum():
    with pytest.raises(FlowError, match="positive"):
        styles.draw(scaled(1, 1), "magnitude", max_flow=-1)


@pytest.mark.parametrize(
    ("factor", "index"), [(1.0, 128), (2**0.5, 191), (2**-0.5, 64), (2.5, 255), (0.3, 0)]
)
def test_jacobian_shows_the_area_change(factor, index):
    picture = styles.jacobian(scaled(factor, factor)).picture
    middle = picture[20, 20].astype(int)
    expected = palette("balance").astype(int)[max(0, index - 1) : index + 2]
    assert np.abs(expected - middle).max(axis=1).min() <= 2


def test_jacobian_marks_folds_in_black_and_ignored_pixels_in_stripes():
    assert (styles.jacobian(scaled(-1, 1)).picture[5:-5, 5:-5] == 0).all()
    where = np.ones((40, 40), bool)
    where[:10] = False
    picture = styles.jacobian(scaled(-1, 1), where).picture
    assert set(np.unique(picture[:9])) == {176, 232}
    assert (picture[12:, 5:-5] == 0).all()


def test_error_map_scales_to_the_98th_percentile_and_stripes_the_undefined():
    errors = np.linspace(0, 100, 2500, dtype=np.float32).reshape(50, 50)
    errors[0, :] = np.nan
    picture = styles.error(errors).picture
    assert set(np.unique(picture[0])) <= {176, 232}
    assert tuple(picture[-1, -1]) == tuple(palette("inferno")[255])
    fixed = styles.error(errors, 200).picture
    assert tuple(fixed[-1, -1]) == tuple(palette("inferno")[128])
    assert styles.error(np.full((50, 50), np.nan, np.float32)).explained().shape[0] > 50


def test_confidence_goes_from_0_to_1():
    values = np.array([[0, 1]], np.float32).repeat(30, axis=0).repeat(30, axis=1)
    picture = styles.draw(Flow(np.zeros((30, 60, 2), np.float32)), "confidence", confidence=values)[0].picture
    assert tuple(picture[0, 0]) == tuple(palette("cividis")[0])
    assert tuple(picture[0, -1]) == tuple(palette("cividis")[255])
