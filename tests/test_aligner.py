"""The public aligner on pairs whose motion is known by construction."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

import glualign
from glualign.errors import CheckpointError, DeviceError, ImageError
from glualign.images import Image

sys.path.insert(0, str(Path(__file__).parent / "stages"))
from stage_pairs import example, median_error, true_flow, warp_homography

from glualign.geometry import rotation_scale_matrix


@pytest.fixture(scope="module")
def aligner():
    return glualign.Aligner.from_pretrained(max_side=512)


@pytest.fixture(scope="module")
def accurate():
    return glualign.Aligner.from_pretrained(preset="accurate", max_side=512)


@pytest.fixture(scope="module")
def wall():
    return example("graf1.png", 512)


GENTLE = np.array([[0.97, 0.05, 8.0], [-0.03, 1.02, 3.0], [2e-5, -1e-5, 1.0]])


def test_a_known_homography_is_recovered_without_any_search(wall):
    fast = glualign.Aligner.from_pretrained(preset="fast", max_side=512)
    target = warp_homography(wall, GENTLE, wall.shape[:2])
    found = fast.align(wall, target)
    assert found.flow.data.shape == (*target.shape[:2], 2)
    assert found.flow.data.dtype == np.float32
    assert median_error(found.flow.data, GENTLE, wall.shape[:2]) < 2.0


def test_accurate_finds_a_known_homography_to_a_fraction_of_a_pixel(accurate, wall):
    found = accurate.align(wall, warp_homography(wall, GENTLE, wall.shape[:2]))
    assert median_error(found.flow.data, GENTLE, wall.shape[:2]) < 0.3
    assert found.quality.verdict == "good"


@pytest.mark.parametrize(("degrees", "zoom"), [(90, 1.0), (180, 1.0), (37, 1.0), (0, 0.4)])
def test_large_rotations_and_zooms_are_found(accurate, wall, degrees, zoom):
    matrix = rotation_scale_matrix(wall.shape[:2], wall.shape[:2], degrees=degrees, scale=zoom)
    found = accurate.align(wall, warp_homography(wall, matrix, wall.shape[:2]))
    assert median_error(found.flow.data, matrix, wall.shape[:2]) < 3.0


def test_no_motion_gives_no_flow(aligner, wall):
    found = aligner.align(wall, wall)
    assert np.abs(found.flow.data).mean() < 1.0
    assert found.valid.mean() > 0.9
    assert found.quality.verdict == "good"


def test_unrelated_photographs_fail(aligner):
    found = aligner.align(example("graf1.png", 400), example("aloeL.jpg", 400))
    assert found.quality.verdict == "failed"
    assert found.trusted.mean() < 0.1


def test_sizes_may_differ_and_the_flow_is_in_true_source_pixels(accurate, wall):
    source = cv2.resize(wall, None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC)
    matrix = np.diag([1.5, 1.5, 1.0])
    matrix[:2, 2] = 0.25
    target = wall[:300, :380]
    found = accurate.align(source, target)
    assert found.flow.data.shape == (300, 380, 2)
    assert found.flow.source_size == source.shape[:2]
    assert median_error(found.flow.data, matrix, source.shape[:2]) < 1.0
    assert found.warped.size == (300, 380)


def test_paths_arrays_and_pillow_images_are_the_same(aligner, wall, tmp_path):
    target = warp_homography(wall, GENTLE, wall.shape[:2])
    for name, image in (("source.png", wall), ("target.png", target)):
        PillowImage.fromarray(image).save(tmp_path / name)
    flows = [
        aligner.align(*pair).flow.data
        for pair in (
            (wall, target),
            (tmp_path / "source.png", str(tmp_path / "target.png")),
            (PillowImage.fromarray(wall), Image(target)),
        )
    ]
    np.testing.assert_array_equal(flows[0], flows[1])
    np.testing.assert_array_equal(flows[0], flows[2])


def test_a_prepared_target_changes_nothing(aligner, wall):
    target = warp_homography(wall, GENTLE, wall.shape[:2])
    plain = aligner.align(wall, target)
    prepared = aligner.align(wall, aligner.prepare_target(target))
    np.testing.assert_array_equal(plain.flow.data, prepared.flow.data)


def test_pairs_aligned_together_are_as_if_alone(aligner, wall):
    targets = [warp_homography(wall, GENTLE, wall.shape[:2]), wall[:300], np.ascontiguousarray(wall[:, ::-1])]
    together = aligner.align_many([(wall, target) for target in targets])
    for target, result in zip(targets, together, strict=True):
        assert result.target.size == target.shape[:2]
        alone = aligner.align(wall, target)
        assert np.median(np.linalg.norm(result.flow.data - alone.flow.data, axis=2)) < 0.2
        assert result.quality.verdict == alone.quality.verdict


def test_pairs_aligned_together_may_share_a_prepared_target(aligner, wall):
    target = warp_homography(wall, GENTLE, wall.shape[:2])
    sources = [wall, np.ascontiguousarray(wall[:, ::-1])]
    prepared = aligner.prepare_target(target)
    shared = aligner.align_many([(source, prepared) for source in sources])
    own = aligner.align_many([(source, target) for source in sources])
    mixed = aligner.align_many([(sources[0], target), (sources[1], prepared)])
    for ours, theirs, other in zip(shared, own, mixed, strict=True):
        np.testing.assert_allclose(ours.flow.data, theirs.flow.data, atol=1e-3)
        np.testing.assert_allclose(other.flow.data, theirs.flow.data, atol=1e-3)


def test_depth_and_channels_of_the_source_are_kept(aligner, wall):
    deep = np.dstack([wall.astype(np.uint16) * 257, np.full(wall.shape[:2], 65535, np.uint16)])
    warped = aligner.align(deep, wall).warped
    assert warped.pixels.dtype == np.uint16
    assert warped.pixels.shape == (*wall.shape[:2], 4)


def test_a_global_transform_is_fitted_and_its_flow_is_exactly_that(wall):
    aligner = glualign.Aligner.from_pretrained(transform="affine", max_side=512)
    found = aligner.align(wall, warp_homography(wall, GENTLE, wall.shape[:2]))
    assert found.transform is not None
    np.testing.assert_allclose(found.transform[2], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(found.flow.data, true_flow(found.transform, found.flow.size), atol=1e-3)
    assert 0 < found.quality.inlier_share <= 1


def test_save_writes_what_warp_writes(aligner, wall, tmp_path):
    found = aligner.align(wall, wall)
    files = found.save(tmp_path / "new", stem="wall", outputs=("warped", "flow", "flow_image", "mask"))
    assert [file.name for file in files] == [
        "wall_warped.png",
        "wall_flow.flo",
        "wall_flow.png",
        "wall_mask.png",
    ]
    flow = glualign.read_flow(tmp_path / "new" / "wall_flow.flo")
    np.testing.assert_array_equal(flow.data, found.flow.data)


def test_fp32_and_auto_agree(wall):
    target = warp_homography(wall, GENTLE, wall.shape[:2])
    flows = [
        glualign.Aligner.from_pretrained(preset="fast", precision=precision, max_side=512).align(wall, target)
        for precision in ("fp32", "auto")
    ]
    difference = np.linalg.norm(flows[0].flow.data - flows[1].flow.data, axis=2)
    assert np.median(difference) < 0.5


@pytest.mark.parametrize("size", [(1, 1), (15, 300), (3, 5000), (20, 4000)])
def test_images_that_cannot_be_matched_are_refused(aligner, wall, size):
    with pytest.raises(ImageError, match=f"{size[1]}x{size[0]}"):
        aligner.align(np.zeros((*size, 3), np.uint8), wall)
    with pytest.raises(ImageError, match=f"{size[1]}x{size[0]}"):
        aligner.align(wall, np.zeros((*size, 3), np.uint8))


def test_wrong_options_are_refused_before_anything_is_loaded():
    with pytest.raises(ValueError, match="preset 'best'"):
        glualign.Aligner.from_pretrained(preset="best")
    with pytest.raises(ValueError, match="max_side"):
        glualign.Aligner.from_pretrained(max_side=3)
    with pytest.raises(CheckpointError, match="no-such-model"):
        glualign.Aligner.from_pretrained("no-such-model")
    with pytest.raises(DeviceError, match="cuda:99"):
        glualign.Aligner.from_pretrained(device="cuda:99")
    with pytest.raises(DeviceError, match="toaster"):
        glualign.Aligner.from_pretrained(device="toaster")
    with pytest.raises(DeviceError, match="fp16"):
        glualign.Aligner.from_pretrained(device="cpu", precision="fp16")
