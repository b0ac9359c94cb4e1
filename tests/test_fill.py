import numpy as np
import pytest

from glualign.errors import ImageError
from glualign.flow import Flow
from glualign.images import Image
from glualign.rendering import fill_invalid, warp_image

VALID = np.arange(24).reshape(4, 6) % 3 != 1
TARGET = Image(np.full((4, 6, 3), (255, 0, 0), np.uint8))
WHITE = {"uint8": 255, "uint16": 65535, "float32": 1.0}


def ramp(dtype: str, channels: int) -> Image:
    values = (np.linspace(0.1, 0.9, 24, dtype=np.float32).reshape(4, 6) * WHITE[dtype]).astype(dtype)
    return Image(values if channels == 1 else np.repeat(values[..., None], channels, axis=2), icc=b"profile")


@pytest.mark.parametrize("dtype", WHITE)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("fill", ["#000000", "#12ab34", "target"])
def test_type_channels_profile_and_valid_pixels_stay(dtype, channels, fill):
    image = ramp(dtype, channels)
    before = image.pixels.copy()
    result = fill_invalid(image, VALID, fill, TARGET)
    assert (result.pixels.dtype, result.channels, result.icc) == (image.pixels.dtype, channels, b"profile")
    np.testing.assert_array_equal(result.pixels[VALID], before[VALID])
    np.testing.assert_array_equal(image.pixels, before)  # the input is not touched


@pytest.mark.parametrize(("dtype", "channels"), [("uint8", 3), ("uint16", 1), ("float32", 3)])
def test_transparent_adds_alpha_that_is_the_mask(dtype, channels):
    result = fill_invalid(ramp(dtype, channels), VALID, "transparent", TARGET)
    assert result.channels == channels + 1
    np.testing.assert_array_equal(result.pixels[..., -1], (VALID * WHITE[dtype]).astype(dtype))


def test_transparent_keeps_an_alpha_that_is_there():
    image = ramp("uint8", 4)
    result = fill_invalid(image, VALID, "transparent", TARGET)
    assert result.channels == 4
    np.testing.assert_array_equal(result.pixels[VALID], image.pixels[VALID])
    assert not result.pixels[~VALID][:, 3].any()


@pytest.mark.parametrize("dtype", WHITE)
@pytest.mark.parametrize("fill", ["#ff0000", "target"])
def test_colours_and_target_are_scaled_to_the_source_type(dtype, fill):
    result = fill_invalid(ramp(dtype, 3), VALID, fill, TARGET).pixels
    np.testing.assert_allclose(result[~VALID], np.tile([WHITE[dtype], 0, 0], ((~VALID).sum(), 1)))


def test_a_grey_image_takes_the_brightness_of_the_fill():
    white = fill_invalid(ramp("uint8", 1), VALID, "#ffffff", TARGET).pixels
    assert set(white[~VALID]) == {255}
    red = fill_invalid(ramp("uint8", 1), VALID, "target", TARGET).pixels
    assert set(red[~VALID]) == {76}  # 0.299 of 255


def test_black_is_clear_where_the_format_can_say_so_and_colours_are_opaque():
    assert not fill_invalid(ramp("uint8", 4), VALID, "#000000", TARGET).pixels[~VALID][:, 3].any()
    assert (fill_invalid(ramp("uint8", 4), VALID, "#00ff00", TARGET).pixels[~VALID][:, 3] == 255).all()


def test_nothing_to_fill():
    image, everything = ramp("uint8", 1), np.ones((4, 6), bool)
    for fill in ("#ffffff", "target"):
        np.testing.assert_array_equal(fill_invalid(image, everything, fill, TARGET).pixels, image.pixels)


@pytest.mark.parametrize("fill", ["greenish", "#ff", "#gggggg", ""])
def test_an_unknown_fill_is_refused(fill):
    with pytest.raises(ImageError, match="#ffcc00"):
        fill_invalid(ramp("uint8", 3), VALID, fill, TARGET)


def test_labels_are_warped_with_nearest_and_keep_their_palette_unless_told_otherwise():
    labels = np.random.default_rng(0).integers(0, 3, (20, 30)).astype(np.uint8)
    image = Image(labels, palette=bytes([255, 0, 0, 0, 255, 0, 0, 0, 255]), is_labels=True)
    flow = Flow(np.full((20, 30, 2), (3.5, -1.25), np.float32))
    warped, valid = warp_image(image, flow)
    assert warped.palette == image.palette
    assert set(np.unique(warped.pixels)) <= {0, 1, 2}
    smooth, _ = warp_image(image, flow, "linear")
    assert (smooth.palette, smooth.channels) == (None, 3)
    np.testing.assert_array_equal(fill_invalid(warped, valid, "#ffffff", TARGET).pixels[~valid][0], [255] * 3)


def test_bands_are_filled_and_made_transparent_without_losing_one():
    image = Image(np.full((4, 6, 5), 7, np.uint16), extrasamples=(0, 0))
    filled = fill_invalid(image, VALID, "#ff0000", TARGET)
    np.testing.assert_array_equal(filled.pixels[~VALID][0], [65535, 0, 0, 0, 0])
    clear = fill_invalid(image, VALID, "transparent", TARGET)
    assert (clear.channels, clear.extrasamples) == (6, (0, 0, 2))


def test_black_is_the_no_data_value_where_there_is_one():
    image = Image(np.full((4, 6), 7, np.float32), nodata=-9999.0)
    assert (fill_invalid(image, VALID, "#000000", TARGET).pixels[~VALID] == -9999).all()


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_a_target_of_the_same_type_fills_with_its_own_values(dtype):
    target = Image(np.full((4, 6, 3), 1212, dtype))
    assert (fill_invalid(ramp(dtype, 3), VALID, "target", target).pixels[~VALID] == 1212).all()


def test_white_among_floats_beyond_1_is_their_largest():
    heights = Image(np.float32(ramp("float32", 1).pixels * 400))
    found = fill_invalid(heights, VALID, "white", TARGET).pixels
    assert (found[~VALID] == heights.pixels.max()).all()
    clear = fill_invalid(heights, VALID, "transparent", TARGET).pixels[..., 1]
    np.testing.assert_array_equal(clear, VALID)
    nothing = heights.replace(np.full_like(heights.pixels, np.nan))
    assert (fill_invalid(nothing, VALID, "white", TARGET).pixels[~VALID] == 1).all()


def test_what_is_transparent_needs_no_value_for_no_data():
    terrain = ramp("uint8", 1).replace(nodata=7)
    assert fill_invalid(terrain, VALID, "transparent", TARGET).nodata is None
    assert fill_invalid(terrain, VALID, "#000000", TARGET).nodata == 7


def test_bands_that_lack_data_alone_are_mixed_with_nothing():
    pixels = np.full((20, 30, 4), 100, np.float32)
    pixels[5:9, 5:9, 1] = -9999
    pixels[12:15, 12:15] = -9999
    image = Image(pixels, extrasamples=(0, 0, 0), nodata=-9999)
    warped, valid = warp_image(image, Flow(np.full((20, 30, 2), 0.5, np.float32)))
    assert set(np.unique(warped.pixels)) == {-9999, 100}
    assert (warped.pixels[4:9, 4:9, 1] == -9999).all()
    assert (warped.pixels[4:9, 4:9, 0] == 100).all()
    assert valid[4:9, 4:9].all()
    assert not valid[12:15, 12:15].any()


def test_part_of_a_colour_is_clear_and_a_band_without_data_keeps_its_value():
    colour = np.full((4, 6, 3), 0.5, np.float32)
    colour[1, :, 0] = np.nan
    clear = fill_invalid(Image(colour), np.ones((4, 6), bool), "transparent", TARGET).pixels
    assert clear[1].tolist() == [[0, 0, 0, 0]] * 6
    assert (clear[2:, :, 3] == 1).all()
    bands = np.full((4, 6, 3), 7, np.int16)
    bands[1, :, 0] = -99
    found = fill_invalid(
        Image(bands, extrasamples=(0, 0), nodata=-99), np.ones((4, 6), bool), "transparent", TARGET
    )
    assert (found.nodata, found.pixels[1, 0, :3].tolist()) == (-99, [-99, 7, 7])
