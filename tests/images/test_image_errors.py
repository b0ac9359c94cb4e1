"""Files that are no images, damaged, or too large; and images that a format cannot hold."""

import os

import numpy as np
import pytest

from glualign.errors import ImageError, OutputError
from glualign.images import read_image, write_image

PIXELS = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
EXTENSIONS = (".jpg", ".png", ".webp", ".tif", ".bmp", ".ppm")


def refused(path, words, **options):
    with pytest.raises(ImageError, match=words) as caught:
        read_image(path, **options)
    assert str(path) in str(caught.value)


def test_missing_folder_empty_and_text(tmp_path):
    refused(tmp_path / "none.png", "no such file")
    refused(tmp_path, "is a folder")
    (tmp_path / "empty.png").touch()
    refused(tmp_path / "empty.png", "file is empty")
    (tmp_path / "text.jpg").write_text("this is not a picture")
    refused(tmp_path / "text.jpg", "is not an image")


@pytest.mark.skipif(os.name == "nt" or os.getuid() == 0, reason="permissions do not bind this user")
def test_unreadable(tmp_path):
    (tmp_path / "closed.png").write_bytes(b"x")
    (tmp_path / "closed.png").chmod(0)
    refused(tmp_path / "closed.png", "cannot be read")


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.99])
@pytest.mark.parametrize(
    ("extension", "kind"),
    [*[(extension, "uint8") for extension in EXTENSIONS], *[(e, "uint16") for e in (".png", ".tif", ".ppm")]],
)
def test_truncated(tmp_path, extension, kind, share):
    write_image(tmp_path / f"whole{extension}", PIXELS.astype(kind) * (257 if kind == "uint16" else 1))
    data = (tmp_path / f"whole{extension}").read_bytes()
    (tmp_path / f"cut{extension}").write_bytes(data[: int(len(data) * share)])
    refused(tmp_path / f"cut{extension}", "truncated|damaged|not an image|empty")


@pytest.mark.parametrize(("extension", "length"), [(".jpg", 4), (".tif", 4), (".bmp", 2), (".gif", 6)])
def test_a_file_that_ends_in_a_number_is_truncated_rather_than_unsupported(tmp_path, extension, length):
    from PIL import Image as PillowImage

    PillowImage.fromarray(PIXELS).save(tmp_path / f"whole{extension}")
    (tmp_path / f"cut{extension}").write_bytes((tmp_path / f"whole{extension}").read_bytes()[:length])
    refused(tmp_path / f"cut{extension}", "truncated or damaged")


def test_content_decides_not_the_extension(tmp_path):
    write_image(tmp_path / "image.png", PIXELS)
    (tmp_path / "image.png").rename(tmp_path / "image.jpg")
    np.testing.assert_array_equal(read_image(tmp_path / "image.jpg").pixels, PIXELS)


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_size_limit(tmp_path, extension):
    path = tmp_path / f"image{extension}"
    write_image(path, PIXELS)
    refused(path, "64 x 64 pixels exceed the limit", max_pixels=64 * 64 - 1)
    assert read_image(path, max_pixels=64 * 64).size == (64, 64)
    assert read_image(path, max_pixels=None).size == (64, 64)


@pytest.mark.parametrize(
    ("name", "pixels", "words"),
    [
        ("a.jpg", PIXELS.astype(np.uint16), r"JPEG cannot hold 16-bit RGB pixels; write .png or .tif"),
        ("a.jpg", np.zeros((4, 4, 4), np.uint8), r"JPEG cannot hold 8-bit RGBA pixels"),
        ("a.png", PIXELS.astype(np.float32), r"PNG cannot hold float RGB pixels; write .tif"),
        ("a.pgm", PIXELS, r"PGM cannot hold 8-bit RGB"),
        ("a.webp", np.zeros((2, 17_000, 3), np.uint8), r"WebP holds at most 16383 pixels a side"),
        ("a.xyz", PIXELS, r"cannot write images as .xyz; use one of .jpg"),
        ("a", PIXELS, r"a name without extension"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_and_nothing_is_written(tmp_path, name, pixels, words):
    with pytest.raises(ImageError, match=words):
        write_image(tmp_path / name, pixels)
    assert list(tmp_path.iterdir()) == []


def test_quality_out_of_range(tmp_path):
    with pytest.raises(ImageError, match="quality 101 is outside 1 to 100"):
        write_image(tmp_path / "a.jpg", PIXELS, quality=101)


def test_unwritable_output(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        write_image(tmp_path / "file" / "image.png", PIXELS)
