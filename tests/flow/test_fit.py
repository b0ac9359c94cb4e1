"""Fitting one matrix: recovered through noise and gross errors, refused where there is none."""

import numpy as np
import pytest

from glualign.errors import FlowError
from glualign.flow import Flow, fit_transform, from_transform
from tests.flow.fields import similarity, smooth_flow

SIZE = (120, 160)
HOMOGRAPHY = np.array([[1.08, 0.06, -12], [-0.04, 0.96, 9], [3e-4, 2e-4, 1]])
TRUTH = {
    "homography": HOMOGRAPHY,
    "affine": np.array([[1.1, 0.1, -12], [-0.05, 0.9, 9], [0, 0, 1]]),
    "similarity": similarity(25, 1.2, (-10, 14)),
    "translation": similarity(0, 1, (7.25, -3.5)),
}


def disturbed(matrix, share=0.35, noise=0.3, seed=0):
    generator = np.random.default_rng(seed)
    data = from_transform(matrix, SIZE).data + generator.normal(0, noise, (*SIZE, 2))
    rows = int(SIZE[0] * share)
    data[:rows] = generator.uniform(-60, 60, (rows, SIZE[1], 2))
    return Flow(data)


@pytest.mark.parametrize("model", TRUTH)
def test_recovered_through_a_third_of_gross_errors(model):
    fit = fit_transform(disturbed(TRUTH[model]), model)
    difference = from_transform(fit.matrix, SIZE).data - from_transform(TRUTH[model], SIZE).data
    assert np.abs(difference).max() < 0.3
    assert fit.inlier_share == pytest.approx(0.65, abs=0.02)
    assert fit.matrix[2, 2] == 1


@pytest.mark.parametrize("model", TRUTH)
def test_equal_flows_give_equal_matrices(model):
    flow = disturbed(TRUTH[model])
    first, second = (fit_transform(flow, model).matrix for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_weights_decide_whom_to_believe():
    data = from_transform(TRUTH["translation"], SIZE).data.copy()
    data[:80] = (40, 40)  # the majority
    mask = np.zeros(SIZE, bool)
    mask[80:] = True
    assert fit_transform(Flow(data), "translation").matrix[0, 2] == pytest.approx(40)
    assert fit_transform(Flow(data), "translation", mask).matrix[0, 2] == pytest.approx(7.25)
    with pytest.raises(FlowError, match="weights"):
        fit_transform(Flow(data), "translation", mask[:-1])


def test_unknown_pixels_are_left_out():
    data = disturbed(TRUTH["affine"], share=0).data.copy()
    data[::2] = np.nan
    fit = fit_transform(Flow(data), "affine")
    assert np.abs(fit.matrix - TRUTH["affine"]).max() < 0.2


def test_too_few_points():
    data = np.full((*SIZE, 2), np.nan)
    data[0, 0] = 1
    with pytest.raises(FlowError, match="1 points do not determine the homography, which needs 4"):
        fit_transform(Flow(data))
    assert fit_transform(Flow(data), "translation").matrix[0, 2] == pytest.approx(1)
    with pytest.raises(FlowError, match="not one of homography"):
        fit_transform(smooth_flow(), "spline")


@pytest.mark.parametrize("model", ["homography", "affine", "similarity"])
def test_a_collapsed_flow_has_no_transform(model):
    # Every target pixel shows the same source pixel.
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    with pytest.raises(FlowError, match=f"no (real )?{model}"):
        fit_transform(Flow(np.stack([50 - x, 50 - y], axis=-1)), model)


def test_large_scale_is_refused():
    with pytest.raises(FlowError, match="changes the scale more than 50 times"):
        fit_transform(from_transform(similarity(0, 80, (0, 0)), SIZE), "similarity")


@pytest.mark.parametrize("share", [1.0, 0.001])
def test_a_large_flow_is_fitted_by_a_sample_of_its_pixels(share):
    """Also where hardly any pixel has a weight."""
    matrix = np.array([[1.01, 0.02, 5.0], [-0.01, 0.99, -3.0], [0, 0, 1]])
    flow = from_transform(matrix, (1100, 1300))
    weights = (np.random.default_rng(0).random(flow.size) < share).astype(np.float32)
    found = fit_transform(flow, "affine", weights)
    np.testing.assert_allclose(found.matrix, matrix, atol=1e-3)
    assert found.inlier_share == 1


def test_a_reflection_has_a_homography():
    matrix = np.array([[-0.9, 0.05, 140.0], [0.02, 1.1, -3.0], [1e-4, -2e-4, 1.0]])
    found = fit_transform(from_transform(matrix, (120, 160)), "homography")
    np.testing.assert_allclose(found.matrix, matrix, atol=1e-3)
    assert found.inlier_share > 0.99
