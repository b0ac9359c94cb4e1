"""Global motion: hypotheses, coarse to fine over transforms, and the choice between them."""

import numpy as np
import pytest

from glualign.geometry import rotation_scale_matrix
from glualign.images import Image
from glualign.matching import global_motion
from glualign.matching.estimate import estimate
from glualign.matching.global_motion import (
    fit_global_motion,
    search_rotation_scale,
    start_transforms,
    undo_global_motion,
)
from glualign.matching.options import AlignOptions
from glualign.matching.pair import PairMatcher, match_result, prepare_images
from glualign.matching.similarity import EdgeSimilarity
from tests.matching.known_pairs import example, known_pair, pair_without_network, true_flow, warp_homography

GENTLE = np.array([[0.97, 0.05, 8.0], [-0.03, 1.02, 3.0], [2e-5, -1e-5, 1.0]])


@pytest.fixture(scope="module")
def wall():
    return example("graf1.png", 384)


def turned(wall, degrees, scale=1.0, mirror=False):
    """The wall and what it looks like turned: source, target and the true transform."""
    size = wall.shape[:2]
    matrix = rotation_scale_matrix(size, size, degrees=degrees, scale=scale, mirror=mirror)
    return wall, warp_homography(wall, matrix, size), matrix


def distance(pair, transform, truth):
    """Mean distance, in source pixels, of a transform (working -> source) from the true one of the target."""
    full = np.asarray(transform @ pair.from_target)
    return np.nanmean(
        np.linalg.norm(true_flow(full, pair.target_size) - true_flow(truth, pair.target_size), axis=2)
    )


@pytest.mark.parametrize("truth", [GENTLE, np.diag([1.1, 0.9, 1.0])], ids=["homography", "affine"])
def test_the_transform_of_a_true_match_is_the_truth(wall, truth):
    pair = known_pair(wall, warp_homography(wall, truth, wall.shape[:2]), truth)
    found = fit_global_motion(pair.match_transformed(pair.to_source))
    assert distance(pair, found, truth) < 0.05


def test_a_match_without_consistent_cells_supports_no_transform(wall):
    pair = known_pair(wall, wall, np.eye(3), reach=-1.0)
    assert fit_global_motion(pair.match_transformed(pair.to_source)) is None


def test_cells_that_agree_on_no_motion_support_no_transform(wall):
    """Every cell's way back leads home, but each moves on its own."""
    pair = pair_without_network(wall, wall)
    size = (pair.working[0] // 4, pair.working[1] // 4)
    flow = np.random.default_rng(0).uniform(-60, 60, (*size, 2)).astype(np.float32)
    result = match_result(pair.to_source, flow, -flow, working=pair.working)
    result.error[:] = 0
    assert fit_global_motion(result) is None


def test_steps_reach_a_motion_that_one_match_sees_only_in_part(wall):
    """Motion grows with the distance from the centre, so a short reach covers the middle first."""
    source, target, truth = turned(wall, 25)
    pair = known_pair(source, target, truth, reach=40)
    first = pair.match_transformed(pair.to_source)
    assert first.consistency < 0.5
    best = undo_global_motion(pair, first, 3)
    assert best.consistency > 0.7
    assert distance(pair, best.transform, truth) < 1.0


def test_steps_stop_where_nothing_is_gained(wall):
    pair = known_pair(wall, wall, np.eye(3))
    first = pair.match_transformed(pair.to_source)
    assert undo_global_motion(pair, first, 3) is first


def test_the_first_start_is_what_key_points_say_and_then_the_search_begins(wall, monkeypatch):
    source, target, truth = turned(wall, 70, scale=1.3)
    pair = pair_without_network(source, target)
    monkeypatch.setattr(global_motion, "search_rotation_scale", lambda pair, mirror: [np.eye(3)] * 5)
    (first, rough), *others = start_transforms(pair, mirror=False)
    assert distance(pair, first, truth) < 1.0
    assert not rough
    assert [flag for _, flag in others] == [True, True]


@pytest.mark.parametrize(
    ("degrees", "scale", "mirror"), [(90, 1.0, False), (180, 2.0, False), (0, 1.0, True)]
)
def test_the_best_rotation_scale_hypothesis_is_the_true_one(wall, compact, degrees, scale, mirror):
    source, target, truth = turned(wall, degrees, scale, mirror)
    prepared = prepare_images(compact, [Image(target)], max_side=None)[0]
    pair = PairMatcher(compact, source, prepared)
    assert distance(pair, search_rotation_scale(pair, mirror=mirror)[0], truth) < 12


def test_estimate_finds_a_large_motion_and_the_presets_decide_whether(wall):
    source, target, truth = turned(wall, 120)
    pair = known_pair(source, target, truth, reach=30)
    edges, first = EdgeSimilarity(pair), pair.match_transformed(pair.to_source)
    lost = estimate(
        pair, edges, AlignOptions(global_motion_steps=0, search="off", fuse_global_motion=False), first
    )
    assert lost.result is first
    found = estimate(pair, edges, AlignOptions(), first)
    assert distance(pair, found.result.transform, truth) < 1.0
    assert found.similarity > 0.6


def test_estimate_asks_for_no_more_where_the_first_match_convinces(wall):
    pair = known_pair(wall, warp_homography(wall, GENTLE, wall.shape[:2]), GENTLE)
    first = pair.match_transformed(pair.to_source)
    asked = []
    pair.match_transformed = lambda transform: (
        asked.append(1) or type(pair).match_transformed(pair, transform)
    )
    estimate(pair, EdgeSimilarity(pair), AlignOptions(global_motion_steps=0), first)
    assert not asked
