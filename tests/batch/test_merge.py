"""Merging aligned images: known stacks in, the value of each pixel out."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from glualign.batch import merge
from glualign.batch.manifest import Input, Record
from glualign.errors import BatchError
from glualign.images import Image, read_image, write_image
from glualign.images.exif import oriented


def stack(out: Path, images, weights, extension: str = ".png") -> list[Record]:
    """Records of a batch with these warped images and weights (0 to 255)."""
    records = []
    for number, (image, weight) in enumerate(zip(images, weights, strict=True)):
        outputs = {f"{number}_warped{extension}": image, f"{number}_confidence.png": np.uint8(weight)}
        for name, pixels in outputs.items():
            write_image(out / name, pixels)
        source, target = Input(f"/s/{number}{extension}"), Input("/t.png")
        records.append(Record(str(number), "done", source, target, {}, dict.fromkeys(outputs, 1)))
    (out / ".glualign").mkdir(exist_ok=True)
    return records


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("how", ["mean", "median", "min", "max"])
def test_each_pixel_is_merged_over_the_images_that_reach_it(
    tmp_path, kind, channels, how, monkeypatch
) -> None:
    monkeypatch.setattr(merge, "_STRIP_VALUES", 5 * 20 * channels * 3)  # strips of three rows
    chance = np.random.default_rng(1)
    shape = (16, 20, channels) if channels > 1 else (16, 20)
    images = chance.integers(0, 250, (5, *shape)).astype(kind)
    weights = chance.integers(0, 256, (5, 16, 20)) * (chance.random((5, 16, 20)) > 0.4)
    weights[:, 2, 3] = 0
    extension = ".tif" if kind is np.float32 else ".png"
    path = merge.merge_images(stack(tmp_path, images, weights, extension), tmp_path, how)
    merged = read_image(path).pixels
    spread = weights[..., None] if channels > 1 else weights
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if how == "mean":
            expected = (images.astype(np.float64) * spread).sum(axis=0) / spread.sum(axis=0)
        else:
            expected = getattr(np, f"nan{how}")(
                np.where(spread > 0, images.astype(np.float64), np.nan), axis=0
            )
    assert (merged.dtype, merged.shape) == (np.dtype(kind), shape)
    np.testing.assert_allclose(merged, np.nan_to_num(expected), atol=1e-3 if kind is np.float32 else 0.501)
    assert not list((tmp_path / ".glualign").iterdir())


@pytest.mark.parametrize("how", ["mean", "median", "min", "max"])
def test_a_band_without_data_has_no_say(tmp_path, how) -> None:
    """As in satellite images: the first lacks its last band, the second all, the third none."""
    stacked = np.repeat(np.int16([10, 20, 30]), 4 * 6 * 3).reshape(3, 4, 6, 3)
    stacked[0, ..., 2] = stacked[1] = -32768
    place = {33550: (1.0, 1.0, 0.0)}
    images = [Image(each, extrasamples=(0, 0), nodata=-32768, georeference=place) for each in stacked]
    records = stack(tmp_path, images, [np.full((4, 6), 255)] * 3, ".tif")
    path = merge.merge_images(records, tmp_path, how)
    merged = read_image(path)
    first = {"mean": 20, "median": 20, "min": 10, "max": 30}[how]
    assert merged.pixels[0, 0].tolist() == [first, first, 30]
    assert (path.name, merged.nodata, merged.georeference) == ("merged.tif", -32768, place)


@pytest.mark.parametrize("how", ["mean", "median", "min"])
def test_what_is_clear_gives_no_colour(tmp_path, how) -> None:
    images = [np.full((4, 6, 4), (v, v, v, 255), np.uint8) for v in (100, 104)]
    images.insert(1, np.zeros((4, 6, 4), np.uint8))
    merged = read_image(
        merge.merge_images(stack(tmp_path, images, [np.full((4, 6), 255)] * 3), tmp_path, how)
    )
    assert merged.pixels[0, 0, :3].tolist() == [100 if how == "min" else 102] * 3


def test_ten_noisy_images_of_16_bit_have_a_third_of_the_noise(tmp_path) -> None:
    chance = np.random.default_rng(2)
    clean = np.linspace(10_000, 50_000, 80 * 60).reshape(60, 80)
    images = [np.uint16(clean + chance.normal(0, 900, clean.shape)) for _ in range(10)]
    records = stack(tmp_path, images, [np.full(clean.shape, 255)] * 10)
    for how, most in (("mean", 0.34), ("median", 0.42)):
        merged = read_image(merge.merge_images(records, tmp_path, how)).pixels
        assert merged.dtype == np.uint16
        assert np.std(merged - clean) < most * np.std(images[0] - clean)


def test_what_cannot_be_merged_is_refused(tmp_path) -> None:
    grey, colour = np.zeros((8, 8), np.uint8), np.zeros((8, 8, 3), np.uint8)
    records = stack(tmp_path, [grey, colour], [grey, grey])
    with pytest.raises(BatchError, match=r"1\.png: differs from /s/0\.png"):
        merge.merge_images(records, tmp_path, "mean")
    with pytest.raises(BatchError, match="no pair is done"):
        merge.merge_images([], tmp_path, "mean")
    elsewhere = [records[0], Record("1", "done", Input("/s"), Input("/other.png"), {}, records[1].outputs)]
    with pytest.raises(BatchError, match="one target"):
        merge.merge_images(elsewhere, tmp_path, "mean")
    with pytest.raises(BatchError, match="no confidence of 0"):
        merge.merge_images(
            [Record("0", "done", Input("/s"), Input("/t"), {}, {"0_warped.png": 1})], tmp_path, "mean"
        )


def test_images_whose_orientation_was_not_applied_are_merged_as_they_lie(tmp_path) -> None:
    ramp = np.arange(8 * 12, dtype=np.uint8).reshape(8, 12)
    weights = np.where(ramp < 48, 255, 0).astype(np.uint8)
    records = stack(tmp_path, [ramp, ramp + 100], [weights, 255 - weights])
    for number, pixels in enumerate((ramp, ramp + 100)):
        lying = Image(pixels, exif=oriented(6 if number else 3))
        write_image(tmp_path / f"{number}_warped.png", lying)
    merged = read_image(merge.merge_images(records, tmp_path, "mean"), apply_orientation=False)
    np.testing.assert_array_equal(merged.pixels, np.where(ramp < 48, ramp, ramp + 100))
