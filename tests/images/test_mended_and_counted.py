"""Files that every viewer shows are read with a note; frames are counted; nothing larger than asked for."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import features

from glualign.errors import ImageError
from glualign.images import read_image, to_rgb8, write_image

PIXELS = np.random.default_rng(3).integers(0, 256, (40, 56, 3), dtype=np.uint8)
SMOOTH = np.broadcast_to(np.arange(56, dtype=np.uint8)[None, :, None] * 4, (40, 56, 3)).copy()


def jpeg(pixels, **options):
    stream = io.BytesIO()
    PillowImage.fromarray(pixels).save(stream, "JPEG", **options)
    return stream.getvalue()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("missing", [1, 2])
def test_a_jpeg_that_lacks_only_its_end_marker_is_whole(tmp_path, missing, progressive):
    blob = jpeg(PIXELS, progressive=progressive)
    (tmp_path / "a.jpg").write_bytes(blob)
    (tmp_path / "b.jpg").write_bytes(blob[:-missing])
    found = read_image(tmp_path / "b.jpg")
    np.testing.assert_array_equal(found.pixels, read_image(tmp_path / "a.jpg").pixels)
    assert found.notes == ("its end marker is missing; the pixels are complete",)


def test_a_printed_jpeg_without_its_end_marker_is_told_to_be_converted_as_well(tmp_path):
    stream = io.BytesIO()
    PillowImage.fromarray(PIXELS).convert("CMYK").save(stream, "JPEG")
    (tmp_path / "a.jpg").write_bytes(stream.getvalue()[:-2])
    converted, mended = read_image(tmp_path / "a.jpg").notes
    assert "CMYK" in converted
    assert "end marker" in mended


@pytest.mark.parametrize("pixels", [PIXELS, SMOOTH], ids=["noise", "smooth"])
@pytest.mark.parametrize("missing", [4, 8, 30, 300])
def test_a_jpeg_that_lacks_pixels_is_refused(tmp_path, pixels, missing):
    (tmp_path / "a.jpg").write_bytes(jpeg(pixels)[:-missing])
    with pytest.raises(ImageError, match="truncated"):
        read_image(tmp_path / "a.jpg")


PAPER = np.where(np.arange(40)[:, None, None] < 16, PIXELS, 255).astype(np.uint8)


@pytest.mark.parametrize("pixels", [PIXELS, SMOOTH, PAPER], ids=["noise", "smooth", "white below"])
@pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 1}, {"progressive": True}], ids=str)
def test_a_jpeg_whose_data_end_before_its_end_marker_is_told(tmp_path, pixels, options):
    blob = jpeg(pixels, subsampling=0, **options)
    (tmp_path / "whole.jpg").write_bytes(blob + b"trailing data")
    assert read_image(tmp_path / "whole.jpg").notes == ()
    if "progressive" not in options:  # its first scan is enough for all pixels, with less detail
        start = blob.index(b"\xff\xda")
        (tmp_path / "cut.jpg").write_bytes(blob[: start + (len(blob) - start) // 2] + b"\xff\xd9")
        assert read_image(tmp_path / "cut.jpg").notes == ("its data end early: one colour fills the rest",)


def chunk(name, data, wrong=0):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data) ^ wrong)


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_a_png_with_a_damaged_comment_is_read_with_a_note(tmp_path, kind):
    write_image(tmp_path / "a.png", PIXELS.astype(kind))
    blob = (tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(blob[:33] + chunk(b"tEXt", b"Comment\0x", wrong=1) + blob[33:])
    found = read_image(tmp_path / "b.png")
    np.testing.assert_array_equal(found.pixels, PIXELS)
    assert found.notes == ("its tEXt chunk is damaged and left out",)
    damaged = bytearray(blob)
    damaged[blob.index(b"IDAT") + 8] ^= 1
    (tmp_path / "b.png").write_bytes(damaged)
    with pytest.raises(ImageError, match="IDAT chunk: wrong checksum"):
        read_image(tmp_path / "b.png")


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
@pytest.mark.parametrize(
    ("gamma", "more", "told"),
    [(100_000, b"", True), (45_455, b"", False), (100_000, chunk(b"sRGB", b"\0"), False)],
)
def test_the_gamma_of_a_png_is_told(tmp_path, kind, gamma, more, told):
    write_image(tmp_path / "a.png", PIXELS.astype(kind))
    blob = (tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(blob[:33] + chunk(b"gAMA", struct.pack(">I", gamma)) + more + blob[33:])
    found = read_image(tmp_path / "b.png")
    np.testing.assert_array_equal(found.pixels, PIXELS)
    assert found.notes == (("its gamma 1 is left out: viewers show the result with 0.4545",) if told else ())


@pytest.mark.parametrize("colours", [1, 3])
def test_16_bit_png_keeps_its_transparent_colour(tmp_path, colours):
    pixels = np.random.default_rng(1).integers(0, 65536, (9, 7, colours), dtype=np.uint16)
    pixels[2:4] = 777
    body = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    blob = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 7, 9, 16, colours & 2, 0, 0, 0))
    blob += chunk(b"tRNS", struct.pack(">H", 777) * colours) + chunk(b"IDAT", zlib.compress(body))
    (tmp_path / "a.png").write_bytes(blob + chunk(b"IEND", b""))
    found = read_image(tmp_path / "a.png")
    assert found.has_alpha
    np.testing.assert_array_equal(found.pixels[..., :-1], pixels)
    np.testing.assert_array_equal(found.pixels[..., -1] == 0, (pixels == 777).all(axis=2))
    write_image(tmp_path / "b.png", found)
    np.testing.assert_array_equal(read_image(tmp_path / "b.png").pixels, found.pixels)


@pytest.mark.parametrize("extension", [".webp", ".gif", ".png", ".tif"])
def test_frames_are_counted_and_told(tmp_path, extension):
    frames = [PillowImage.fromarray(PIXELS[..., index]) for index in range(3)]
    frames[0].save(tmp_path / f"a{extension}", save_all=True, append_images=frames[1:])
    found = read_image(tmp_path / f"a{extension}")
    assert found.pages == 3
    assert "has 3 pages or frames: number 0 is read" in found.notes[0]
    assert read_image(tmp_path / f"a{extension}", page=2).size == (40, 56)


def test_gif_and_jpeg_2000_are_read(tmp_path):
    PillowImage.fromarray(PIXELS[..., 0] // 16).save(tmp_path / "a.gif")
    np.testing.assert_array_equal(to_rgb8(read_image(tmp_path / "a.gif"))[..., 0], PIXELS[..., 0] // 16)
    PillowImage.fromarray(PIXELS).save(tmp_path / "a.jp2")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jp2").pixels, PIXELS)
    wide = PIXELS[..., 0].astype(np.uint16) * 257
    PillowImage.fromarray(wide).save(tmp_path / "b.jp2")
    np.testing.assert_array_equal(read_image(tmp_path / "b.jp2").pixels, wide)


@pytest.mark.parametrize("ahead", [0, 20_000])
def test_16_bit_colour_in_jpeg_2000_is_refused_rather_than_reduced(tmp_path, ahead):
    codecs = pytest.importorskip("imagecodecs")
    blob = codecs.jpeg2k_encode(PIXELS.astype(np.uint16) * 257, level=0)
    at = blob.index(b"jp2c") - 4
    box = struct.pack(">I4s", 8 + ahead, b"free") + bytes(ahead)  # as a large profile lies ahead of pixels
    (tmp_path / "a.jp2").write_bytes(blob[:at] + box + blob[at:])
    with pytest.raises(ImageError, match="16-bit JPEG 2000 in colour is not supported"):
        read_image(tmp_path / "a.jp2")


def test_webp_and_tiff_above_the_limit_of_pillow(tmp_path, monkeypatch):
    """Pillow refuses more than 179 megapixels; the only limit here is max_pixels."""
    monkeypatch.setattr(PillowImage, "MAX_IMAGE_PIXELS", 500)
    monkeypatch.setattr("glualign.geometry._STRIP_PIXELS", 500)
    for extension in (".webp", ".tif", ".gif"):
        PillowImage.fromarray(PIXELS[..., 0]).save(tmp_path / f"a{extension}")
        assert read_image(tmp_path / f"a{extension}").size == (40, 56)
        with pytest.raises(ImageError, match="56 x 40 pixels exceed the limit"):
            read_image(tmp_path / f"a{extension}", max_pixels=40 * 56 - 1)
    assert PillowImage.MAX_IMAGE_PIXELS == 500


def test_exif_above_64_kb_does_not_lose_the_picture(tmp_path):
    exif = PillowImage.Exif()
    exif[271], exif[274] = "Maker", 6
    exif[0x8769] = {37500: b"x" * 80_000}
    PillowImage.fromarray(PIXELS).save(tmp_path / "a.png", exif=exif.tobytes())
    image = read_image(tmp_path / "a.png", apply_orientation=False)
    assert write_image(tmp_path / "b.png", image) == ()
    (note,) = write_image(tmp_path / "b.jpg", image)
    assert "64 kB" in note
    assert read_image(tmp_path / "b.jpg", apply_orientation=False).size == (40, 56)
    assert read_image(tmp_path / "b.jpg").size == (56, 40)


@pytest.mark.parametrize("kind", ["palette", "1-bit", "grey"])
def test_labels_are_known_as_such(tmp_path, kind):
    grey = PillowImage.fromarray(PIXELS[..., 0] // 64)
    picture = {"palette": grey.convert("P"), "1-bit": grey.point(lambda v: v > 1, "1"), "grey": grey}[kind]
    for extension in (".png", ".tif"):
        picture.save(tmp_path / f"a{extension}")
        assert read_image(tmp_path / f"a{extension}").is_labels == (kind != "grey")


@pytest.mark.parametrize(("bits", "kept"), [(4, 8), (8, 8), (9, 8), (12, 16), (15, 16), (16, 16)])
def test_the_bits_of_jpeg_2000_are_told(tmp_path, bits, kept):
    codecs = pytest.importorskip("imagecodecs")
    ramp = np.linspace(0, 2**bits - 1, 64 * 64).reshape(64, 64).astype("uint8" if bits <= 8 else "uint16")
    (tmp_path / "a.jp2").write_bytes(codecs.jpeg2k_encode(ramp, level=0, bitspersample=bits))
    found = read_image(tmp_path / "a.jp2")
    assert found.pixels.dtype == f"uint{kept}"
    assert found.notes == ((f"its {bits}-bit values are scaled to {kept} bit",) if bits != kept else ())


@pytest.mark.parametrize("kind", ["int8", "int16"])
def test_signed_jpeg_2000_is_refused_by_name(tmp_path, kind):
    codecs = pytest.importorskip("imagecodecs")
    (tmp_path / "a.jp2").write_bytes(codecs.jpeg2k_encode(SMOOTH[..., 0].astype(kind), level=0))
    with pytest.raises(ImageError, match="signed JPEG 2000 is not supported"):
        read_image(tmp_path / "a.jp2")


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_the_bits_of_a_png_are_told(tmp_path, bits):
    blob = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 1, bits, 0, 0, 0, 0))
    blob += chunk(b"IDAT", zlib.compress(b"\0" + b"\xff" * bits)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(blob)
    found = read_image(tmp_path / "a.png")
    assert (found.pixels == 255).all()
    assert found.notes == ((f"its {bits}-bit values are scaled to 8 bit",) if bits in (2, 4) else ())


@pytest.mark.parametrize(
    "data", [b"P5 3 1 15 \x00\x07\x0f", b"P2 3 1 15 0 7 15\n", b"P5 3 1 255 \x00\x77\xff"]
)
def test_the_greatest_value_of_a_pgm_is_told(tmp_path, data):
    (tmp_path / "a.pgm").write_bytes(data)
    found = read_image(tmp_path / "a.pgm")
    np.testing.assert_array_equal(found.pixels, [[0, 119, 255]])
    assert found.notes == (("its values, 0 to 15, are scaled to 255",) if b" 15 " in data else ())


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF codec")
@pytest.mark.parametrize("bits", [8, 10, 12])
def test_the_bits_of_avif_are_told(tmp_path, bits):
    codecs = pytest.importorskip("imagecodecs")
    deep = SMOOTH.astype("uint8" if bits == 8 else "uint16") << (bits - 8)
    (tmp_path / "a.avif").write_bytes(codecs.avif_encode(deep, bitspersample=bits, level=90))
    found = read_image(tmp_path / "a.avif")
    assert np.abs(found.pixels.astype(int) - SMOOTH).mean() < 3
    assert found.notes == ((f"its {bits}-bit values are scaled to 8 bit",) if bits > 8 else ())


def test_the_bits_of_heic_are_told(tmp_path):
    heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    deep = np.ascontiguousarray(SMOOTH.astype(np.uint16) * 257)
    heif.from_bytes("RGB;16", (56, 40), deep.tobytes()).save(tmp_path / "a.heic", quality=90)
    assert read_image(tmp_path / "a.heic").notes == ("its 10-bit values are scaled to 8 bit",)


def test_a_jpeg_of_12_bit_is_a_variety_rather_than_damaged(tmp_path):
    blob = bytearray(jpeg(PIXELS))
    blob[blob.index(b"\xff\xc0") + 4] = 12
    (tmp_path / "a.jpg").write_bytes(blob)
    with pytest.raises(ImageError, match=r"this variety of JPEG is not supported \(.*12-bit"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
@pytest.mark.parametrize("packed", [False, True])
def test_exif_in_a_text_chunk_of_a_png_turns_the_picture(tmp_path, kind, packed):
    exif = PillowImage.Exif()
    exif[274], exif[271] = 6, "Maker"
    text = f"\nexif\n{len(exif.tobytes()):8}\n{exif.tobytes().hex()}\n".encode()
    body = b"\0" + zlib.compress(text) if packed else text
    name = b"zTXt" if packed else b"tEXt"
    write_image(tmp_path / "a.png", PIXELS.astype(kind))
    blob = (tmp_path / "a.png").read_bytes()
    profile = chunk(name, b"Raw profile type exif\0" + body)
    for number, (front, back) in enumerate(((blob[:33], blob[33:]), (blob[:-12], blob[-12:]))):
        (tmp_path / f"{number}.png").write_bytes(front + profile + back)
        found = read_image(tmp_path / f"{number}.png")
        np.testing.assert_array_equal(found.pixels, np.rot90(PIXELS, -1))
        assert b"Maker" in found.exif
    broken = chunk(b"tEXt", b"Raw profile type exif\0\nexif\n4\nnot hexadecimal")
    (tmp_path / "b.png").write_bytes(blob[:33] + broken + blob[33:])
    assert read_image(tmp_path / "b.png").exif is None
