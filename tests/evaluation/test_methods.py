import numpy as np

from glualign.evaluation.methods import flow_allowing_mirror, mirrored, unmirrored
from tests.evaluation.fakes import texture


def coarse_for(favourite):
    """A coarse matcher whose horizontal motion is small only for pairs that ``favourite`` likes."""

    def coarse(source, target):
        return np.full((16, 16, 2), 1.0 if favourite(source, target) else 9.0, np.float32)

    return coarse


def target_is_mirrored(coarse, source, target):
    """Whether the full flow is asked for the mirrored target."""
    asked = []

    def full(first, second):
        asked.append(second)
        return np.zeros((*second.shape[:2], 2), np.float32)

    flow_allowing_mirror(coarse, full, source, target)
    return is_same(asked[0], mirrored(target))


def is_same(first, second):
    return first.shape == second.shape and (first == second).all()


def test_a_mirrored_pair_is_recognised_and_its_flow_is_put_on_the_original_grid():
    source = texture(30, 40)
    target = mirrored(source)
    coarse = coarse_for(is_same)  # motion vanishes where both images are alike
    assert target_is_mirrored(coarse, source, target)
    flow = flow_allowing_mirror(coarse, lambda s, t: np.zeros((*t.shape[:2], 2), np.float32), source, target)
    # target pixel x shows source pixel 39 - x
    columns = np.arange(40)
    np.testing.assert_allclose(columns + flow[0, :, 0], 39 - columns)
    assert not flow[..., 1].any()


def test_a_plain_pair_is_left_alone():
    source = texture(30, 40)
    coarse = coarse_for(is_same)
    assert not target_is_mirrored(coarse, source, source.copy())
    flow = np.full((30, 40, 2), 3.0, np.float32)
    assert flow_allowing_mirror(coarse, lambda s, t: flow, source, source.copy()) is flow


def test_the_mirror_must_win_in_both_directions():
    source, target = texture(20, 20, 1), texture(20, 20, 2)
    # Only source -> mirrored target looks good; the exchanged pair does not.
    coarse = coarse_for(lambda s, t: is_same(s, source) and is_same(t, mirrored(target)))
    assert not target_is_mirrored(coarse, source, target)


def test_a_tie_stays_unmirrored():
    source, target = texture(20, 20, 1), texture(20, 20, 2)
    assert not target_is_mirrored(coarse_for(lambda s, t: True), source, target)


def test_unmirroring_twice_is_the_identity():
    flow = np.random.default_rng(0).normal(size=(6, 7, 2)).astype(np.float32)
    np.testing.assert_allclose(unmirrored(unmirrored(flow)), flow, atol=1e-5)
