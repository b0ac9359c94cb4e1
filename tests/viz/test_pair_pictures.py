import numpy as np
import pytest
from PIL import Image as PillowImage

from glualign.errors import ImageError, OutputError
from glualign.flow import Flow
from glualign.viz import styles


@pytest.fixture
def images():
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (60, 80, 3), np.uint8), rng.integers(0, 256, (60, 80, 3), np.uint8)


@pytest.fixture
def left_half():
    mask = np.zeros((60, 80), bool)
    mask[:, :40] = True
    return mask


def draw(source, target, style, valid=None):
    """The pair where nothing moves, explained: the warped source is the source."""
    still = Flow(np.zeros((*target.shape[:2], 2), np.float32))
    drawings = styles.draw(still, style, source=source, target=target, valid=valid)
    return [each.explained() for each in drawings]


def test_blend_is_the_mean_of_both(images):
    target, warped = images
    mean = (target.astype(int) + warped) / 2
    assert np.abs(draw(warped, target, "blend")[0] - mean).max() <= 1


def test_checkerboard_takes_every_pixel_from_one_of_both(images):
    target, warped = images
    (board,) = draw(warped, target, "checkerboard")
    np.testing.assert_array_equal(board[:10, :10], target[:10, :10])
    np.testing.assert_array_equal(board[:10, 10:20], warped[:10, 10:20])
    np.testing.assert_array_equal(board[10:20, :10], warped[10:20, :10])


def test_red_cyan_is_grey_exactly_where_both_agree(images):
    target, _ = images
    grey = styles.red_cyan(target, target)
    assert (grey[..., 0] == grey[..., 1]).all()
    bright = np.full((4, 4, 3), 200, np.uint8)
    dark = np.full((4, 4, 3), 50, np.uint8)
    assert tuple(styles.red_cyan(bright, dark)[0, 0]) == (200, 50, 50), "only in the target: red"
    assert tuple(styles.red_cyan(dark, bright)[0, 0]) == (50, 200, 200), "only in the source: cyan"


@pytest.mark.parametrize("style", ["blend", "checkerboard", "difference"])
def test_without_a_valid_source_all_styles_show_the_same_faded_target(style, images, left_half):
    target, warped = images
    (one,), (other,) = draw(warped, target, style, left_half), draw(255 - warped, target, style, left_half)
    np.testing.assert_array_equal(one[:, 40:], other[:, 40:])
    np.testing.assert_array_equal(one[:, :40], draw(warped, target, style)[0][:, :40])
    np.testing.assert_array_equal(one[:, 40:], styles.filled(target, target, left_half)[:, 40:])


def test_flicker_frames_blink_only_where_valid(images, left_half):
    target, warped = images
    first, second = draw(warped, target, "flicker", left_half)
    assert first.shape == second.shape
    np.testing.assert_array_equal(first[:60, :40], target[:, :40])
    np.testing.assert_array_equal(second[:60, :40], warped[:, :40])
    np.testing.assert_array_equal(first[:60, 40:], second[:60, 40:])
    assert (first[60:] != second[60:]).any(), "the frames are named"


def test_side_by_side_has_one_height_and_keeps_proportions():
    source = np.full((100, 50, 3), 10, np.uint8)
    target = np.full((60, 80, 3), 200, np.uint8)
    (picture,) = draw(source, target, "side-by-side")
    assert (picture[:60, :30] == 10).all()
    assert (picture[:60, -80:] == 200).all()
    assert picture.shape[1] == 30 + 2 + 80 + 2 + 80
    assert picture.shape[0] > 60


@pytest.mark.parametrize(("suffix", "tolerance"), [(".gif", 60), (".webp", 40), (".png", 0)])
def test_animations_hold_both_frames_for_ever(tmp_path, suffix, tolerance):
    frames = [np.full((40, 50, 3), (200, 30, 30), np.uint8), np.full((40, 50, 3), (20, 60, 210), np.uint8)]
    path = tmp_path / f"flicker{suffix}"
    styles.write_animation(path, frames)
    with PillowImage.open(path) as read:
        assert read.n_frames == 2
        assert read.info["loop"] == 0
        for index, frame in enumerate(frames):
            read.seek(index)
            pixels = np.asarray(read.convert("RGB")).astype(int)
            assert np.abs(pixels - frame).max() <= tolerance
            assert read.info["duration"] == 700
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_the_quality_of_an_animation_is_that_of_webp(tmp_path):
    frames = list(np.random.default_rng(0).integers(0, 256, (2, 60, 60, 3), np.uint8))
    for quality in (10, 95):
        styles.write_animation(tmp_path / f"{quality}.webp", frames, quality=quality)
    assert (tmp_path / "10.webp").stat().st_size < 0.5 * (tmp_path / "95.webp").stat().st_size


def test_animation_refuses_other_formats_and_folders(tmp_path):
    frames = [np.zeros((4, 4, 3), np.uint8)] * 2
    with pytest.raises(ImageError, match=r"\.gif"):
        styles.write_animation(tmp_path / "a.jpg", frames)
    with pytest.raises(ImageError, match="WebP"):
        styles.write_animation(tmp_path / "a.webp", [np.zeros((1, 16384, 3), np.uint8)] * 2)
    (tmp_path / "d.gif").mkdir()
    with pytest.raises(OutputError):
        styles.write_animation(tmp_path / "d.gif", frames)
