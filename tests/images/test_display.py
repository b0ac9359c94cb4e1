"""What the network and the pictures see of images that are not 8-bit RGB."""

import numpy as np
import pytest

from glualign.flow import Flow
from glualign.images import Image, display_notes, to_rgb8
from glualign.rendering import reaches_data, warp_image

RAMP = np.tile(np.linspace(0, 1, 400, dtype=np.float64), (50, 1))
EIGHT_BIT = (RAMP * 255 + 0.5).astype(np.uint8)


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        ("float32", 501, 1265),
        ("float32", 0, 255),
        ("float32", 0.3, 0.35),
        ("float64", -8e5, -7e5),
        ("uint16", 8000, 8150),
        ("uint16", 0, 4095),
        ("int16", -20, 500),
        ("uint32", 0, 70_000),
        ("int32", -(2**31), 2**31 - 1),
    ],
)
def test_unusual_ranges_fill_the_8_bits(kind, low, high):
    image = Image((low + RAMP * (high - low)).astype(kind))
    shown = to_rgb8(image)[..., 0].astype(int)
    assert np.abs(shown - EIGHT_BIT).max() <= 4
    (note,) = display_notes(image)
    assert "stretched" in note
    assert "keep their values" in note


@pytest.mark.parametrize(("kind", "white"), [("uint8", 255), ("uint16", 65535), ("float32", 1.0)])
def test_usual_ranges_are_left_alone(kind, white):
    for share in (1.0, 0.3):
        image = Image((RAMP * share * white).astype(kind))
        assert np.abs(to_rgb8(image)[..., 0] - RAMP * share * 255).max() <= 1
        assert display_notes(image) == ()


def test_outliers_do_not_set_the_range():
    heights = (500 + RAMP * 700).astype(np.float32)
    heights[3, 7], heights[9, 2] = 1e9, -1e9
    inner = np.abs(to_rgb8(Image(heights))[..., 0].astype(int) - EIGHT_BIT)
    inner[3, 7] = inner[9, 2] = 0
    assert inner.max() <= 4


def test_bands_of_unlike_units_each_have_a_range():
    bands = np.stack([RAMP * 10, 1000 - RAMP * 500, RAMP * 1e6], axis=2).astype(np.float32)
    shown = to_rgb8(Image(bands, extrasamples=(0, 0))).astype(int)
    assert np.abs(shown[..., 0] - EIGHT_BIT).max() <= 4
    assert np.abs(shown[..., 1] - (255 - EIGHT_BIT)).max() <= 4
    colour = np.stack([RAMP * 10, RAMP * 5, RAMP * 2], axis=2).astype(np.float32)
    assert to_rgb8(Image(colour))[:, -1].tolist() == [[255, 128, 51]] * 50 or (
        np.ptp(to_rgb8(Image(colour))[..., 1]) < 140
    ), "the channels of a colour share one range"


def test_shapes_that_only_alpha_holds_are_seen():
    pixels = np.zeros((50, 400, 4), np.uint8)
    pixels[..., 3] = EIGHT_BIT
    image = Image(pixels)
    np.testing.assert_array_equal(to_rgb8(image)[..., 1], EIGHT_BIT)
    assert display_notes(image) == ("its colours are all the same: matched by its alpha channel",)
    pixels[0, 0, :3] = 9
    assert to_rgb8(Image(pixels)).max() == 9


@pytest.mark.parametrize("nodata", [-9999.0, None])
def test_pixels_without_data_are_no_structure(nodata):
    heights = (500 + RAMP * 700).astype(np.float32)
    hole = np.zeros(RAMP.shape, bool)
    hole[20:45, 100:180] = hole[:10] = True
    heights[hole] = np.nan if nodata is None else nodata
    shown = to_rgb8(Image(heights, nodata=nodata))[..., 0].astype(int)
    assert np.abs(shown - EIGHT_BIT)[~hole].max() <= 4
    assert np.abs(shown - EIGHT_BIT)[hole].max() <= 40
    assert np.abs(np.diff(shown, axis=1)).max() < 16, "no edge around the hole"


def test_an_image_without_any_data_is_flat():
    assert np.ptp(to_rgb8(Image(np.full((5, 7), np.nan, np.float32)))) == 0
    assert np.ptp(to_rgb8(Image(np.full((5, 7), 3, np.uint8), nodata=3.0))) == 0


def test_rgb_of_8_bit_is_no_copy():
    """Of a picture of 300 megapixels it would take 900 MB."""
    image = Image(np.zeros((4, 5, 3), np.uint8))
    assert to_rgb8(image) is image.pixels


@pytest.mark.parametrize("bands", [3, 5])
@pytest.mark.parametrize("hole", [np.nan, -9999.0])
def test_a_band_without_data_takes_no_other_band_along(bands, hole):
    pixels = np.random.default_rng(0).uniform(500, 900, (40, 50, bands)).astype(np.float32)
    pixels[10:20, 10:20, -1] = hole
    nodata = None if np.isnan(hole) else hole
    image = Image(pixels, extrasamples=(0,) * (bands - 1), nodata=nodata)
    warped, valid = warp_image(image, Flow(np.zeros((40, 50, 2), np.float32)))
    np.testing.assert_array_equal(warped.pixels, pixels)
    assert valid.all()
    assert image.missing is None


def test_what_a_shown_band_lacks_is_no_structure():
    """The range is that of the data, and a hole continues its surroundings."""
    pixels = np.full((40, 50, 3), 700, np.int16)
    pixels[..., 1] += np.arange(50, dtype=np.int16) * 4
    pixels[10:20, 10:20, 2] = -32768
    seen = to_rgb8(Image(pixels, extrasamples=(0, 0), nodata=-32768))
    assert np.abs(np.diff(seen[8:22, 12, 1].astype(int))).max() < 12
    assert np.ptp(seen[..., 1]) > 240


def test_a_colour_that_has_the_no_data_value_in_one_channel_is_a_colour():
    pixels = np.full((40, 50, 3), 90, np.uint8)
    pixels[5:9, :, 0] = 0
    assert Image(pixels, nodata=0).missing is None
    pixels[5:9] = 0
    assert Image(pixels, nodata=0).missing.sum() == 4 * 50


def test_a_colour_of_an_image_with_further_bands_is_a_colour():
    """RGB and near infrared: red has 0 in two channels, which is the no-data value."""
    pixels = np.full((40, 50, 4), 255, np.uint8)
    pixels[20, :, 1:3] = 0
    pixels[:10, :, 3] = 0
    image = Image(pixels, extrasamples=(0,), nodata=0)
    np.testing.assert_array_equal(to_rgb8(image), pixels[..., :3])
    warped, _ = warp_image(image, Flow(np.zeros((40, 50, 2), np.float32)))
    np.testing.assert_array_equal(warped.pixels, pixels)


def test_valid_is_where_something_is_drawn():
    """Two bands that lack data on either side of a seam, which half a pixel of motion blurs."""
    pixels = np.full((20, 30, 2), 5, np.float32)
    pixels[:, :10, 0] = pixels[:, 10:, 1] = np.nan
    image = Image(pixels, extrasamples=(0,))
    flow = Flow(np.full((20, 30, 2), 0.5, np.float32))
    warped, valid = warp_image(image, flow)
    np.testing.assert_array_equal(valid, np.isfinite(warped.pixels).any(axis=2))
    np.testing.assert_array_equal(reaches_data(image, flow), valid)
