"""What is written is what is read: depth, channels, profile, EXIF; checked with independent readers too."""

import struct
from contextlib import nullcontext

import cv2
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, ImageCms, features
from PIL import Image as PillowImage

from glualign.errors import ImageError
from glualign.flow import Flow
from glualign.images import Image, as_image, read_image, to_rgb8, write_image
from glualign.images.exif import orientation
from glualign.rendering import warp_image

SHAPES = {1: (5, 7), 2: (5, 7, 2), 3: (5, 7, 3), 4: (5, 7, 4)}
LOSSLESS = [
    *[(".png", kind, channels) for kind in ("uint8", "uint16") for channels in (1, 2, 3, 4)],
    *[(".tif", kind, channels) for kind in ("uint8", "uint16", "float32") for channels in (1, 2, 3, 4)],
    *[(".webp", "uint8", channels) for channels in (3, 4)],
    *[(".bmp", "uint8", channels) for channels in (1, 3)],
    *[(".ppm", kind, 3) for kind in ("uint8", "uint16")],
    *[(".pgm", kind, 1) for kind in ("uint8", "uint16")],
]


def noise(kind, channels, seed=0):
    generator = np.random.default_rng(seed)
    if kind == "float32":
        return generator.normal(0, 10, SHAPES[channels]).astype(np.float32)
    return generator.integers(0, np.iinfo(kind).max, SHAPES[channels], dtype=kind, endpoint=True)


@pytest.fixture(scope="module")
def profile():
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture
def exif():
    block = PillowImage.Exif()
    block[ExifTags.Base.Orientation] = 1
    block[ExifTags.Base.Make] = "Maker"
    block[ExifTags.IFD.Exif] = {
        ExifTags.Base.DateTimeOriginal: "2020:02:03 04:05:06",
        ExifTags.Base.ExifImageWidth: 99,
    }
    return block.tobytes().removeprefix(b"Exif\0\0")


@pytest.mark.parametrize(("extension", "kind", "channels"), LOSSLESS)
def test_pixels_come_back_exactly(tmp_path, extension, kind, channels):
    pixels = noise(kind, channels)
    path = tmp_path / f"image{extension}"
    write_image(path, pixels)
    found = read_image(path)
    assert found.pixels.dtype == kind
    np.testing.assert_array_equal(found.pixels, pixels)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_png_as_opencv_sees_it(tmp_path, kind, channels):
    pixels = noise(kind, channels)
    write_image(tmp_path / "image.png", pixels)
    seen = cv2.imread(str(tmp_path / "image.png"), cv2.IMREAD_UNCHANGED)
    expected = {
        1: pixels,
        2: pixels[..., [0, 0, 0, 1]] if channels == 2 else None,
        3: pixels[..., ::-1] if channels == 3 else None,
        4: pixels[..., [2, 1, 0, 3]] if channels == 4 else None,
    }[channels]
    np.testing.assert_array_equal(seen, expected)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_tiff_as_tifffile_sees_it(tmp_path, kind, channels, profile, exif):
    pixels = noise(kind, channels)
    write_image(tmp_path / "image.tif", Image(pixels, icc=profile, exif=exif))
    with tifffile.TiffFile(tmp_path / "image.tif") as file:
        np.testing.assert_array_equal(file.asarray(), pixels)
        tags = file.pages[0].tags
        assert bytes(tags[34675].value) == profile
        assert tags[271].value == "Maker"
        assert tags[34665].value["DateTimeOriginal"] == "2020:02:03 04:05:06"


@pytest.mark.parametrize(
    ("extension", "kind"),
    [(".jpg", "uint8"), (".png", "uint8"), (".png", "uint16"), (".webp", "uint8"), (".tif", "uint16")],
)
def test_profile_and_exif_are_in_the_file(tmp_path, extension, kind, profile, exif):
    path = tmp_path / f"image{extension}"
    write_image(path, Image(noise(kind, 3), icc=profile, exif=exif))
    with PillowImage.open(path) as picture:
        assert picture.info["icc_profile"] == profile
        block = picture.getexif()
        assert block[ExifTags.Base.Make] == "Maker"
        inner = block.get_ifd(ExifTags.IFD.Exif)
        assert inner[ExifTags.Base.DateTimeOriginal] == "2020:02:03 04:05:06"
        assert inner[ExifTags.Base.ExifImageWidth] == 7, "the width must be that of the image written"
    again = read_image(path)
    assert again.icc == profile
    assert b"2020:02:03" in again.exif


@pytest.mark.parametrize(
    ("extension", "lost"),
    [
        (".bmp", "EXIF and colour profile"),
        (".ppm", "EXIF and colour profile and density"),
        (".png", ""),
        (".webp", ""),
    ],
)
def test_metadata_that_a_format_cannot_hold_is_told(tmp_path, extension, lost, profile, exif):
    image = Image(noise("uint8", 3), exif=exif, icc=profile, dpi=(300.0, 300.0))
    told = (f"written without its {lost}, which {extension[1:].upper()} cannot hold",) if lost else ()
    assert write_image(tmp_path / f"a{extension}", image) == told
    assert write_image(tmp_path / f"a{extension}", image.pixels) == ()


@pytest.mark.parametrize("damaged", [False, True])
def test_damaged_exif_does_not_stop_a_tiff(tmp_path, damaged):
    kind = 16 if damaged else 5  # an integer of 64 bits, which classic TIFF cannot hold, or a ratio
    first = struct.pack("<HHHII", 2, 274, 3, 1, 6) + struct.pack("<HHII", 0x8769, 4, 1, 38) + bytes(4)
    inner = struct.pack("<HHHIII", 1, 0x829A, kind, 1, 56, 0) + struct.pack("<II", 1, 50)
    notes = write_image(tmp_path / "a.tif", Image(noise("uint8", 3), exif=b"II*\0\x08\0\0\0" + first + inner))
    found = read_image(tmp_path / "a.tif", apply_orientation=False)
    np.testing.assert_array_equal(found.pixels, noise("uint8", 3))
    assert orientation(found.exif) == 6
    exif = PillowImage.Exif()
    exif.load(found.exif)
    assert notes == (("its EXIF is damaged and left out",) if damaged else ())
    assert exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ExposureTime) == (None if damaged else 0.02)


@pytest.mark.parametrize("depth", ["uint8", "uint16"])
@pytest.mark.parametrize("extension", [".jpg", ".png", ".tif", ".bmp"])
def test_density_is_kept(tmp_path, extension, depth):
    if depth == "uint16" and extension in (".jpg", ".bmp"):
        pytest.skip("8 bit only")
    path = tmp_path / f"image{extension}"
    write_image(path, Image(noise(depth, 3), dpi=(300.0, 200.0)))
    assert read_image(path).dpi == pytest.approx((300, 200), abs=0.02)  # whole pixels per metre
    with PillowImage.open(path) if depth == "uint8" else nullcontext() as picture:
        assert picture is None or picture.info["dpi"] == pytest.approx((300, 200), abs=0.02)
    write_image(path, Image(noise(depth, 3)))
    assert read_image(path).dpi == (pytest.approx((96, 96), abs=0.02) if extension == ".bmp" else None)


def test_density_in_exif_is_that_of_the_image_and_turns_with_it(tmp_path):
    block = PillowImage.Exif()
    block[ExifTags.Base.XResolution], block[ExifTags.Base.YResolution] = 72.0, 72.0
    block[ExifTags.Base.ResolutionUnit], block[ExifTags.Base.Orientation] = 3, 6
    exif = block.tobytes().removeprefix(b"Exif\0\0")
    write_image(tmp_path / "a.jpg", Image(noise("uint8", 3), exif=exif, dpi=(300.0, 150.5)))
    with PillowImage.open(tmp_path / "a.jpg") as picture:
        written = picture.getexif()
    assert [float(written[tag]) for tag in (282, 283, 296)] == [300, 150.5, 2]
    assert read_image(tmp_path / "a.jpg").dpi == (150.0, 300.0), "JFIF holds whole numbers"


def test_density_of_a_tiff_in_centimetres_and_without_unit(tmp_path):
    for unit, expected in ((2, (118.0, 59.0)), (3, (299.72, 149.86)), (1, None)):
        tifffile.imwrite(tmp_path / "a.tif", noise("uint8", 3), resolution=(118, 59), resolutionunit=unit)
        assert read_image(tmp_path / "a.tif").dpi == expected


def test_thumbnail_of_the_unwarped_picture_is_not_carried(tmp_path):
    block = PillowImage.Exif()
    block[ExifTags.Base.Make] = "Maker"
    block.get_ifd(ExifTags.IFD.IFD1)[ExifTags.Base.ImageDescription] = "thumbnail"
    raw = bytearray(block.tobytes().removeprefix(b"Exif\0\0"))
    # One entry in the first directory: its pointer to the next lies behind it.
    raw[8 + 2 + 12 : 8 + 2 + 12 + 4] = (8).to_bytes(4, "little" if raw[:2] == b"II" else "big")
    write_image(tmp_path / "image.png", Image(noise("uint8", 3), exif=bytes(raw)))
    written = read_image(tmp_path / "image.png").exif
    assert written[8 + 2 + 12 : 8 + 2 + 12 + 4] == b"\0\0\0\0"


def test_jpeg_quality_changes_the_size(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    for quality in (30, 95):
        write_image(tmp_path / f"{quality}.jpg", pixels, quality=quality)
    assert (tmp_path / "30.jpg").stat().st_size < (tmp_path / "95.jpg").stat().st_size / 2


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF codec")
def test_avif(tmp_path):
    ramp = np.broadcast_to(np.linspace(0, 255, 64, dtype=np.uint8)[None, :, None], (48, 64, 3)).copy()
    write_image(tmp_path / "ramp.avif", ramp)
    found = read_image(tmp_path / "ramp.avif")
    assert np.abs(found.pixels.astype(int) - ramp).mean() < 3


def test_heic(tmp_path):
    pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    ramp = np.broadcast_to(np.linspace(0, 255, 64, dtype=np.uint8)[None, :, None], (48, 64, 3)).copy()
    write_image(tmp_path / "ramp.heic", ramp)
    assert np.abs(read_image(tmp_path / "ramp.heic").pixels.astype(int) - ramp).mean() < 3


@pytest.mark.parametrize("extension", [".jpg", ".avif", ".heic"])
def test_colours_have_full_resolution_at_high_quality(tmp_path, extension):
    if extension == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF codec")
    if extension == ".heic":
        pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[::2, :, 0] = stripes[1::2, :, 2] = 250
    for quality, is_kept in ((None, True), (90, True), (60, False)):
        write_image(tmp_path / f"a{extension}", stripes, quality=quality)
        error = np.abs(read_image(tmp_path / f"a{extension}").pixels.astype(int) - stripes).mean()
        assert (error < 8) == is_kept
    write_image(tmp_path / f"a{extension}", stripes[..., 0])
    assert read_image(tmp_path / f"a{extension}").size == (64, 64)


def test_path_outside_ascii(tmp_path):
    path = tmp_path / "Größe_图像 ✓" / "ünï.png"
    write_image(path, noise("uint16", 3))
    np.testing.assert_array_equal(read_image(path).pixels, noise("uint16", 3))


def test_pages_of_a_tiff(tmp_path):
    pages = [np.full((4 + i, 6), 1000 * i, np.uint16) for i in range(3)]
    with tifffile.TiffWriter(tmp_path / "stack.tif") as writer:
        for page in pages:
            writer.write(page)
    for index, page in enumerate(pages):
        np.testing.assert_array_equal(read_image(tmp_path / "stack.tif", page=index).pixels, page)
    with pytest.raises(ImageError, match=r"has 3 pages; page 3 does not exist"):
        read_image(tmp_path / "stack.tif", page=3)


@pytest.mark.parametrize("name", ["deep.png", "deep.ppm", "flat.png", "flat.ppm", "flat.jpg"])
def test_formats_of_one_page_have_no_second(tmp_path, name):
    write_image(tmp_path / name, noise("uint16" if "deep" in name else "uint8", 3))
    assert read_image(tmp_path / name).pages == 1
    with pytest.raises(ImageError, match=r"has 1 page; page 1 does not exist"):
        read_image(tmp_path / name, page=1)


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tiff_byte_orders_and_bigtiff(tmp_path, order, big):
    pixels = noise("uint16", 3)
    tifffile.imwrite(tmp_path / "image.tif", pixels, byteorder=order, bigtiff=big, photometric="rgb")
    np.testing.assert_array_equal(read_image(tmp_path / "image.tif").pixels, pixels)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "raw"])
def test_tiff_compressions(tmp_path, compression):
    pixels = noise("uint8", 3)
    PillowImage.fromarray(pixels).save(tmp_path / "image.tif", compression=compression)
    np.testing.assert_array_equal(read_image(tmp_path / "image.tif").pixels, pixels)


def test_16_bit_tiff_where_white_is_zero(tmp_path):
    pixels = noise("uint16", 1)
    tifffile.imwrite(tmp_path / "image.tif", pixels, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(tmp_path / "image.tif").pixels, 65535 - pixels)


def test_associated_alpha_becomes_straight(tmp_path):
    pixels = np.array([[[10_000, 20_000, 0, 32768], [0, 0, 0, 0]]], np.uint16)
    tifffile.imwrite(tmp_path / "image.tif", pixels, photometric="rgb", extrasamples=["assocalpha"])
    found = read_image(tmp_path / "image.tif").pixels
    np.testing.assert_allclose(found[0, 0], [19_999, 39_999, 0, 32768], atol=2)
    np.testing.assert_array_equal(found[0, 1], 0)


def test_float16_tiff_becomes_float32_and_float64_stays(tmp_path):
    for kind, kept in (("float16", "float32"), ("float64", "float64")):
        pixels = np.linspace(50_000, 50_001, 35).reshape(5, 7).astype(kind)
        tifffile.imwrite(tmp_path / "image.tif", pixels)
        found = read_image(tmp_path / "image.tif").pixels
        assert found.dtype == kept
        np.testing.assert_array_equal(found, pixels)


def test_a_palette_stays_and_gives_colours_when_asked(tmp_path):
    labels = np.array([[0, 1, 2], [2, 1, 0]], np.uint8)
    picture = PillowImage.fromarray(labels)
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    picture.save(tmp_path / "labels.png")
    kept = read_image(tmp_path / "labels.png")
    assert kept.is_labels
    np.testing.assert_array_equal(kept.as_colours().pixels[0, 1], [0, 255, 0])
    np.testing.assert_array_equal(kept.pixels, labels)
    np.testing.assert_array_equal(to_rgb8(kept)[1, 0], [0, 0, 255])
    for extension in (".png", ".tif", ".bmp"):
        write_image(tmp_path / f"again{extension}", kept)
        with PillowImage.open(tmp_path / f"again{extension}") as again:
            assert again.mode == "P"
            np.testing.assert_array_equal(np.asarray(again), labels)
    write_image(tmp_path / "colours.webp", kept)
    np.testing.assert_array_equal(read_image(tmp_path / "colours.webp").pixels[1, 0], [0, 0, 255])


@pytest.mark.parametrize(
    ("name", "transparency", "alpha"),
    [("a.png", 1, (255, 0, 255)), ("a.png", b"\xff\x00\x60", (255, 0, 96)), ("a.gif", 1, (255, 0, 255))],
)
def test_a_palette_keeps_its_transparency(tmp_path, name, transparency, alpha):
    labels = np.array([[0, 1, 2]], np.uint8)
    picture = PillowImage.fromarray(labels)
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    picture.save(tmp_path / name, transparency=transparency)
    kept = read_image(tmp_path / name)
    seen = np.array([[[255, 0, 0, 255], [0, 255, 0, 0], [0, 0, 255, 255]]], np.uint8)
    seen[..., 3] = alpha
    assert kept.is_labels
    assert kept.kind == "8-bit palette"
    np.testing.assert_array_equal(kept.as_colours().pixels, seen)
    half, valid = warp_image(kept, Flow(np.full((1, 3, 2), (0.6, 0), np.float32), (1, 3)))
    assert valid.tolist() == [[True, True, False]]
    np.testing.assert_array_equal(half.as_colours().pixels, seen[:, [1, 2, 1]], "the last shows nothing")
    write_image(tmp_path / "b.png", kept)
    with PillowImage.open(tmp_path / "b.png") as again:
        assert again.mode == "P"
        np.testing.assert_array_equal(np.asarray(again), labels)
        np.testing.assert_array_equal(np.asarray(again.convert("RGBA")), seen)
    for extension in (".tif", ".webp"):
        write_image(tmp_path / f"b{extension}", kept)
        np.testing.assert_array_equal(read_image(tmp_path / f"b{extension}").pixels, seen)
    for extension in (".jpg", ".bmp"):
        with pytest.raises(ImageError, match="cannot hold 8-bit RGBA pixels"):
            write_image(tmp_path / f"b{extension}", kept)
    found = read_image(tmp_path / name, mask_from="alpha")
    np.testing.assert_array_equal(found.missing, [[False, True, False]])


def test_later_frames_of_a_gif_are_labels_too(tmp_path):
    frames = [PillowImage.fromarray(np.array([[i, 1, 2]], np.uint8)) for i in (0, 2)]
    for frame in frames:
        frame.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    found = read_image(tmp_path / "a.gif", page=1)
    assert found.is_labels
    np.testing.assert_array_equal(to_rgb8(found), [[[0, 0, 255], [0, 255, 0], [0, 0, 255]]])


def test_cmyk_without_profile_is_converted(tmp_path):
    cmyk = PillowImage.new("CMYK", (8, 8), (0, 255, 255, 0))
    cmyk.save(tmp_path / "red.tif")
    red = read_image(tmp_path / "red.tif").pixels[4, 4]
    assert red[0] > 200
    assert max(red[1:]) < 60


def test_bilevel_becomes_grey(tmp_path):
    PillowImage.fromarray(np.eye(9, dtype=bool)).save(tmp_path / "eye.png")
    np.testing.assert_array_equal(read_image(tmp_path / "eye.png").pixels, np.eye(9, dtype=np.uint8) * 255)


def test_pgm_of_12_bit_is_scaled_to_the_full_range(tmp_path):
    (tmp_path / "image.pgm").write_bytes(
        b"P5\n# 12 bit\n3 1\n4095\n" + np.array([0, 2048, 4095], ">u2").tobytes()
    )
    found = read_image(tmp_path / "image.pgm")
    np.testing.assert_array_equal(found.pixels, [[0, 32776, 65535]])
    assert found.notes == ("its values, 0 to 4095, are scaled to 65535",)


def test_as_image_takes_what_users_have(tmp_path):
    pixels = noise("uint8", 3)
    write_image(tmp_path / "image.png", pixels)
    for value in (tmp_path / "image.png", str(tmp_path / "image.png"), pixels, PillowImage.fromarray(pixels)):
        np.testing.assert_array_equal(as_image(value).pixels, pixels)
    image = Image(pixels)
    assert as_image(image) is image
    assert as_image(pixels[..., :1]).pixels.shape == (5, 7)
    assert as_image(pixels.astype(np.float64)).pixels.dtype == np.float32
    np.testing.assert_array_equal(as_image(np.eye(3, dtype=bool)).pixels, np.eye(3) * 255)
    assert as_image(pixels.astype(">u2")).pixels.dtype == np.uint16
    with pytest.raises(ImageError, match="not an image"):
        as_image(42)


@pytest.mark.parametrize("kind", [">u2", ">i4", ">f4", ">f8", "<u2"])
def test_pixels_are_in_the_byte_order_of_the_machine(kind):
    values = np.linspace(0, 60_000, 600).reshape(20, 30).astype(kind)
    image = Image(values)
    assert image.pixels.dtype.isnative
    assert image.replace(values).pixels.dtype.isnative
    np.testing.assert_array_equal(image.pixels, values)
    warped, _ = warp_image(image, Flow(np.zeros((20, 30, 2), np.float32)))
    np.testing.assert_array_equal(warped.pixels, values)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32", "float64"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_buffer_of_a_frame_may_be_used_again(kind, channels):
    frame = np.full((4, 5, channels), 7, kind)
    image = as_image(frame)
    frame[:] = 9
    assert (image.pixels == 7).all()


def test_pixels_that_an_array_masks_are_ignored():
    rgb = np.ma.masked_greater(noise("uint8", 3), 200)
    for value in (rgb, rgb[..., 0], rgb[..., :1]):
        image = as_image(value)
        np.testing.assert_array_equal(image.pixels, value.data.squeeze())
        np.testing.assert_array_equal(image.missing, np.atleast_3d(value.mask).any(axis=2))
    assert as_image(np.ma.array(noise("uint8", 3))).missing is None


@pytest.mark.parametrize(
    "array", [np.zeros((0, 5)), np.zeros((2, 2, 7), np.uint8), np.zeros(4), np.zeros((2, 2), int)]
)
def test_arrays_that_are_no_images_are_refused(array):
    with pytest.raises(ImageError):
        as_image(array)


def test_to_rgb8_of_every_kind():
    assert to_rgb8(Image(np.array([[0, 128, 255]], np.uint8)))[0].tolist() == [[0] * 3, [128] * 3, [255] * 3]
    assert to_rgb8(Image(np.array([[0, 32896, 65535]], np.uint16)))[0, :, 0].tolist() == [0, 128, 255]
    assert to_rgb8(Image(np.array([[0, 0.5, 1]], np.float32)))[0, :, 0].tolist() == [0, 128, 255]
    rgba = np.array([[[1, 2, 3, 0]]], np.uint8)
    out = to_rgb8(Image(rgba))
    assert out.tolist() == [[[1, 2, 3]]]
    assert out.flags.c_contiguous
    assert to_rgb8(Image(np.array([[[9, 0]]], np.uint8))).tolist() == [[[9, 9, 9]]]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_large_8_bit_png_are_written_without_a_copy_of_their_pixels(tmp_path, monkeypatch, channels):
    """By the writer of 16 bit, which goes strip by strip; Pillow would take four bytes a pixel."""
    from glualign.images import write

    monkeypatch.setattr(write, "_LARGE", 10)
    pixels = noise("uint8", channels)
    with monkeypatch.context() as patch:
        patch.setattr(PillowImage, "fromarray", None)
        write_image(tmp_path / "a.png", pixels)
    stored = np.asarray(PillowImage.open(tmp_path / "a.png"))
    np.testing.assert_array_equal(stored, pixels)


@pytest.mark.parametrize("value", [4_000_000_000, 0])
@pytest.mark.parametrize("extension", [".png", ".jpg", ".tif"])
def test_a_density_that_cannot_be_is_left_out(tmp_path, extension, value, exif):
    tifffile.imwrite(tmp_path / "a.tif", noise("uint8", 3), resolution=(value, 300), resolutionunit=3)
    image = read_image(tmp_path / "a.tif")
    assert image.dpi is None
    write_image(tmp_path / f"b{extension}", image.replace(exif=exif))
    picture = PillowImage.fromarray(noise("uint8", 3))
    for wrong in (300, None, "wide", (300,)):
        picture.info["dpi"] = wrong
        assert as_image(picture).dpi is None


def test_the_density_of_the_source_is_not_written_for_a_target_without_one(tmp_path):
    block = PillowImage.Exif()
    block[ExifTags.Base.XResolution], block[ExifTags.Base.YResolution] = 300.0, 300.0
    exif = block.tobytes().removeprefix(b"Exif\0\0")
    write_image(tmp_path / "a.jpg", Image(noise("uint8", 3), exif=exif))
    with PillowImage.open(tmp_path / "a.jpg") as picture:
        assert picture.getexif()[ExifTags.Base.XResolution] == 72, "by EXIF: not known"
