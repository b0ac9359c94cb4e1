"""EXIF orientation: pixels turned upright, the tag reset, everything else kept."""

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, ImageOps
from PIL import Image as PillowImage

from glualign.images import as_image, read_image, write_image
from glualign.images.exif import orientation, upright

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)


def tagged(value):
    exif = PillowImage.Exif()
    exif[ExifTags.Base.Orientation] = value
    exif[ExifTags.Base.Make] = "Maker"
    return exif


@pytest.mark.parametrize("value", range(1, 9))
def test_upright_agrees_with_pillow(tmp_path, value):
    PillowImage.fromarray(PIXELS).save(tmp_path / "image.png", exif=tagged(value))
    with PillowImage.open(tmp_path / "image.png") as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture))
    found = read_image(tmp_path / "image.png")
    np.testing.assert_array_equal(found.pixels, expected)
    assert orientation(found.exif) == 1
    assert b"Maker" in found.exif
    as_stored = read_image(tmp_path / "image.png", apply_orientation=False)
    np.testing.assert_array_equal(as_stored.pixels, PIXELS)
    assert orientation(as_stored.exif) == value


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("value", [3, 6, 8])
def test_tiff_of_every_depth_is_turned_once(tmp_path, kind, value):
    pixels = PIXELS.astype(kind)
    tifffile.imwrite(
        tmp_path / "image.tif", pixels, photometric="rgb", extratags=[(274, "H", 1, value, True)]
    )
    np.testing.assert_array_equal(read_image(tmp_path / "image.tif").pixels, upright(pixels, value))
    np.testing.assert_array_equal(read_image(tmp_path / "image.tif", apply_orientation=False).pixels, pixels)


def test_a_georeference_that_turning_loses_is_told(tmp_path):
    place = [(33550, "d", 3, (1.0, 1.0, 0.0), True), (33922, "d", 6, (0.0,) * 6, True)]
    for value, told in ((6, True), (1, False)):
        tags = [(274, "H", 1, value, True), *place]
        tifffile.imwrite(tmp_path / "image.tif", PIXELS, photometric="rgb", extratags=tags)
        found = read_image(tmp_path / "image.tif")
        assert any("its georeference is left out" in note for note in found.notes) == told
        assert bool(found.georeference) != told
        assert read_image(tmp_path / "image.tif", apply_orientation=False).georeference


@pytest.mark.parametrize("extension", [".jpg", ".webp", ".tif"])
def test_what_is_written_is_shown_the_same_way_up(tmp_path, extension):
    PillowImage.fromarray(PIXELS).save(tmp_path / "in.jpg", exif=tagged(6), quality=95)
    image = read_image(tmp_path / "in.jpg")
    assert image.size == (24, 16)
    write_image(tmp_path / f"out{extension}", image)
    with PillowImage.open(tmp_path / f"out{extension}") as picture:
        assert picture.size == (16, 24)
        assert picture.getexif().get(ExifTags.Base.Orientation, 1) == 1
        assert ImageOps.exif_transpose(picture).size == (16, 24)


@pytest.mark.parametrize("extension", [".jpg", ".png", ".tif"])
def test_pixels_left_as_stored_keep_their_tag(tmp_path, extension):
    PillowImage.fromarray(PIXELS).save(tmp_path / "in.jpg", exif=tagged(6), quality=95)
    image = read_image(tmp_path / "in.jpg", apply_orientation=False)
    write_image(tmp_path / f"out{extension}", image)
    again = read_image(tmp_path / f"out{extension}", apply_orientation=False)
    assert again.size == (16, 24)
    assert orientation(again.exif) == 6


def test_pillow_images_are_turned_too():
    picture = PillowImage.fromarray(PIXELS)
    picture.getexif()[ExifTags.Base.Orientation] = 6
    assert as_image(picture).size == (24, 16)


@pytest.mark.parametrize("block", [None, b"", b"II*\0", b"MM\0*\0\0\0\x08\xff\xff", b"garbage" * 5])
def test_broken_exif_means_upright(block):
    assert orientation(block) == 1
