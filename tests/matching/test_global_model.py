"""The simplest model that explains a pair: planes become exact, parallax and moving objects stay."""

import cv2
import numpy as np
import pytest

from glualign.geometry import apply_transform, pixel_grid
from glualign.matching.estimate import fuse
from glualign.matching.global_model import register, simplest_model
from glualign.matching.similarity import EdgeSimilarity
from tests.matching.known_pairs import example, pair_without_network, true_flow, warp_homography

TRUTHS = {
    "similarity": np.array([[1.08, -0.12, 9.0], [0.12, 1.08, -6.0], [0, 0, 1]]),
    "affine": np.array([[1.1, 0.15, -9.0], [-0.02, 0.9, 12.0], [0, 0, 1]]),
    "homography": np.array([[0.97, 0.05, 8.0], [-0.03, 1.02, 3.0], [2.5e-4, -1e-4, 1.0]]),
}


@pytest.fixture(scope="module")
def wall():
    return example("graf1.png", 384)


def chosen(source, target, flow):
    """The model for a pair whose flow, at the size of the images, is known; matched at 1/4."""
    pair = pair_without_network(source, target)
    cells = np.ascontiguousarray(flow[2::4, 2::4]).astype(np.float32)
    edges = EdgeSimilarity(pair)
    result = pair.result(pair.to_source, cells, np.zeros_like(cells))
    best = fuse(result, edges, global_motion=False)
    weights = np.ones(cells.shape[:2], np.float32)
    return simplest_model(best.measured, weights, best)


@pytest.mark.parametrize("model", list(TRUTHS))
def test_a_noisy_flow_of_a_flat_scene_is_explained_by_the_simplest_model_that_can(wall, model):
    size = (288, 384)
    source = np.ascontiguousarray(wall[: size[0], : size[1]])
    target = warp_homography(source, TRUTHS[model], size)
    noise = np.random.default_rng(0).normal(0, 0.5, (*size, 2))
    assert chosen(source, target, true_flow(TRUTHS[model], size) + noise)[0] == model


def test_a_flow_off_by_half_a_pixel_gives_an_exact_model(wall):
    """The model as fitted explains the pair already."""
    size = (288, 384)
    source = np.ascontiguousarray(wall[: size[0], : size[1]])
    target = warp_homography(source, TRUTHS["affine"], size)
    found = chosen(source, target, true_flow(TRUTHS["affine"], size) + np.array([0.4, -0.3]))
    middle = pixel_grid((29, 39)).reshape(-1, 2) * 8.0 + 40
    apart = apply_transform(found.fit.matrix, middle) - apply_transform(TRUTHS["affine"], middle)
    assert np.linalg.norm(apart, axis=1).mean() < 0.1


def test_an_object_that_moves_by_itself_is_not_flattened(wall):
    """Three per cent of the frame move by 9 pixels, the rest stands still."""
    size = (288, 384)
    source = np.ascontiguousarray(wall[: size[0], : size[1]])
    target = source.copy()
    target[100:158, 200:258] = source[100:158, 209:267]
    flow = np.zeros((*size, 2))
    flow[100:158, 200:258, 0] = 9
    found = chosen(source, target, flow).flow
    np.testing.assert_allclose(found[27:38, 52:63], [[[9, 0]]] * np.ones((11, 11, 1)), atol=0.1)
    assert np.abs(found[:20]).max() < 0.01
    assert chosen(source, source, np.zeros((*size, 2)))[0] == "similarity"


def test_a_plane_is_exact_beside_a_part_that_moves_by_itself(wall):
    """A noisy flow of a wall seen askew, and a twentieth of the frame that moves by 12 pixels."""
    size = (288, 384)
    source = np.ascontiguousarray(wall[: size[0], : size[1]])
    target = warp_homography(source, TRUTHS["homography"], size)
    plane = true_flow(TRUTHS["homography"], size)
    part = np.zeros(size, bool)
    part[90:160, 180:255] = True
    moved = plane + np.array([12.0, 0.0]) * part[..., None]
    at = (pixel_grid(size) + moved).astype(np.float32)
    shown = cv2.remap(
        source, np.ascontiguousarray(at[..., 0]), np.ascontiguousarray(at[..., 1]), cv2.INTER_LINEAR
    )
    target[part] = shown[part]
    noise = np.random.default_rng(0).normal(0, 0.5, (*size, 2))
    found = chosen(source, target, moved + noise)
    cells = np.ascontiguousarray(moved[2::4, 2::4])
    error = np.linalg.norm(found.flow - cells, axis=2)
    assert found.model == "homography"
    assert error[~cv2.dilate(part.astype(np.uint8), np.ones((25, 25)))[2::4, 2::4].astype(bool)].max() < 0.3
    assert error[24:38, 47:62].max() < 2.5


def test_parallax_is_not_flattened(wall):
    """A hill that moves by up to 5 pixels on a plane that moves by one."""
    size = (288, 384)
    grid = pixel_grid(size).astype(np.float64)
    hill = np.exp(-(np.square(grid - [190, 140]).sum(axis=2)) / (2 * 60.0**2))
    flow = np.stack([1 + 4 * hill, np.zeros(size)], axis=2)
    source = np.ascontiguousarray(wall[: size[0], : size[1]])
    at = (grid + flow).astype(np.float32)
    target = cv2.remap(
        source, np.ascontiguousarray(at[..., 0]), np.ascontiguousarray(at[..., 1]), cv2.INTER_LINEAR
    )
    assert chosen(source, target, flow) is None


@pytest.mark.parametrize("model", list(TRUTHS))
@pytest.mark.parametrize("reverse", [False, True], ids=["same tones", "reversed tones"])
def test_a_model_some_pixels_off_is_moved_to_the_edges(wall, model, reverse):
    size = (288, 384)
    source = np.ascontiguousarray(wall[: size[0], : size[1]])
    target = warp_homography(source, TRUTHS[model], size)
    beside = TRUTHS[model] @ np.array([[1.004, -0.006, 1.8], [0.006, 1.004, -1.5], [0, 0, 1]])
    middle = pixel_grid((29, 39)).reshape(-1, 2) * 8.0 + 40

    def miss(matrix):
        apart = apply_transform(matrix, middle) - apply_transform(TRUTHS[model], middle)
        return np.linalg.norm(apart, axis=1).mean()

    pair = pair_without_network(source, 255 - target if reverse else target)
    assert miss(beside) > 1.5
    assert miss(register(pair, beside, model)) < 0.15


def test_without_texture_a_model_stays(wall):
    blank = np.full((288, 384, 3), 90, np.uint8)
    assert register(pair_without_network(wall, blank), TRUTHS["affine"], "affine") is TRUTHS["affine"]
