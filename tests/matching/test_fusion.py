"""Fusion: a free flow against the global motion alone, on a wall moved sideways."""

import cv2
import numpy as np
import pytest

from glualign.matching.estimate import FLAT_SCENE_ADVANTAGE, fuse
from glualign.matching.similarity import EdgeSimilarity
from tests.matching.known_pairs import example, pair_without_network

SHIFT = 24


@pytest.fixture(scope="module")
def shifted():
    """A wall, moved sideways: the pair and its edge similarity."""
    wall = example("graf1.png", 384)
    pair = pair_without_network(np.roll(wall, SHIFT, axis=1), wall)
    return pair, EdgeSimilarity(pair)


def found(pair, transform, shift, backward=None):
    """A match under that transform whose flow is ``shift`` working pixels to the right."""
    flow = np.zeros((pair.working[0] // 4, pair.working[1] // 4, 2), np.float32)
    flow[..., 0] = shift
    return pair.result(transform, flow, -flow if backward is None else backward)


def moved(pair):
    """The transform that undoes the shift."""
    transform = pair.to_source.copy()
    transform[0, 2] += SHIFT
    return transform


def test_a_motion_that_explains_the_scene_scores_above_a_flow_that_does_as_well(shifted):
    pair, edges = shifted
    free = fuse(found(pair, pair.to_source, SHIFT * pair.working[1] / pair.target_size[1]), edges)
    bare = fuse(found(pair, moved(pair), 0.0), edges)
    slack = FLAT_SCENE_ADVANTAGE * (1 - free.measured.similarity.total) / 2
    assert bare.measured.similarity.total == pytest.approx(free.measured.similarity.total, abs=slack)
    assert free.score == free.measured.similarity.total
    assert bare.score == pytest.approx(
        bare.measured.similarity.total + FLAT_SCENE_ADVANTAGE * (1 - bare.measured.similarity.total)
    )
    assert bare.score > free.score


def test_without_fusion_the_global_motion_is_no_alternative(shifted):
    pair, edges = shifted
    fused = fuse(found(pair, moved(pair), 0.0), edges, global_motion=False)
    assert fused.score == fused.measured.similarity.total


def test_a_flow_that_wanders_gives_way_to_the_motion_alone(shifted):
    """Both directions agree on 12 px too far, but the edges do not."""
    pair, edges = shifted
    fused = fuse(found(pair, moved(pair), 12.0), edges)
    assert np.abs(fused.measured.flow).mean() < 1.5
    assert fused.measured.similarity.total > 0.6


def test_edges_that_tell_nothing_leave_the_flow_as_it_is(shifted, monkeypatch):
    pair, edges = shifted
    result = found(pair, moved(pair), 12.0)
    monkeypatch.setattr("glualign.matching.estimate.LEAST_OF_EITHER", 1.01)
    assert fuse(result, edges).measured.flow is result.forward


def test_a_flow_that_both_directions_and_the_edges_confirm_stays(shifted):
    pair, edges = shifted
    shift = SHIFT * pair.working[1] / pair.target_size[1]
    fused = fuse(found(pair, pair.to_source, shift), edges)
    # The frame's border leaves the source, and is averaged in.
    assert np.median(fused.measured.flow[..., 0]) > 0.9 * shift


def test_a_small_motion_stays_where_the_global_one_does_not_explain_the_scene():
    """A third of the wall moves by 12 px, the rest by half a pixel, which edges cannot tell from none."""
    target = example("graf1.png", 384)
    source = target.copy()
    source[:, 256:] = np.roll(target, 12, axis=1)[:, 256:]
    pair = pair_without_network(source, target)
    flow = np.full((pair.working[0] // 4, pair.working[1] // 4, 2), (0.5, 0), np.float32)
    flow[:, 64:, 0] = 12
    result = pair.result(pair.to_source, flow, -flow)
    fused = fuse(result, EdgeSimilarity(pair))
    assert np.median(fused.measured.flow[:, :50, 0]) > 0.4
    assert np.median(fused.measured.flow[:, 74:-8, 0]) > 10


def test_in_a_smooth_picture_a_little_more_similarity_is_enough():
    """Edges of soft blobs are nearly as similar without the motion as with it."""
    noise = np.random.default_rng(0).uniform(0, 255, (288, 400)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 16)
    soft = np.dstack([cv2.normalize(soft, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)] * 3)
    pair = pair_without_network(np.ascontiguousarray(soft[:, :384]), np.ascontiguousarray(soft[:, 3:387]))
    edges, result = EdgeSimilarity(pair), found(pair, pair.to_source, 3.0)
    assert edges.compare(pair.to_source).total > 0.9
    assert np.median(fuse(result, edges).measured.flow[:, 8:-8, 0]) > 2


def test_a_motion_alone_is_as_good_as_the_way_back_says(shifted):
    """Where both directions confirm the motion the expected error is theirs, else that of the edges."""
    pair, edges = shifted
    sure = fuse(found(pair, moved(pair), 0.0), edges)
    assert np.median(sure.measured.error) < 0.05
    away = np.full((*sure.measured.flow.shape[:2], 2), 30, np.float32)
    unsure = fuse(found(pair, moved(pair), 0.0, backward=away), edges)
    assert 1.0 <= np.median(unsure.measured.error) < 3.0
