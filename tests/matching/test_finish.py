"""From a hypothesis to the result: flow of every pixel, figures of the flow that is returned, the verdict."""

import json

import numpy as np
import pytest

from glualign.files import json_values
from glualign.geometry import resize_flow
from glualign.matching.assess import Figures, confidence_of, error_of, verdict_on
from glualign.matching.estimate import fuse
from glualign.matching.finish import finish
from glualign.matching.refinement import refine
from glualign.matching.similarity import EdgeSimilarity
from tests.matching.known_pairs import end_point_errors, example, known_pair, true_flow, warp_homography

GENTLE = np.array([[0.97, 0.05, 8.0], [-0.03, 1.02, 3.0], [2e-5, -1e-5, 1.0]])


@pytest.fixture(scope="module")
def wall():
    return example("graf1.png", 384)


def finished(wall, *, shift=(0.0, 0.0), returned=(0.0, 0.0), transform="dense", truth=GENTLE, refined=False):
    """The result of a pair whose flows err by ``shift`` and, on the way back, ``returned`` working pixels."""
    pair = known_pair(wall, warp_homography(wall, truth, wall.shape[:2]), truth)
    result = pair.match_transformed(pair.to_source)
    result.forward[:] += np.float32(shift)
    result.backward[:] += np.float32(returned)
    edges = EdgeSimilarity(pair)
    best = fuse(result, edges, global_motion=False)
    return finish(best, (refined and refine(best)) or best.measured, transform)


def test_a_true_match_becomes_the_true_flow_of_every_pixel(wall):
    found = finished(wall)
    assert end_point_errors(found.flow.data, GENTLE, wall.shape[:2]).max() < 0.1
    assert found.quality.verdict == "good"
    assert found.quality.median_error < 0.05
    assert found.trusted[20:-20, 20:-20].all()


def test_equal_images_are_where_they_are_for_certain(wall):
    """The flow of the match misses by 0.3 px; equal pixels need no match."""
    found = finished(wall, shift=(0.3, 0.0), truth=np.eye(3))
    assert not found.flow.data.any()
    assert (found.confidence == 1).all()
    assert found.quality.verdict == "good"


def test_the_median_error_is_that_of_going_there_and_back(wall):
    """The way there is right, the way back misses by (3, 4) working pixels."""
    found = finished(wall, returned=(3.0, 4.0))
    unit = max(wall.shape[:2]) / 384
    assert found.quality.median_error == pytest.approx(5 * unit, rel=0.02)


def test_the_figures_after_a_transform_are_those_of_the_transform(wall):
    """The flow is right: what is measured is the way back of the transform, not of the flow."""
    found = finished(wall, transform="homography")
    np.testing.assert_allclose(true_flow(found.transform, wall.shape[:2]), found.flow.data, atol=1e-3)
    assert found.quality.median_error < 0.2
    wrong = finished(wall, transform="translation")
    miss = np.median(end_point_errors(wrong.flow.data, GENTLE, wall.shape[:2]))
    assert miss > 3
    assert wrong.quality.median_error == pytest.approx(miss, rel=0.2)
    assert np.median(wrong.confidence) < 0.6 < np.median(found.confidence)


def test_a_flow_whose_way_back_is_nowhere_has_no_median_error(wall):
    found = finished(wall, shift=(1e6, 1e6))
    assert found.quality.median_error is None
    assert found.quality.verdict == "failed"
    assert not found.trusted.any()
    assert found.quality.valid_share == 0


def test_refinement_takes_a_flow_half_a_pixel_off_to_the_truth(wall):
    before, after = (finished(wall, shift=(0.6, -0.4), refined=refined) for refined in (False, True))
    coarse, fine = (
        np.median(end_point_errors(each.flow.data, GENTLE, wall.shape[:2])) for each in (before, after)
    )
    assert coarse > 0.6
    assert fine < 0.15
    assert after.quality.median_error < 0.2
    assert after.quality.edge_similarity > before.quality.edge_similarity + 0.01


def test_refinement_leaves_unlike_images_alone(wall):
    pair = known_pair(example("leuvenA.jpg", 384)[: wall.shape[0]], wall, np.eye(3))
    best = fuse(pair.match_transformed(pair.to_source), EdgeSimilarity(pair), global_motion=False)
    assert refine(best) is None


@pytest.mark.parametrize(
    ("trusted_share", "consistency", "similarity", "content", "verdict"),
    [
        (0.019, 0.9, 0.9, None, "failed"),  # hardly a pixel is left
        (0.02, 0.9, 0.9, None, "good"),
        (0.9, 0.41, 0.11, None, "doubtful"),  # the network agrees with itself alone
        (0.9, 0.41, 0.13, None, "good"),  # and weak edges, as across modalities
        (0.9, 0.39, 0.13, None, "doubtful"),
        (0.9, 0.0, 0.39, None, "doubtful"),
        (0.9, 0.0, 0.41, None, "good"),  # edges alone
        (0.9, 0.9, 0.96, 0.17, "doubtful"),  # and nothing else
        (0.9, 0.9, 0.96, 0.19, "good"),
        (0.9, 0.41, 0.13, 0.05, "good"),  # across modalities the rest need not agree
    ],
)
def test_the_verdict_follows_its_thresholds(trusted_share, consistency, similarity, content, verdict):
    figures = Figures(None, consistency, similarity, content, None, "dense")
    assert verdict_on(trusted_share, figures) == verdict


@pytest.mark.parametrize(
    ("source", "verdict"), [("related", "good"), ("inverted", "good"), ("unrelated", "failed")]
)
def test_the_verdict_on_real_images_under_a_true_and_a_useless_match(wall, source, verdict):
    """Every cell of the unrelated pair answers with noise."""
    target = warp_homography(wall, GENTLE, wall.shape[:2])
    images = {"related": wall, "inverted": 255 - wall, "unrelated": example("aloeL.jpg", 384)}
    reach = -1.0 if source == "unrelated" else 1e9
    pair = known_pair(images[source], target, GENTLE, reach=reach)
    edges = EdgeSimilarity(pair)
    best = fuse(pair.match_transformed(pair.to_source), edges)
    found = finish(best, best.measured)
    assert found.quality.verdict == verdict
    assert found.trusted.any() == (verdict != "failed")


def test_refinement_leaves_what_does_not_look_alike(wall):
    """The right half shows another thing in the source: the flow there stays, that of the left is refined."""
    moved = warp_homography(wall, GENTLE, wall.shape[:2])
    middle = wall.shape[1] // 2
    moved[:, middle:] = np.random.default_rng(0).integers(0, 256, moved[:, middle:].shape)
    pair = known_pair(wall, moved, GENTLE)
    result = pair.match_transformed(pair.to_source)
    result.forward[:] += np.float32((0.8, -0.6))
    best = fuse(result, EdgeSimilarity(pair), global_motion=False)
    refined = refine(best)
    before = resize_flow(best.measured.flow, refined.frame, frame=pair.working)
    change = np.linalg.norm(refined.flow - before, axis=2)
    columns = refined.frame[1]
    assert change[:, : columns // 3].mean() > 0.5
    assert change[:, columns * 2 // 3 :].mean() < 0.05


def test_confidence_falls_from_one():
    error = np.float32([0, 4, np.inf])
    np.testing.assert_allclose(confidence_of(error), [1, np.exp(-1), 0], atol=1e-6)
    np.testing.assert_allclose(error_of(confidence_of(error)), error)


def test_quality_is_plain_json(wall):
    assert json.loads(json.dumps(json_values(finished(wall).quality)))["motion"] == "dense"


@pytest.mark.parametrize(("total", "consistency"), [(0.11, 0.39), (0.13, 0.39), (0.11, 0.41)])
def test_nothing_is_trusted_where_neither_edges_nor_directions_agree(wall, monkeypatch, total, consistency):
    pair = known_pair(wall, warp_homography(wall, GENTLE, wall.shape[:2]), GENTLE)
    edges = EdgeSimilarity(pair)
    best = fuse(pair.match_transformed(pair.to_source), edges)
    monkeypatch.setattr("glualign.matching.similarity.Similarity.total", total)
    monkeypatch.setattr("glualign.matching.pair.MatchResult.consistency", consistency)
    found = finish(best, best.measured)
    unrelated = total < 0.12 and consistency < 0.4
    assert found.trusted.any() == (not unrelated)
    assert (found.quality.verdict == "failed") == unrelated
