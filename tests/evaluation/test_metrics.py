import numpy as np
import pytest

from glualign.evaluation.metrics import (
    ALPHAS,
    CURVE_ALPHAS,
    PIXEL_THRESHOLDS,
    Errors,
    end_point_errors,
    mean_of,
    measure,
    summarise,
)


def errors_of(epe, magnitude=None, side=100.0):
    epe = np.asarray(epe, dtype=np.float64)
    return Errors(epe, np.full_like(epe, 1000.0) if magnitude is None else np.asarray(magnitude, float), side)


def test_end_point_error_is_the_euclidean_distance():
    errors = end_point_errors(np.array([[3.0, 0.0], [1.0, 1.0]]), np.array([[0.0, 4.0], [1.0, 1.0]]), 10)
    np.testing.assert_allclose(errors.epe, [5.0, 0.0])
    np.testing.assert_allclose(errors.magnitude, [4.0, np.sqrt(2)])


def test_an_unknown_estimate_counts_as_very_wrong_instead_of_not_at_all():
    errors = end_point_errors(np.array([[np.nan, 0.0], [0.0, 0.0]]), np.array([[3.0, 4.0], [0.0, 0.0]]), 50)
    np.testing.assert_allclose(errors.epe, [55.0, 0.0])


@pytest.mark.parametrize("shape", [(3, 3), (3,), (2, 2)])
def test_shapes_that_do_not_fit_are_refused(shape):
    with pytest.raises(ValueError, match="expected two"):
        end_point_errors(np.zeros(shape), np.zeros((3, 2)), 1)


def test_nothing_to_compare_is_refused():
    with pytest.raises(ValueError, match="no pixel"):
        end_point_errors(np.zeros((0, 2)), np.zeros((0, 2)), 1)


def test_pck_includes_the_threshold_itself():
    metrics = measure(errors_of([0.5, 1.0, 1.5, 5.0]))
    assert metrics.pck == (0.5, 0.75, 1.0, 1.0)  # at 1, 3, 5 and 10 px
    assert metrics.median == 1.25


def test_pck_curve_is_the_pck_at_every_alpha():
    epe = np.random.default_rng(3).exponential(8, 1000)
    counts = measure(errors_of(epe, side=100)).curve
    assert list(counts) == [int((epe <= alpha * 100).sum()) for alpha in CURVE_ALPHAS]
    assert (np.diff(counts) >= 0).all()


def test_fl_needs_both_conditions():
    # 4 px on 100 px is 4 %: no outlier; on 50 px it is 8 %. 2 px is never one, and more than 3 px is asked.
    outliers = measure(errors_of([4.0, 4.0, 2.0, 3.0], [100.0, 50.0, 1.0, 1.0])).outliers
    assert outliers == 1


def test_a_data_set_averages_images_but_pools_fl_and_the_curve():
    small = measure(errors_of([0.0], [1.0]))
    large = measure(errors_of([10.0] * 9, [1.0] * 9))
    metrics = summarise([small, large])
    assert metrics.aepe == pytest.approx(5.0)  # not 9.0, the mean over pixels
    assert metrics.pck[PIXEL_THRESHOLDS.index(1.0)] == pytest.approx(0.5)
    assert metrics.fl == pytest.approx(0.9)
    assert metrics.curve[0] == pytest.approx(0.1, abs=1e-6)
    pooled = summarise([small, large], pooled_pck=True)
    assert pooled.pck[PIXEL_THRESHOLDS.index(1.0)] == pytest.approx(0.1)
    assert pooled.aepe == metrics.aepe


def test_the_median_is_that_of_the_pairs():
    pairs = [measure(errors_of([value])) for value in (1.0, 2.0, 300.0)]
    assert summarise(pairs).median == 2.0


def test_pck_alpha_is_relative_to_the_longer_side():
    metrics = measure(errors_of([9.0, 11.0], side=200))
    assert dict(zip(ALPHAS, metrics.pck_alpha, strict=True)) == {0.05: 0.5, 0.1: 1.0}


def test_mean_of_groups_weighs_them_alike():
    one = summarise([measure(errors_of([2.0]))])
    other = summarise([measure(errors_of([4.0])), measure(errors_of([8.0]))])
    mean = mean_of([one, other])
    assert (mean.pairs, mean.aepe) == (3, 4.0)
