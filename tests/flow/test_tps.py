"""Fitting a thin-plate spline: recovered through gross errors, an affine map exactly, or refused."""

import numpy as np
import pytest

from glualign.errors import FlowError
from glualign.flow import Flow, fit_tps, from_transform
from tests.flow.fields import similarity

SIZE = (120, 160)
AFFINE = np.array([[1.1, 0.1, -12], [-0.05, 0.9, 9], [0, 0, 1]])


def bent():
    """The flow of a spline on the 6 x 6 lattice of the fit: several pixels beside an affine map."""
    generator = np.random.default_rng(0)
    height, width = SIZE
    columns, rows = np.meshgrid(np.linspace(0, width - 1, 6), np.linspace(0, height - 1, 6))
    controls = np.stack([columns.ravel(), rows.ravel()], axis=-1)
    free = np.linalg.qr(np.column_stack([np.ones(36), controls]), mode="complete")[0][:, 3:]
    rows, columns = np.mgrid[:height, :width]
    squared = (columns[..., None] - controls[:, 0]) ** 2 + (rows[..., None] - controls[:, 1]) ** 2
    kernel = squared / 80**2 * np.log(np.maximum(squared / 80**2, 1e-300))
    bending = kernel @ free @ generator.normal(0, 1, (33, 2))
    return (from_transform(AFFINE, SIZE).data + bending).astype(np.float32)


def errors(fitted, truth):
    return np.linalg.norm(fitted.data - truth, axis=-1)


@pytest.fixture(scope="module")
def truth():
    flow = bent()
    away = flow - from_transform(AFFINE, SIZE).data
    assert 3 < np.linalg.norm(away, axis=-1).max() < 40, "the test needs a real bend"
    return flow


def test_recovered_through_a_fifth_of_gross_errors(truth):
    generator = np.random.default_rng(1)
    data = truth + generator.normal(0, 0.3, truth.shape).astype(np.float32)
    wrong = generator.random(SIZE) < 0.2
    data[wrong] = generator.uniform(-60, 60, (wrong.sum(), 2))
    fitted, inlier_share = fit_tps(Flow(data))
    assert errors(fitted, truth).mean() < 0.1
    assert np.percentile(errors(fitted, truth), 99) < 0.2
    assert inlier_share == pytest.approx(0.8, abs=0.02)


def test_a_region_that_moves_on_its_own_does_not_bend_the_spline(truth):
    data = truth.copy()
    data[30:90, 40:100] += (25, -18)  # 19 % of the frame
    fitted, inlier_share = fit_tps(Flow(data))
    assert errors(fitted, truth).mean() < 0.2
    assert inlier_share == pytest.approx(0.81, abs=0.02)


def test_an_affine_flow_is_reproduced_exactly():
    flow = from_transform(AFFINE, SIZE)
    fitted, inlier_share = fit_tps(flow)
    np.testing.assert_allclose(fitted.data, flow.data, atol=1e-4)
    assert inlier_share == 1


def test_unknown_parts_continue_smoothly():
    flow = from_transform(AFFINE, SIZE)
    data = flow.data.copy()
    data[:, 60:] = np.nan
    found, _ = fit_tps(Flow(data, (50, 70)))
    assert found.known.all()
    assert found.source_size == (50, 70)
    np.testing.assert_allclose(found.data, flow.data, atol=0.01)


def test_evaluation_in_parts_changes_nothing(truth, monkeypatch):
    whole, _ = fit_tps(Flow(truth))
    monkeypatch.setattr("glualign.flow.tps._CHUNK", 36 * 160 * 7)
    np.testing.assert_allclose(fit_tps(Flow(truth))[0].data, whole.data, atol=1e-5)


def test_spline_weights_decide_whom_to_believe():
    data = from_transform(similarity(0, 1, (7.25, -3.5)), SIZE).data.copy()
    data[:80] = (40, 40)  # the majority
    mask = np.zeros(SIZE, bool)
    mask[80:] = True
    assert fit_tps(Flow(data), mask)[0].data[100, 80] == pytest.approx([7.25, -3.5], abs=0.01)


def test_equal_flows_give_equal_splines(truth):
    first, second = (fit_tps(Flow(truth))[0] for _ in range(2))
    np.testing.assert_array_equal(first.data, second.data)


def test_too_few_points_are_refused():
    data = np.full((*SIZE, 2), np.nan, np.float32)
    data[::40, ::20] = 1
    with pytest.raises(FlowError, match="36 control points needs 36 known pixels; got 24"):
        fit_tps(Flow(data))


def test_points_on_a_line_are_refused():
    data = np.full((*SIZE, 2), np.nan, np.float32)
    data[60] = 1
    with pytest.raises(FlowError, match="on a line"):
        fit_tps(Flow(data))


def test_a_flow_that_collapses_the_picture_is_refused():
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    with pytest.raises(FlowError, match="changes the scale more than 50"):
        fit_tps(Flow(np.stack([-columns, -rows], axis=-1).astype(np.float32)))
