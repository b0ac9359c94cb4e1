import cv2
import numpy as np
import pytest

from glualign.geometry import pixel_grid
from glualign.training.photos import PhotoStore
from glualign.training.synthesis import STRATA, PairSynthesis, TrainingPair


def synthesis(
    photos: PhotoStore, mix: dict[str, float], *, photometric: bool = True, seed: int = 3
) -> PairSynthesis:
    return PairSynthesis(photos, np.arange(len(photos)), seed, mix, photometric=photometric)


def warped(pair: TrainingPair) -> np.ndarray:
    position = pixel_grid(pair.flow.shape[:2]) + pair.flow
    return cv2.remap(pair.source, position, None, cv2.INTER_LINEAR)


@pytest.mark.parametrize("stratum", STRATA)
@pytest.mark.parametrize("size", [256, 320])
def test_the_flow_carries_the_source_onto_the_target(photos: PhotoStore, stratum: str, size: int) -> None:
    pairs = synthesis(photos, {stratum: 1.0}, photometric=False)
    for k in range(8):
        pair = pairs.pair(k, size)
        assert pair.visible.mean() > 0.1
        difference = np.abs(warped(pair).astype(float) - pair.target)[pair.visible]
        assert difference.mean() < 2.0, k


@pytest.mark.parametrize("stratum", STRATA)
def test_a_flow_wrong_by_three_pixels_would_be_noticed(photos: PhotoStore, stratum: str) -> None:
    """The test above can fail: shifted by three pixels the difference grows well beyond the exact one's."""
    pairs = synthesis(photos, {stratum: 1.0}, photometric=False)
    exact, shifted = [], []
    for k in range(8):
        pair = pairs.pair(k, 256)
        exact.append(np.abs(warped(pair).astype(float) - pair.target)[pair.visible].mean())
        wrong = TrainingPair(pair.source, pair.target, pair.flow + 3, pair.valid, pair.visible)
        shifted.append(np.abs(warped(wrong).astype(float) - pair.target)[pair.visible].mean())
    assert np.mean(shifted) > 3 * np.mean(exact)


def test_valid_means_inside_the_source_frame(photos: PhotoStore) -> None:
    pair = synthesis(photos, {"large": 1.0}).pair(1, 256)
    position = pixel_grid((256, 256)) + pair.flow
    inside = ((position >= 0) & (position <= 255)).all(axis=2)
    np.testing.assert_array_equal(pair.valid, inside)
    assert (pair.visible <= pair.valid).all()
    assert 0 < pair.valid.mean() < 1


def test_the_target_shows_real_content_where_the_source_ends(photos: PhotoStore) -> None:
    pairs = synthesis(photos, {"large": 1.0}, photometric=False)
    outside = [
        (p.target[~p.valid]).std() for p in (pairs.pair(k, 256) for k in range(10)) if (~p.valid).any()
    ]
    assert len(outside) >= 5
    assert min(outside) > 1.0


def test_a_pair_depends_on_seed_and_index_alone(photos: PhotoStore) -> None:
    mix = dict.fromkeys(STRATA, 1.0)
    first, second = synthesis(photos, mix), synthesis(photos, mix)
    second.pair(17, 256)
    for k in (0, 5):
        a, b = first.pair(k, 256), second.pair(k, 256)
        for name in ("source", "target", "flow", "visible"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    other = synthesis(photos, mix, seed=4).pair(0, 256)
    assert not np.array_equal(other.flow, first.pair(0, 256).flow)


def test_small_motion_reaches_below_a_pixel_and_up_to_some_pixels(photos: PhotoStore) -> None:
    pairs = synthesis(photos, {"small": 1.0})
    medians = [np.median(np.linalg.norm(pairs.pair(k, 256).flow, axis=2)) for k in range(40)]
    assert min(medians) < 0.5
    assert 2 < max(medians) < 15


def test_rotations_cover_the_whole_circle(photos: PhotoStore) -> None:
    pairs = synthesis(photos, {"rotation": 1.0}, photometric=False)
    angles = []
    for k in range(60):
        position = pixel_grid((256, 256)) + pairs.pair(k, 256).flow
        across = position[128, 148] - position[128, 108]
        angles.append(abs(np.degrees(np.arctan2(across[1], across[0]))))
    assert max(angles) > 150
    assert min(angles) < 10


def test_objects_move_by_themselves(photos: PhotoStore) -> None:
    """Across an object's outline the flow jumps; a single smooth motion never does."""

    def sharpest(stratum: str, index: int) -> float:
        flow = synthesis(photos, {stratum: 1.0}).pair(index, 256).flow
        return float(np.abs(np.diff(flow, axis=1)).max())

    assert sum(sharpest("dynamic", k) > 5 for k in range(10)) >= 8
    assert all(sharpest("modality", k) < 2 for k in range(10))


def test_two_of_a_class_share_shapes_but_no_fine_detail(photos: PhotoStore) -> None:
    """Warped back by the exact flow, fine detail is unrelated between the images; elsewhere it is not."""

    def fine(image: np.ndarray) -> np.ndarray:
        grey = image.mean(axis=2).astype(np.float32)
        return grey - cv2.GaussianBlur(grey, (0, 0), 2.0)

    def agreement(stratum: str) -> float:
        values = []
        for pair in (synthesis(photos, {stratum: 1.0}).pair(k, 256) for k in range(16)):
            seen = cv2.erode(pair.visible.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
            values.append(abs(np.corrcoef(fine(warped(pair))[seen], fine(pair.target)[seen])[0, 1]))
        return float(np.median(values))

    assert agreement("class") < 0.25
    assert agreement("moderate") > 2 * agreement("class")


def test_what_an_object_hides_is_valid_but_not_visible(photos: PhotoStore) -> None:
    pairs = synthesis(photos, {"dynamic": 1.0}, photometric=False)
    hidden = [(p.valid & ~p.visible).mean() for p in (pairs.pair(k, 256) for k in range(10))]
    assert 0.001 < np.mean(hidden) < 0.3
