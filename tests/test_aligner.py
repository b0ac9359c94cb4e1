"""The public aligner on pairs whose motion is known by construction."""

import pickle

import cv2
import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

import glualign
from glualign.checkpoints.load import load_model
from glualign.errors import CheckpointError, DeviceError, ImageError
from glualign.geometry import rotation_scale_matrix
from glualign.images import Image
from glualign.matching.options import AlignOptions
from tests.matching.known_pairs import end_point_errors, example, median_error, true_flow, warp_homography


@pytest.fixture(scope="module")
def aligner():
    return glualign.Aligner.from_pretrained(max_side=384)


@pytest.fixture(scope="module")
def wall():
    return example("graf1.png", 384)


GENTLE = np.array([[0.97, 0.05, 8.0], [-0.03, 1.02, 3.0], [2e-5, -1e-5, 1.0]])


def test_a_known_homography_is_recovered_without_any_search(wall):
    fast = glualign.Aligner.from_pretrained(preset="fast", max_side=384)
    target = warp_homography(wall, GENTLE, wall.shape[:2])
    found = fast.align(wall, target)
    assert found.flow.data.shape == (*target.shape[:2], 2)
    assert found.flow.data.dtype == np.float32
    assert median_error(found.flow.data, GENTLE, wall.shape[:2]) < 2.0


def test_a_known_homography_is_found_to_a_fraction_of_a_pixel(aligner, wall):
    found = aligner.align(wall, warp_homography(wall, GENTLE, wall.shape[:2]))
    assert median_error(found.flow.data, GENTLE, wall.shape[:2]) < 0.3
    assert found.quality.verdict == "good"


@pytest.mark.parametrize(("degrees", "zoom"), [(90, 1.0), (180, 1.0), (37, 1.0), (0, 0.4)])
def test_large_rotations_and_zooms_are_found(aligner, wall, degrees, zoom):
    matrix = rotation_scale_matrix(wall.shape[:2], wall.shape[:2], degrees=degrees, scale=zoom)
    found = aligner.align(wall, warp_homography(wall, matrix, wall.shape[:2]))
    assert median_error(found.flow.data, matrix, wall.shape[:2]) < 3.0


def test_no_motion_gives_no_flow(aligner, wall):
    noisy = wall + np.random.default_rng(0).integers(
        0, 3, wall.shape, np.uint8
    )  # equal images need no network
    found = aligner.align(noisy, wall)
    assert np.abs(found.flow.data).mean() < 0.1
    assert found.valid.mean() > 0.9
    assert found.quality.verdict == "good"


def test_unrelated_photographs_fail(aligner):
    found = aligner.align(example("graf1.png", 400), example("aloeL.jpg", 400))
    assert found.quality.verdict == "failed"
    assert not found.trusted.any()


def test_sizes_may_differ_and_the_flow_is_in_true_source_pixels(aligner, wall):
    source = cv2.resize(wall, None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC)
    matrix = np.diag([1.5, 1.5, 1.0])
    matrix[:2, 2] = 0.25
    target = wall[:225, :285]
    found = aligner.align(source, target)
    assert found.flow.data.shape == (225, 285, 2)
    assert found.flow.source_size == source.shape[:2]
    assert median_error(found.flow.data, matrix, source.shape[:2]) < 1.0
    assert found.warped.size == (225, 285)


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


def test_pairs_aligned_together_are_as_if_alone(aligner, wall):
    """A common target prepared once, targets of other sizes, and pairs that need a search, in one call."""
    common = warp_homography(wall, GENTLE, wall.shape[:2])
    prepared = aligner.prepare(common)
    turned = np.ascontiguousarray(np.rot90(wall))
    pairs = [(wall, prepared), (turned, prepared), (turned, wall), (wall, wall[:225])]
    together = aligner.align_many(pairs)
    plain = [(wall, common), (turned, common), (turned, wall), (wall, wall[:225])]
    for pair, result in zip(plain, together, strict=True):
        alone = aligner.align(*pair)
        assert result.target.size == pair[1].shape[:2]
        difference = np.linalg.norm(result.flow.data - alone.flow.data, axis=2)
        # Rounding of a batch is not that of single pairs, and is amplified where nothing can be matched.
        assert np.nanmax(difference[alone.trusted & result.trusted]) < 0.5
        assert np.mean(alone.trusted != result.trusted) < 0.01
        assert result.quality.verdict == alone.quality.verdict
        assert result.quality.median_error == pytest.approx(alone.quality.median_error, abs=0.05)


def test_targets_prepared_at_other_sizes_are_matched_at_those(aligner, wall):
    """Images of one size, one of them prepared by an aligner that works at another."""
    target = warp_homography(wall, GENTLE, wall.shape[:2])
    small = glualign.Aligner.from_pretrained(preset="fast", max_side=256).prepare(target)
    alone = [aligner.align(wall, each).flow.data for each in (small, target)]
    together = aligner.align_many([(wall, small), (wall, target)])
    for found, expected in zip(together, alone, strict=True):
        assert np.nanmax(np.linalg.norm(found.flow.data - expected, axis=2)) < 0.1


def test_images_prepared_by_another_model_are_refused(aligner, wall):
    network = load_model("compact")
    with torch.no_grad():
        next(network.model.decoder4.parameters()).add_(1)
    foreign = glualign.Aligner(network).prepare(wall)
    other = "bf16" if aligner.predictor.dtype == torch.float32 else "fp32"
    half = glualign.Aligner.from_pretrained(precision=other)
    for pair in ((foreign, wall), (wall, foreign), (wall, half.prepare(wall))):
        with pytest.raises(ImageError, match="prepared by another model"):
            aligner.align(*pair)


def test_an_aligner_can_be_sent_to_another_process(wall):
    fast = glualign.Aligner.from_pretrained(preset="fast", precision="fp32", max_side=256)
    sent = pickle.loads(pickle.dumps(fast))
    target = warp_homography(wall, GENTLE, wall.shape[:2])
    np.testing.assert_array_equal(sent.align(wall, target).flow.data, fast.align(wall, target).flow.data)


def test_prepared_images_change_nothing(aligner, wall):
    target = warp_homography(wall, GENTLE, wall.shape[:2])
    plain = aligner.align(wall, target)
    for source in (wall, aligner.prepare(wall)):
        prepared = aligner.align(source, aligner.prepare(target))
        np.testing.assert_array_equal(plain.flow.data, prepared.flow.data)


def test_a_prepared_source_is_encoded_once(aligner, wall, monkeypatch):
    known, other = aligner.prepare(wall), aligner.prepare(np.ascontiguousarray(wall[:-40]))
    encoded = []
    encode = aligner.predictor.encode

    def counted(images, *arguments, **options):
        encoded.extend(images)
        return encode(images, *arguments, **options)

    monkeypatch.setattr(aligner.predictor, "encode", counted)
    aligner.align(known, known)
    assert encoded == [], "the pair moves too little to be warped first"
    aligner.align(known, other)
    assert encoded, "features of another working size are of no use"


def test_depth_and_channels_of_the_source_are_kept(aligner, wall):
    deep = np.dstack([wall.astype(np.uint16) * 257, np.full(wall.shape[:2], 65535, np.uint16)])
    warped = aligner.align(deep, wall).warped
    assert warped.pixels.dtype == np.uint16
    assert warped.pixels.shape == (*wall.shape[:2], 4)


def test_a_global_transform_is_fitted_and_its_flow_is_exactly_that(wall):
    aligner = glualign.Aligner.from_pretrained(transform="affine", max_side=384)
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


def test_equal_images_are_trusted_and_their_error_is_measured(aligner, wall):
    found = aligner.align(wall, wall)
    assert found.quality.median_error < 0.2
    assert np.median(found.confidence) > 0.97
    assert np.quantile(found.confidence, 0.1) > 0.9


def test_the_median_error_is_measured_in_target_pixels(wall):
    """The pair four times as large as the network sees it: the error is four times that of the small one."""
    small = warp_homography(wall, GENTLE, wall.shape[:2])
    large = [cv2.resize(each, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC) for each in (wall, small)]
    aligner = glualign.Aligner.from_pretrained(preset="fast", max_side=384)
    one, four = aligner.align(wall, small).quality, aligner.align(*large).quality
    assert four.median_error == pytest.approx(4 * one.median_error, rel=0.2)


@pytest.mark.parametrize("transform", ["homography", "tps"])
def test_figures_after_a_transform_are_those_of_the_transform(wall, transform):
    """A patch moves on its own: the fitted model does not follow it, and says so there."""
    target = warp_homography(wall, GENTLE, wall.shape[:2])
    source = wall.copy()
    source[90:210, 120:255] = np.roll(wall, 20, axis=1)[90:210, 120:255]
    fast = {"preset": "fast", "max_side": 384}
    dense = glualign.Aligner.from_pretrained(**fast).align(source, target)
    found = glualign.Aligner.from_pretrained(transform=transform, **fast).align(source, target)
    patch = np.zeros(wall.shape[:2], bool)
    patch[112:188, 142:232] = True
    outside = ~cv2.dilate(patch.astype(np.uint8), np.ones((91, 91))).astype(bool)
    assert np.median(dense.confidence[patch]) > 0.3
    assert np.median(found.confidence[patch]) < 0.15
    assert found.trusted[patch].mean() < 0.35
    assert np.median(found.confidence[outside]) > 0.7
    assert found.trusted[outside].mean() > 0.9
    assert found.quality.trusted_share == pytest.approx(found.trusted.mean())
    error = end_point_errors(found.flow.data, GENTLE, wall.shape[:2])
    assert found.quality.median_error == pytest.approx(np.median(error), abs=0.5)


def test_two_aligners_share_a_model_that_stays_as_it_is(wall):
    loaded = load_model("compact")
    options = AlignOptions(max_side=256, search=False, fuse_global_motion=False)
    exact = glualign.Aligner(loaded, precision="fp32", device="cpu", options=options)
    before = exact.align(wall, wall).flow.data
    glualign.Aligner(loaded, precision="bf16", device="cpu", options=options).align(wall, wall)
    loaded.model.half()
    np.testing.assert_array_equal(exact.align(wall, wall).flow.data, before)


@pytest.mark.parametrize("value", [float("nan"), 1e30, -3e4])
def test_wild_weights_are_a_failed_verdict(wall, value):
    loaded = load_model("compact")
    with torch.no_grad():
        for name in ("decoder0", "decoder3"):
            loaded.model.get_submodule(name).predict_flow.bias.fill_(value)
    aligner = glualign.Aligner(loaded, device="cpu", precision="fp32", options=AlignOptions(max_side=256))
    found = aligner.align(wall, example("aloeL.jpg", 400))
    assert found.quality.verdict == "failed"
    assert not found.confidence.any() or found.confidence.max() <= 1


def test_the_default_dtype_of_the_process_does_not_matter(wall):
    target = warp_homography(wall, GENTLE, wall.shape[:2])
    expected = glualign.Aligner.from_pretrained(max_side=256, device="cpu").align(wall, target)
    torch.set_default_dtype(torch.float64)
    try:
        found = glualign.Aligner.from_pretrained(max_side=256, device="cpu").align(wall, target)
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_array_equal(found.flow.data, expected.flow.data)


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
