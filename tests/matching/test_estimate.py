"""The global motion that a match supports, and the choice between matches."""

import numpy as np
import pytest

from glualign.geometry import rotation_scale_matrix
from glualign.matching.estimate import best_hypothesis, fit_global_motion
from glualign.matching.options import AlignOptions
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
    result = pair.result(pair.to_source, flow, -flow)
    result.error[:] = 0
    assert fit_global_motion(result) is None


def test_a_motion_that_the_match_sees_only_in_part_is_continued_by_the_global_one(wall):
    """Motion grows with the distance from the centre, so a short reach covers the middle first."""
    source, target, truth = turned(wall, 25)
    pair = known_pair(source, target, truth, reach=40)
    edges, first = EdgeSimilarity(pair), pair.match_transformed(pair.to_source)
    assert first.consistency < 0.5
    alone = best_hypothesis(edges, AlignOptions(search=False, fuse_global_motion=False), first)
    assert alone.result is first
    found = best_hypothesis(edges, AlignOptions(), first)
    assert distance(pair, found.result.transform, truth) < 1.0
    assert found.measured.similarity.total > 0.6


def test_a_first_match_whose_edges_agree_is_not_followed_by_another(wall):
    pair = known_pair(wall, warp_homography(wall, GENTLE, wall.shape[:2]), GENTLE)
    first = pair.match_transformed(np.asarray(GENTLE @ np.linalg.inv(pair.from_target)))
    pair.match_transformed = None
    found = best_hypothesis(EdgeSimilarity(pair), AlignOptions(), first)
    assert distance(pair, found.result.transform, GENTLE) < 0.5


def test_key_points_find_what_the_first_match_does_not_where_a_search_is_wanted(wall):
    source, target, truth = turned(wall, 120, scale=1.3)
    pair = known_pair(source, target, truth, reach=3)
    edges, first = EdgeSimilarity(pair), pair.match_transformed(pair.to_source)
    lost = best_hypothesis(edges, AlignOptions(search=False), first)
    assert lost.measured.similarity.total < 0.25
    found = best_hypothesis(edges, AlignOptions(), first)
    assert distance(pair, found.result.transform, truth) < 1.0
    assert found.measured.similarity.total > 0.6
