"""Pixels that are ignored have no say: a time stamp that stays in place over a scene that moves."""

import cv2
import numpy as np
import pytest

from glualign import Aligner
from glualign.errors import ImageError
from glualign.flow import Flow, warp
from glualign.geometry import resize_flow
from glualign.images import Image, as_image, read_image, write_image
from glualign.matching.estimate import fuse
from glualign.matching.pair import PairMatcher, prepare_images
from glualign.matching.refinement import refine
from glualign.matching.similarity import EdgeSimilarity

SHIFT = (14, 9)
STAMP = np.s_[60:140, 20:250]


@pytest.fixture(scope="module")
def scene(examples):
    """A wall that moves by `SHIFT` under a burnt-in stamp, and where the stamp is."""
    wall = cv2.imread(str(examples / "graf1.png"))[80:400, 180:600, ::-1]
    wall = np.ascontiguousarray(cv2.resize(wall, (320, 260), interpolation=cv2.INTER_AREA))
    source, target = (
        wall[: 240 - SHIFT[1], : 300 - SHIFT[0]].copy(),
        wall[SHIFT[1] : 240, SHIFT[0] : 300].copy(),
    )
    keep = np.full(source.shape[:2], 255, np.uint8)
    for picture in (source, target):
        picture[STAMP] = 0
        for row, text in enumerate(("12:34:56 CAM 01", "2024-05-06 WEST")):
            cv2.putText(picture, text, (24, 92 + 34 * row), 0, 0.85, (255, 255, 255), 2, cv2.LINE_AA)
    keep[STAMP] = 0
    return source, target, keep


@pytest.fixture(scope="module")
def aligner():
    return Aligner.from_pretrained(preset="fast", max_side=320)


def errors(alignment, where):
    off = alignment.flow.data - np.float32(SHIFT)
    return np.linalg.norm(off, axis=2)[where]


def test_a_time_stamp_does_not_disturb_the_flow_beside_it(scene, aligner):
    source, target, keep = scene
    beside = cv2.dilate((keep == 0).astype(np.uint8), np.ones((41, 41))) > 0
    beside &= keep > 0
    beside[:, -SHIFT[0] - 2 :] = beside[-SHIFT[1] - 2 :] = False
    plain = aligner.align(source, target)
    masked = aligner.align(source, target, source_mask=keep, target_mask=keep)
    before, after = np.median(errors(plain, beside)), np.median(errors(masked, beside))
    assert after < 1
    assert after < before / 2


def test_what_the_target_ignores_is_drawn_and_not_trusted(scene, aligner):
    source, target, keep = scene
    found = aligner.align(source, target, target_mask=keep > 0)
    hidden = keep == 0
    assert not found.trusted[hidden].any()
    assert (found.confidence[hidden] == 0).all()
    assert found.trusted[~hidden].mean() > 0.8
    assert found.valid[hidden].mean() > 0.8
    # The wall, which the source shows there.
    shown = hidden & found.valid
    drawn = warp(source, Flow(np.full((*target.shape[:2], 2), SHIFT, np.float32)))[0]
    apart = np.abs(found.warped.pixels[shown].astype(int) - drawn[shown])
    assert np.median(apart) < 3
    assert found.quality.verdict == "good"


def test_what_the_source_ignores_is_not_drawn(scene, aligner):
    source, target, keep = scene
    found = aligner.align(source, target, source_mask=keep > 0)
    hidden = np.roll(keep == 0, (-SHIFT[1], -SHIFT[0]), axis=(0, 1))
    inner = cv2.erode(hidden.astype(np.uint8), np.ones((7, 7))) > 0
    assert inner.any()
    assert not found.valid[inner].any()
    assert (found.warped.pixels[inner] == 0).all()
    assert found.quality.verdict == "good"


def test_most_of_the_target_may_be_ignored(scene, aligner):
    source, target, _ = scene
    keep = np.zeros(target.shape[:2], bool)
    keep[150:, :] = True
    assert aligner.align(source, target, target_mask=keep).quality.verdict == "good"


@pytest.mark.parametrize("values", [(0, 1), (0, 255), (9, 250)])
def test_black_is_what_is_ignored(values):
    mask = np.full((20, 30), values[1], np.uint8)
    mask[5:9] = values[0]
    image = Image(np.zeros((20, 30, 3), np.uint8)).ignore(mask)
    assert image.missing.sum() == 4 * 30


def test_a_mask_that_does_not_fit_is_refused():
    image = Image(np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(ImageError, match="30 x 21 pixels does not fit"):
        image.ignore(np.ones((21, 30), bool))
    with pytest.raises(ImageError, match="leaves nothing"):
        image.ignore(np.zeros((20, 30), bool))


def test_masks_come_from_alpha_or_from_a_file_beside_the_image(tmp_path):
    rgba = np.full((20, 30, 4), 200, np.uint8)
    rgba[:4, :, 3] = 0
    write_image(tmp_path / "a.png", rgba)
    assert read_image(tmp_path / "a.png").missing is None
    assert read_image(tmp_path / "a.png", mask_from="alpha").missing.sum() == 4 * 30
    assert read_image(tmp_path / "a.png", mask_from="file").missing is None
    keep = np.full((20, 30), 255, np.uint8)
    keep[:, :2] = 0
    write_image(tmp_path / "a_mask.png", keep)
    assert read_image(tmp_path / "a.png", mask_from="file").missing.sum() == 2 * 20


def test_a_prepared_target_has_its_mask_already(scene, aligner):
    source, target, keep = scene
    prepared = aligner.prepare(as_image(target).ignore(keep))
    assert not aligner.align(source, prepared).trusted[keep == 0].any()
    with pytest.raises(ImageError, match="prepared"):
        aligner.align(source, prepared, target_mask=keep)


def test_brightness_guides_nothing_beside_a_hole(scene, aligner):
    """What a hole was continued into is no picture: the refined flow would follow it."""
    source, target, keep = scene
    [prepared] = prepare_images(aligner.predictor, [as_image(target).ignore(keep)], max_side=384)
    pair = PairMatcher(aligner.predictor, as_image(source).ignore(keep), prepared)
    best = fuse(pair.match_transformed(pair.to_source), EdgeSimilarity(pair), global_motion=False)
    refined = refine(best)
    assert refined is not None
    before = resize_flow(best.measured.flow, refined.frame, frame=pair.working)
    near = cv2.resize(keep, refined.frame[::-1], interpolation=cv2.INTER_AREA) < 255
    assert np.abs(refined.flow - before)[near].max() == 0
    assert np.abs(refined.flow - before).max() > 0.1
