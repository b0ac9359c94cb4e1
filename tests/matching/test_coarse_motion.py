"""The global motion from coarse similarities: known matches give known transforms."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from glualign.geometry import apply_transform, rotation_scale_matrix
from glualign.images import Image
from glualign.matching.coarse_motion import find_coarse_motion, fit_motion, mutual_matches, significance
from glualign.matching.pair import PairMatcher, match_pairs, prepare_images
from glualign.matching.predictor import FlowPredictor
from glualign.network import GLUNet
from tests.matching.known_pairs import example, warp_homography
from tests.networks import tiny_config

CELLS = np.stack(np.meshgrid(np.arange(16.0), np.arange(16.0)), axis=-1).reshape(-1, 2)
CENTRES = (CELLS + 0.5) * 16 - 0.5


def similarity(transform: np.ndarray) -> np.ndarray:
    """Of cells whose likeness falls with the distance from where the transform puts a target cell."""
    goal = apply_transform(transform, CENTRES)
    distance = np.linalg.norm(CENTRES[:, None] - goal[None], axis=2)
    return np.exp(-((distance / 16) ** 2)).astype(np.float32)


def test_mutual_matches_lie_between_cells() -> None:
    shift = np.array([[1.0, 0, 20], [0, 1, -9], [0, 0, 1]])
    target, source = mutual_matches(similarity(shift))
    goal = target + np.array([20, -9])
    inner = ((goal > 24) & (goal < 230)).all(axis=1)
    assert inner.sum() > 100
    assert np.abs((source - goal)[inner]).max() < 6


def test_an_affine_map_is_found_among_wrong_matches() -> None:
    truth = np.array([[1.1, 0.2, -20], [-0.1, 0.9, 15], [0, 0, 1]])
    rng = np.random.default_rng(0)
    target = rng.uniform(0, 255, (300, 2))
    source = apply_transform(truth, target) + rng.normal(0, 1.5, (300, 2))
    source[:120] = rng.uniform(0, 255, (120, 2))
    found, agreed = fit_motion(target, source)
    assert found is not None
    assert 170 <= agreed <= 205
    corners = np.array([[0, 0], [255, 0], [255, 255], [0, 255.0]])
    assert np.abs(apply_transform(found, corners) - apply_transform(truth, corners)).max() < 4


def test_few_or_unrelated_matches_support_nothing() -> None:
    rng = np.random.default_rng(1)
    assert fit_motion(rng.uniform(0, 255, (5, 2)), rng.uniform(0, 255, (5, 2))) == (None, 0.0)
    _, agreed = fit_motion(rng.uniform(0, 255, (200, 2)), rng.uniform(0, 255, (200, 2)))
    assert significance(agreed, 256) < 3


def test_most_of_a_small_part_says_more_than_a_little_of_the_whole() -> None:
    assert significance(25.6, 256) == 0
    assert significance(30, 60) == pytest.approx(60 * (0.5 * np.log(5) + 0.5 * np.log(0.5 / 0.9)))
    assert significance(30, 60) > 2 * significance(40, 256) > 0
    assert significance(256, 256) == pytest.approx(256 * np.log(10))


@pytest.mark.parametrize(("degrees", "scale"), [(180, 1.0), (40, 1.0), (0, 2.0)])
def test_the_shipped_network_finds_a_turned_photograph(
    compact: FlowPredictor, degrees: float, scale: float
) -> None:
    wall = cv2.resize(example("graf1.png"), (320, 256), interpolation=cv2.INTER_AREA)
    matrix = rotation_scale_matrix((256, 320), (256, 320), degrees=degrees, scale=scale)
    target = prepare_images(compact, [Image(warp_homography(wall, matrix, (256, 320)))], max_side=None)[0]
    found = find_coarse_motion(PairMatcher(compact, Image(wall), target)).transform
    assert found is not None
    middle = np.array([[110.0, 90], [210, 90], [210, 170], [110, 170]])
    moved = apply_transform(found, middle) - apply_transform(matrix, middle)
    # What is left of the motion is small enough for the decoders.
    assert np.abs(moved).max() < 25


def test_the_match_takes_the_features_that_the_coarse_motion_was_scored_by(compact: FlowPredictor) -> None:
    wall = example("graf1.png", 320)
    [target] = prepare_images(compact, [Image(wall)], max_side=None)
    calls: list[int] = []
    hook = compact.network.backbone.register_forward_hook(lambda *_: calls.append(1))
    try:
        pair = PairMatcher(compact, Image(wall), target)
        [found] = match_pairs([pair], [find_coarse_motion(pair)])
    finally:
        hook.remove()
    assert len(calls) == 1  # of the source as it is
    assert np.abs(found.forward).mean() < 0.5
    again = pair.match_transformed(pair.to_source)
    assert np.abs(found.forward - again.forward).mean() < 0.5


def test_a_source_of_which_next_to_nothing_counts_has_features_like_any_other(compact: FlowPredictor) -> None:
    """Without them, all pairs of a batch would get other ones than alone."""
    wall = example("graf1.png", 320)
    [target] = prepare_images(compact, [Image(wall)], max_side=None)
    counted = np.zeros(wall.shape[:2], np.uint8)
    counted[100:115, 100:115] = 255
    pair = PairMatcher(compact, Image(wall).ignore(Image(counted)), target)
    found = find_coarse_motion(pair, search=False)
    assert found.transform is None
    assert found.level4 is not None
    assert found.level4.shape == target.features.coarse.level4.shape


def test_hyper_columns_are_those_of_the_warped_source_after_a_search() -> None:
    """Level 3 of a semantic network holds level 4, too, so the search's level 4 alone is not enough."""
    torch.manual_seed(0)
    config = tiny_config(semantic=True, decoder="dense", upsampling="transposed")
    predictor = FlowPredictor(GLUNet(config), device=torch.device("cpu"), dtype=torch.float32)
    wall = example("graf1.png", 320)
    [target] = prepare_images(predictor, [Image(wall)], max_side=None)
    pair = PairMatcher(predictor, Image(wall), target)
    motion = find_coarse_motion(pair)
    [found] = match_pairs([pair], [motion])
    again = pair.match_transformed(pair.to_source if motion.transform is None else motion.transform)
    np.testing.assert_array_equal(found.forward, again.forward)


@pytest.mark.parametrize(("degrees", "scale"), [(-59.7, 2.45), (-60.5, 2.49), (-59.1, 2.53)])
def test_cells_of_twice_the_size_find_a_part_of_a_scene_in_its_negative(
    compact: FlowPredictor, degrees: float, scale: float
) -> None:
    """With 16 x 16 cells alone, a motion that is 100 px off is as likely."""
    scene = example("basketball1.png")
    matrix = rotation_scale_matrix((256, 320), scene.shape[:2], degrees=degrees, scale=scale)
    shown = 255 - cv2.GaussianBlur(warp_homography(scene, matrix, (256, 320)), (0, 0), 1.2)
    [target] = prepare_images(compact, [Image(shown)], max_side=None)
    found = find_coarse_motion(PairMatcher(compact, Image(scene), target)).transform
    assert found is not None
    middle = np.array([[110.0, 90], [210, 90], [210, 170], [110, 170]])
    back = apply_transform(np.linalg.inv(matrix), apply_transform(found, middle)) - middle
    assert np.abs(back).max() < 15
