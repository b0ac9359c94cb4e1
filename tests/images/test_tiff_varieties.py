"""TIFF as scanners, satellites and microscopes write it: same bands and values out, or refused by name."""

import struct

import numpy as np
import pytest
import tifffile

from glualign.errors import ImageError, MissingExtraError
from glualign.flow import Flow
from glualign.images import read_image, to_rgb8, write_image
from glualign.images.exif import upright
from glualign.rendering import warp_image

GENERATOR = np.random.default_rng(7)


def noise(kind, *shape):
    if np.dtype(kind).kind == "f":
        return GENERATOR.normal(0, 100, shape).astype(kind)
    limits = np.iinfo(kind)
    return GENERATOR.integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)


def identity(height, width):
    return Flow(np.zeros((height, width, 2), np.float32))


def comes_back(tmp_path, pixels):
    """Whether what was written to in.tif is read, warped by nothing and written with the same values."""
    image = read_image(tmp_path / "in.tif")
    np.testing.assert_array_equal(image.pixels, pixels)
    assert image.pixels.dtype == pixels.dtype
    warped, valid = warp_image(image, identity(*image.size))
    assert valid.all()
    write_image(tmp_path / "out.tif", warped)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif"), pixels)
    again = read_image(tmp_path / "out.tif")
    np.testing.assert_array_equal(again.pixels, pixels)
    assert (again.extrasamples, again.is_labels) == (image.extrasamples, image.is_labels)
    return image


@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
def test_planar(tmp_path, kind, tile):
    pixels = noise(kind, 40, 50, 3)
    tifffile.imwrite(
        tmp_path / "in.tif",
        np.moveaxis(pixels, -1, 0),
        photometric="rgb",
        planarconfig="separate",
        tile=tile,
        metadata=None,
    )
    comes_back(tmp_path, pixels)


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize(
    ("photometric", "count", "shown"),
    [("minisblack", 2, 1), ("minisblack", 3, 3), ("minisblack", 4, 3), ("minisblack", 7, 3), ("rgb", 4, 3)],
)
def test_every_band_is_kept(tmp_path, photometric, count, shown, kind, planar):
    pixels = noise(kind, 20, 30, count)
    pixels[5:9, 5:9, 3:] = 0  # where near infrared is 0, colours are not transparent
    extra = ["unspecified"] * (count - (3 if photometric == "rgb" else 1))
    tifffile.imwrite(
        tmp_path / "in.tif",
        pixels if planar == "contig" else np.moveaxis(pixels, -1, 0),
        photometric=photometric,
        planarconfig=planar,
        extrasamples=extra,
        metadata=None,
    )
    image = comes_back(tmp_path, pixels)
    assert not image.has_alpha
    assert image.colours == (3 if photometric == "rgb" else 1)
    rgb = to_rgb8(image)
    assert len({rgb[..., c].tobytes() for c in range(3)}) == shown
    if count != 3:
        with pytest.raises(ImageError, match=r"cannot hold .* bands pixels; write \.tif"):
            write_image(tmp_path / "out.png", image)


def test_alpha_is_alpha_where_the_file_says_so(tmp_path):
    pixels = noise("uint16", 20, 30, 4)
    tifffile.imwrite(tmp_path / "in.tif", pixels, photometric="rgb", extrasamples=["unassalpha"])
    assert comes_back(tmp_path, pixels).has_alpha


@pytest.mark.parametrize("kind", ["int8", "int16", "int32", "uint32", "float64"])
def test_every_type_of_number(tmp_path, kind):
    pixels = noise(kind, 20, 30)
    tifffile.imwrite(tmp_path / "in.tif", pixels)
    image = comes_back(tmp_path, pixels)
    assert image.is_labels == (kind in ("int32", "uint32"))
    assert np.ptp(to_rgb8(image)) == 255


def test_64_bit_integers_are_refused_by_name(tmp_path):
    tifffile.imwrite(tmp_path / "in.tif", np.arange(35).reshape(5, 7))
    with pytest.raises(ImageError, match="int64 pixels are not supported; convert to 32 bit"):
        read_image(tmp_path / "in.tif")


@pytest.mark.parametrize("compression", ["zstd", "lzma", "lerc", "lzw", "packbits", "zlib", "jpeg2000"])
def test_codecs_of_16_bit(tmp_path, compression):
    pytest.importorskip("imagecodecs")
    pixels = noise("uint16", 40, 50)
    tifffile.imwrite(tmp_path / "in.tif", pixels, compression=compression)
    comes_back(tmp_path, pixels)


def plain_tiff(bits, width, height, data):
    """A grey TIFF of one uncompressed strip."""
    tags = [(256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1), (262, 3, 1)]
    tags += [(273, 4, 122), (277, 3, 1), (278, 3, height), (279, 4, len(data))]
    body = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", t, k, 1, v) for t, k, v in tags)
    return b"II*\0" + struct.pack("<I", 8) + body + struct.pack("<I", 0) + data


def test_packed_12_bit_keeps_its_numbers(tmp_path):
    pytest.importorskip("imagecodecs")
    pixels = noise("uint16", 40, 50) >> 4
    bits = np.unpackbits(pixels.astype(">u2").view(np.uint8).reshape(40, 50, 2), axis=2)[..., 4:]
    (tmp_path / "in.tif").write_bytes(plain_tiff(12, 50, 40, np.packbits(bits).tobytes()))
    comes_back(tmp_path, pixels)


@pytest.fixture
def no_codecs(monkeypatch):
    """As if imagecodecs were not installed."""
    import sys

    from tifffile import tifffile as module

    fallback = pytest.importorskip("tifffile._imagecodecs")
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    monkeypatch.setattr(module, "imagecodecs", fallback)
    for name in ("COMPRESSORS", "DECOMPRESSORS", "PREDICTORS", "UNPREDICTORS"):
        table = getattr(tifffile.TIFF, name)
        monkeypatch.setattr(table, "_codecs", {1: table._codecs[1]})


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_lzw_without_imagecodecs(tmp_path, no_codecs, kind, channels):
    from PIL import Image as PillowImage

    whole = noise(kind, 40, 50, channels)
    pixels = whole[..., 0] if channels == 1 else whole
    if kind == "uint8" or channels == 1:
        PillowImage.fromarray(pixels).save(tmp_path / "in.tif", compression="tiff_lzw")
    else:
        import cv2

        cv2.imwrite(str(tmp_path / "in.tif"), pixels[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    comes_back(tmp_path, pixels)


def test_a_missing_codec_is_named_with_its_remedy(tmp_path, no_codecs):
    blob = bytearray(plain_tiff(16, 50, 40, bytes(4000)))
    at = blob.index(struct.pack("<HHI", 259, 3, 1))
    struct.pack_into("<H", blob, at + 8, 34887)  # LERC
    (tmp_path / "in.tif").write_bytes(blob)
    with pytest.raises(MissingExtraError, match=r"in\.tif: .*LERC.* needs imagecodecs; .*glualign\[tiff\]"):
        read_image(tmp_path / "in.tif")


@pytest.mark.parametrize("kind", ["imagej", "ome", "shaped"])
def test_descriptions_of_a_stack_are_not_copied_to_one_page(tmp_path, kind):
    options = {"imagej": {"imagej": True}, "ome": {"ome": True, "metadata": {"axes": "CYX"}}, "shaped": {}}
    tifffile.imwrite(
        tmp_path / "in.tif", noise("uint16", 3, 20, 30), photometric="minisblack", **options[kind]
    )
    write_image(tmp_path / "out.tif", read_image(tmp_path / "in.tif"))
    assert tifffile.imread(tmp_path / "out.tif").shape == (20, 30)


def test_a_description_in_words_is_copied(tmp_path):
    tifffile.imwrite(tmp_path / "in.tif", noise("uint16", 20, 30), description="Café".encode(), metadata=None)
    write_image(tmp_path / "out.tif", read_image(tmp_path / "in.tif"))
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert "Caf" in file.pages[0].description


def test_pages_are_counted_and_told(tmp_path):
    with tifffile.TiffWriter(tmp_path / "in.tif") as writer:
        for _ in range(4):
            writer.write(noise("uint8", 20, 30), metadata=None)
        writer.write(noise("uint8", 10, 15), subfiletype=1, metadata=None)  # an overview is no page
    image = read_image(tmp_path / "in.tif", page=2)
    assert image.pages == 4
    assert image.notes == ("has 4 pages or frames: number 2 is read (--page N reads another)",)


def test_thumbnails_overviews_and_masks_are_no_pages(tmp_path):
    scenes, shown = noise("uint8", 2, 20, 30), np.arange(30) % 7 > 0
    mask = np.broadcast_to(shown, (20, 30)) * np.uint8(255)
    with tifffile.TiffWriter(tmp_path / "in.tif") as writer:
        for scene in scenes:
            writer.write(scene, metadata=None)
            writer.write(scene[::2, ::2], metadata=None, subfiletype=1)
        writer.write(mask, metadata=None, subfiletype=2)
    with tifffile.TiffFile(tmp_path / "in.tif", mode="r+b") as file:
        file.pages[4].tags[254].overwrite(4)
    for index, scene in enumerate(scenes):
        found = read_image(tmp_path / "in.tif", page=index)
        assert found.pages == 2
        np.testing.assert_array_equal(found.pixels, scene)
    np.testing.assert_array_equal(found.missing, mask == 0)
    assert read_image(tmp_path / "in.tif").missing is None
    with pytest.raises(ImageError, match="has 2 pages; page 2 does not exist"):
        read_image(tmp_path / "in.tif", page=2)


@pytest.mark.parametrize("bits", [1, 8])
def test_the_internal_mask_of_gdal_says_what_holds_data(tmp_path, bits):
    shown = np.zeros((20, 30), bool)
    shown[:, :12] = True
    pixels, mask = noise("uint8", 20, 30, 3), shown if bits == 1 else shown * np.uint8(255)
    with tifffile.TiffWriter(tmp_path / "in.tif") as writer:
        writer.write(pixels, photometric="rgb", metadata=None, extratags=[(274, "H", 1, 6, True)])
        writer.write(pixels[::2, ::2], photometric="rgb", metadata=None, subfiletype=1)
        writer.write(mask[::2, ::2], photometric="minisblack", metadata=None, subfiletype=2)
        packed = "zlib" if bits == 8 else None
        writer.write(mask, photometric="minisblack", metadata=None, subfiletype=2, compression=packed)
        writer.write(pixels, photometric="rgb", metadata=None)
    with tifffile.TiffFile(tmp_path / "in.tif", mode="r+b") as file:  # tifffile writes masks of 1 bit only
        for page, kind in ((2, 5), (3, 4)):
            file.pages[page].tags[254].overwrite(kind)
            file.pages[page].tags[262].overwrite(4)
    image = read_image(tmp_path / "in.tif", apply_orientation=False)
    assert image.notes[0] == "its internal mask says which pixels hold data; it is not copied"
    assert image.pages == 2
    np.testing.assert_array_equal(image.missing, ~shown)
    np.testing.assert_array_equal(read_image(tmp_path / "in.tif").missing, ~upright(shown, 6))
    warped, valid = warp_image(image, identity(20, 30))
    np.testing.assert_array_equal(valid, shown)
    assert not warped.pixels[~shown].any()
    more = np.ones((20, 30), bool)
    more[:5] = False
    np.testing.assert_array_equal(image.ignore(more).missing, ~(shown & more))
    assert read_image(tmp_path / "in.tif", page=1).missing is None


def test_a_damaged_internal_mask_is_told(tmp_path):
    pixels = noise("uint8", 20, 30)
    with tifffile.TiffWriter(tmp_path / "in.tif") as writer:
        writer.write(pixels, metadata=None)
        writer.write(pixels, metadata=None, subfiletype=2, compression="zlib")
    with tifffile.TiffFile(tmp_path / "in.tif", mode="r+b") as file:
        file.pages[1].tags[254].overwrite(4)
        (start,) = file.pages[1].dataoffsets
    blob = bytearray((tmp_path / "in.tif").read_bytes())
    blob[start : start + 40] = bytes(40)
    (tmp_path / "in.tif").write_bytes(blob)
    image = read_image(tmp_path / "in.tif")
    np.testing.assert_array_equal(image.pixels, pixels)
    assert "its internal mask cannot be read and is left out" in image.notes[0]


def test_a_chain_of_many_pages_is_read_once(tmp_path):
    """90,000 directories took 43 s; the list of those seen was searched for each."""
    tags = [(256, 3, 1), (257, 3, 1), (258, 3, 8), (259, 3, 1), (262, 3, 1)]
    tags += [(273, 4, 8), (277, 3, 1), (278, 3, 1), (279, 4, 1)]
    body = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", t, k, 1, v) for t, k, v in tags)
    blob, count = bytearray(b"II*\0" + struct.pack("<I", 8)), 90_000
    for index in range(count):
        following = len(blob) + len(body) + 4 if index < count - 1 else 0
        blob += body + struct.pack("<I", following)
    (tmp_path / "in.tif").write_bytes(blob)
    assert read_image(tmp_path / "in.tif", page=count - 1).pages == count
    struct.pack_into("<I", blob, len(blob) - 4, 8)  # the last leads back to the first
    (tmp_path / "in.tif").write_bytes(blob)
    with pytest.raises(ImageError, match="page list is broken"):
        read_image(tmp_path / "in.tif")


def test_a_thumbnail_in_front_is_not_taken_for_the_picture(tmp_path):
    with tifffile.TiffWriter(tmp_path / "in.tif") as writer:
        writer.write(noise("uint8", 10, 15), subfiletype=1, metadata=None)
        writer.write(noise("uint8", 20, 30), metadata=None)
    assert read_image(tmp_path / "in.tif").size == (20, 30)


@pytest.mark.parametrize("where", ["sub", "page"])
def test_raw_files_of_cameras_are_refused_by_name(tmp_path, where):
    raw, cfa = noise("uint16", 40, 60), {"photometric": "cfa", "metadata": None}
    with tifffile.TiffWriter(tmp_path / "in.tif") as writer:
        if where == "sub":
            writer.write(
                noise("uint8", 10, 15, 3), photometric="rgb", subfiletype=1, subifds=1, metadata=None
            )
        writer.write(raw, **cfa)
    with pytest.raises(ImageError, match="raw file of a camera; develop it"):
        read_image(tmp_path / "in.tif")


@pytest.mark.parametrize("nodata", ["-9999", "nan", "-3.4028234663852886e+38"])
def test_no_data_is_not_interpolated_and_fills_what_is_not_covered(tmp_path, nodata):
    heights = np.linspace(500, 1200, 600, dtype=np.float32).reshape(20, 30)
    heights[8:12, 10:14] = np.float32(nodata)
    tifffile.imwrite(tmp_path / "in.tif", heights, extratags=[(42113, "s", 0, nodata, True)], metadata=None)
    image = read_image(tmp_path / "in.tif")
    hole = image.missing
    np.testing.assert_array_equal(hole, np.isnan(heights) | (heights == np.float32(nodata)))
    warped, valid = warp_image(image, Flow(np.full((20, 30, 2), (3.5, -1.25), np.float32)))
    assert 500 <= warped.pixels[valid].min() <= warped.pixels[valid].max() <= 1200
    assert not valid[10:13, 7:10].any()
    outside = warped.pixels[~valid]
    assert np.isnan(outside).all() if nodata == "nan" else (outside == np.float32(nodata)).all()
    write_image(tmp_path / "out.tif", warped)
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert float(file.pages[0].tags[42113].value) == pytest.approx(float(nodata), nan_ok=True)


def test_a_no_data_value_that_the_type_cannot_hold_is_no_value(tmp_path):
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)  # -9999 as uint8 would be 241
    tifffile.imwrite(tmp_path / "in.tif", pixels, extratags=[(42113, "s", 0, "-9999", True)], metadata=None)
    assert read_image(tmp_path / "in.tif").missing is None


@pytest.mark.parametrize("kind", ["jpeg2k", "webp", "png", "lerc"])
def test_a_segment_that_holds_more_than_its_place_is_refused(tmp_path, kind):
    """543 bytes of JPEG 2000 would fill 64 MB, 60 kB some gigabytes."""
    codecs = pytest.importorskip("imagecodecs")
    compression = {"jpeg2k": 34712, "webp": 50001, "png": 34933, "lerc": 34887}[kind]
    for side, words in ((2000, "more pixels than it claims"), (100, None)):
        inner = np.zeros((side, side) if kind != "webp" else (side, side, 3), np.uint8)
        blob = bytearray(plain_tiff(8, 100, 100, getattr(codecs, f"{kind}_encode")(inner)))
        struct.pack_into("<H", blob, blob.index(struct.pack("<HHI", 259, 3, 1)) + 8, compression)
        (tmp_path / "in.tif").write_bytes(blob)
        if words:
            with pytest.raises(ImageError, match=words):
                read_image(tmp_path / "in.tif")
        elif kind != "webp":
            assert read_image(tmp_path / "in.tif").size == (100, 100)


@pytest.mark.parametrize("tag", [256, 257, 258, 277])
def test_a_size_of_several_numbers_is_refused_before_it_is_multiplied(tmp_path, tag):
    """A width of 33 numbers times a height of 16 million filled 4 GB."""
    blob = bytearray(plain_tiff(8, 100, 100, bytes(10_000)))
    struct.pack_into("<HHII", blob, blob.index(struct.pack("<HH", tag, 3)), tag, 3, 33, 200)
    (tmp_path / "in.tif").write_bytes(blob)
    with pytest.raises(ImageError, match=r"directory is broken|not supported|truncated"):
        read_image(tmp_path / "in.tif")


def test_an_unknown_compression_is_named(tmp_path):
    blob = bytearray(plain_tiff(8, 100, 100, bytes(10_000)))
    struct.pack_into("<H", blob, blob.index(struct.pack("<HHI", 259, 3, 1)) + 8, 50002)
    (tmp_path / "in.tif").write_bytes(blob)
    with pytest.raises(ImageError, match=r"TIFF compression \w+ is not supported"):
        read_image(tmp_path / "in.tif")


def test_files_cut_while_they_are_read(tmp_path, monkeypatch):
    """A mapped file that shrinks kills the process; what is read raises."""
    import os

    import tifffile as module

    path = tmp_path / "in.tif"
    tifffile.imwrite(path, noise("uint8", 500, 600, 3), photometric="rgb", metadata=None)
    whole = module.TiffPage.asarray

    def cut_first(page, *args, **options):
        os.truncate(path, 5000)
        return whole(page, *args, **options)

    monkeypatch.setattr(module.TiffPage, "asarray", cut_first)
    with pytest.raises(ImageError, match="truncated or damaged"):
        read_image(path)


def plain_lab_to_srgb(lab):
    """CIE Lab of D50 to sRGB by the formulas of CIE 15 and IEC 61966-2-1, adapted by Bradford."""
    scaled = (lab[..., :1] + 16) / 116 + lab[..., 1:2] * (0.002, 0, 0) - lab[..., 2:] * (0, 0, 0.005)
    xyz = np.where(scaled > 6 / 29, scaled**3, 3 * (6 / 29) ** 2 * (scaled - 4 / 29)) * (0.9642, 1, 0.8249)
    matrix = ((3.13386, -1.61687, -0.49061), (-0.97877, 1.91614, 0.03345), (0.07195, -0.22899, 1.40524))
    linear = np.clip(xyz @ np.transpose(matrix), 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("photometric", [8, 9, "Pillow"])
def test_lab_has_the_colours_that_the_formulas_say(tmp_path, photometric):
    lab = np.array([[[50, 20, -20], [54, 60, 45], [40, -30, 25], [90, 0, 0]]], float)
    signed = np.rint(lab * (2.55, 1, 1)).astype(np.int16).astype(np.uint8)
    if photometric == "Pillow":
        from PIL import Image as PillowImage

        PillowImage.frombytes("LAB", (4, 1), signed.tobytes()).save(tmp_path / "in.tif")
    else:
        stored = signed if photometric == 8 else signed + np.array([0, 128, 128], np.uint8)
        tifffile.imwrite(tmp_path / "in.tif", stored, photometric="cielab", metadata=None)
        with tifffile.TiffFile(tmp_path / "in.tif", mode="r+b") as file:
            file.pages[0].tags[262].overwrite(photometric)
    found = read_image(tmp_path / "in.tif")
    assert found.notes == ("its LAB colours are converted to sRGB",)
    np.testing.assert_allclose(found.pixels, plain_lab_to_srgb(lab), atol=3)


YCBCR = np.broadcast_to(np.uint8([[[90, 110, 205]]]), (16, 16, 3))


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_ycbcr_is_converted(tmp_path, compression):
    from PIL import Image as PillowImage

    picture = PillowImage.frombytes("YCbCr", (16, 16), YCBCR.tobytes())
    picture.save(tmp_path / "in.tif", compression=compression)
    found = read_image(tmp_path / "in.tif")
    assert found.kind == "8-bit RGB"
    red, green, blue = 90 + 1.402 * 77, 90 - 0.344136 * -18 - 0.714136 * 77, 90 + 1.772 * -18
    np.testing.assert_allclose(found.pixels, np.broadcast_to([red, green, blue], (16, 16, 3)), atol=1)


def test_ycbcr_that_is_not_understood_is_refused_by_name(tmp_path):
    video = (16, 1, 235, 1, 128, 1, 240, 1, 128, 1, 240, 1)
    tags = {
        "chroma subsampling": [(530, "H", 2, (2, 2), True)],
        "unusual coefficients or range": [(530, "H", 2, (1, 1), True), (532, "2I", 6, video, True)],
        "16-bit YCbCr": [(530, "H", 2, (1, 1), True)],
    }
    for words, extratags in tags.items():
        pixels = YCBCR.astype(np.uint16) if words.startswith("16") else YCBCR
        tifffile.imwrite(tmp_path / "in.tif", pixels, photometric="rgb", extratags=extratags, metadata=None)
        with tifffile.TiffFile(tmp_path / "in.tif", mode="r+b") as file:
            file.pages[0].tags[262].overwrite(6)
        with pytest.raises(ImageError, match=rf"{words}.* not supported|not supported .*{words}"):
            read_image(tmp_path / "in.tif")


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_of_few_bits_is_scaled_with_a_note(tmp_path, bits):
    pytest.importorskip("imagecodecs")
    (tmp_path / "in.tif").write_bytes(plain_tiff(bits, 8, 1, bytes([0b11100100] * bits)))
    found = read_image(tmp_path / "in.tif")
    assert found.pixels.max() == (255 if bits == 2 else 0b1110 * 17)
    assert found.notes == (f"its {bits}-bit values are scaled to 8 bit",)


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_no_data_where_white_is_zero(tmp_path, kind):
    pixels = noise(kind, 20, 30) // 2 + 1
    pixels[5:9, 5:9] = 0
    tags = [(42113, "s", 0, "0", True)]
    tifffile.imwrite(tmp_path / "in.tif", pixels, photometric="miniswhite", extratags=tags, metadata=None)
    found = read_image(tmp_path / "in.tif")
    np.testing.assert_array_equal(found.missing, pixels == 0)
    write_image(tmp_path / "out.tif", found)
    np.testing.assert_array_equal(read_image(tmp_path / "out.tif").missing, pixels == 0)


def test_no_data_among_values_of_few_bits(tmp_path):
    pytest.importorskip("imagecodecs")
    (tmp_path / "in.tif").write_bytes(plain_tiff(4, 4, 1, b"\xf0\x3f"))
    data = bytearray((tmp_path / "in.tif").read_bytes())
    at = data.index(struct.pack("<HH", 279, 4))  # the last tag makes room for one more
    data[at + 12 : at + 12] = struct.pack("<HHI4s", 42113, 2, 3, b"15\0\0")
    struct.pack_into("<H", data, 8, 10)
    struct.pack_into("<I", data, data.index(struct.pack("<HH", 273, 4)) + 8, len(data) - 2)
    (tmp_path / "in.tif").write_bytes(data)
    np.testing.assert_array_equal(read_image(tmp_path / "in.tif").missing, [[True, False, False, True]])


def test_no_data_of_a_palette_stays_when_it_gives_colours(tmp_path):
    labels = np.tile(np.arange(5, dtype=np.uint8), (20, 6))
    colormap = np.zeros((3, 256), np.uint16)
    colormap[:, 2] = 65535  # what holds no data is white; all else is black, of the no-data value's number
    tags = [(42113, "s", 0, "2", True)]
    options = {"photometric": "palette", "colormap": colormap, "extratags": tags, "metadata": None}
    tifffile.imwrite(tmp_path / "in.tif", labels, **options)
    image = read_image(tmp_path / "in.tif")
    assert to_rgb8(image).max() == 0, "the holes continue their surroundings"
    np.testing.assert_array_equal(image.as_colours().missing, labels == 2)
    _, valid = warp_image(image, identity(20, 30), "linear")
    np.testing.assert_array_equal(valid, labels != 2)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("nodata", ["-1.7976931348623157e+308", "1e39"])
def test_a_no_data_value_beyond_float32_is_no_value(tmp_path, nodata):
    heights = noise("float32", 20, 30)
    tifffile.imwrite(tmp_path / "in.tif", heights, extratags=[(42113, "s", 0, nodata, True)], metadata=None)
    found = read_image(tmp_path / "in.tif")
    assert found.nodata is None
    assert found.missing is None
