"""TIFF as scanners, satellites and microscopes write it: same bands and values out, or refused by name."""

import struct

import numpy as np
import pytest
import tifffile

from glualign.alignment import warp_image
from glualign.errors import ImageError, MissingExtraError
from glualign.flow import Flow
from glualign.images import read_image, to_rgb8, write_image
from glualign.images.exif import upright

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
    assert read_image(tmp_path / "in.tif", page=4).missing is None
    np.testing.assert_array_equal(read_image(tmp_path / "in.tif", page=1).missing, ~shown[::2, ::2])


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
