"""Thousands of damaged files through the readers: our error or a result, quickly and in little memory."""

import random
import resource
import struct
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from mutations import EXTREMES, mutations
from PIL import ExifTags, ImageCms
from PIL import Image as PillowImage

from glualign.errors import GlualignError
from glualign.flow import Flow, read_flow, write_flow
from glualign.images import Image, read_image, to_rgb8, write_image

# Pillow warns of metadata it skips; that is not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

COUNT = 400
SECONDS_EACH = 2.0  # of the processor: other work on the machine does not count
LIMIT = 4_000_000  # pixels
GROWTH = 400 << 20  # bytes of resident memory over all files of one format

FLOW_KINDS = (".flo", ".png", ".pfm", ".npy", ".npz", ".flo5", ".nrrd", ".mha")
IMAGE_KINDS = (".jpg", ".png", ".webp", ".tif", ".bmp", ".ppm")
IMAGE16_KINDS = (".png", ".tif", ".ppm")


def needs(extension):
    module = {".flo5": "h5py", ".nrrd": "SimpleITK", ".mha": "SimpleITK"}.get(extension)
    if module:
        pytest.importorskip(module, reason=f"{module} is not installed")


def resident_peak():
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def survive(read, blob, path, seed):
    """Read every damaged copy; returns how many were refused."""
    before = resident_peak()
    refused = 0
    for damaged in mutations(blob, COUNT, seed):
        path.write_bytes(damaged)
        start = time.process_time()
        message = None
        try:
            read(path, max_pixels=LIMIT)
        except GlualignError as error:
            message = str(error)
        assert time.process_time() - start < SECONDS_EACH
        if message is not None:
            refused += 1
            assert str(path) in message, "the message must name the file"
    assert resident_peak() - before < GROWTH
    return refused


def with_fixed_checksums(png):
    """The PNG with the checksum of every chunk made right, so that damage reaches the decoder."""
    out, at = png[:8], 8
    while at + 12 <= len(png):
        (length,) = struct.unpack_from(">I", png, at)
        body = png[at + 4 : at + 8 + length]
        if len(body) < 4 + length:
            break
        out += struct.pack(">I", length) + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return out


@pytest.fixture
def flow():
    generator = np.random.default_rng(5)
    data = generator.uniform(-20, 20, (13, 17, 2)).astype(np.float32)
    data[2, 3] = np.nan
    return Flow(data, (20, 21))


@pytest.fixture
def image():
    pixels = np.random.default_rng(6).integers(0, 256, (19, 23, 3), dtype=np.uint8)
    exif = PillowImage.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Make] = "Maker"
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.DateTimeOriginal: "2020:01:01 00:00:00"}
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return Image(pixels, icc=profile, exif=exif.tobytes().removeprefix(b"Exif\0\0"))


@pytest.mark.parametrize("extension", FLOW_KINDS)
def test_damaged_flow_files(tmp_path, flow, extension):
    needs(extension)
    write_flow(tmp_path / f"whole{extension}", flow)
    blob = (tmp_path / f"whole{extension}").read_bytes()
    assert survive(read_flow, blob, tmp_path / f"damaged{extension}", seed=1) > COUNT // 4


@pytest.mark.parametrize("extension", IMAGE_KINDS)
def test_damaged_images(tmp_path, image, extension):
    write_image(tmp_path / f"whole{extension}", image)
    blob = (tmp_path / f"whole{extension}").read_bytes()
    assert survive(read_image, blob, tmp_path / f"damaged{extension}", seed=2) > COUNT // 4


@pytest.mark.parametrize("extension", IMAGE16_KINDS)
def test_damaged_16_bit_images(tmp_path, image, extension):
    write_image(tmp_path / f"whole{extension}", image.replace(image.pixels.astype(np.uint16) * 257))
    blob = (tmp_path / f"whole{extension}").read_bytes()
    assert survive(read_image, blob, tmp_path / f"damaged{extension}", seed=3) > COUNT // 4


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
def test_damaged_png_with_right_checksums(tmp_path, image, kind):
    write_image(tmp_path / "whole.png", image.replace(image.pixels.astype(kind)))
    blob = (tmp_path / "whole.png").read_bytes()
    path = tmp_path / "damaged.png"
    refused = 0
    for damaged in mutations(blob, COUNT, seed=4):
        path.write_bytes(with_fixed_checksums(damaged))
        try:
            found = read_image(path, max_pixels=LIMIT)
        except GlualignError:
            refused += 1
        else:
            assert found.height * found.width <= LIMIT
    assert refused > 0


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "packbits", "jpeg", "tiff_adobe_deflate"])
def test_damaged_tiff_of_every_compression(tmp_path, image, compression):
    PillowImage.fromarray(image.pixels).save(tmp_path / "whole.tif", compression=compression)
    blob = (tmp_path / "whole.tif").read_bytes()
    assert survive(read_image, blob, tmp_path / "damaged.tif", seed=5) > COUNT // 4


GREY16 = np.random.default_rng(7).integers(0, 65536, (19, 23), dtype=np.uint16)
VARIETIES = {
    "planar": {"data": np.stack([GREY16] * 3), "photometric": "rgb", "planarconfig": "separate"},
    "tiled": {"data": GREY16, "tile": (16, 16), "compression": "zlib", "predictor": True},
    "bands": {"data": np.dstack([GREY16] * 7), "photometric": "minisblack", "planarconfig": "contig"},
    "pages": {"data": np.stack([GREY16] * 4), "photometric": "minisblack"},
    "big": {"data": GREY16, "bigtiff": True},
    "no data": {"data": GREY16.astype(np.float32), "extratags": [(42113, "s", 0, "-9999", True)]},
}


@pytest.mark.parametrize("variety", VARIETIES)
def test_damaged_directories_of_tiff(tmp_path, variety):
    """Entries of the directory become extreme numbers, which damage at random seldom hits."""
    options = dict(VARIETIES[variety])
    tifffile.imwrite(tmp_path / "whole.tif", options.pop("data"), metadata=None, **options)
    blob, dice = (tmp_path / "whole.tif").read_bytes(), random.Random(8)
    big = options.get("bigtiff", False)
    start, step = (24, 20) if big else (10, 12)
    refused, before, path = 0, resident_peak(), tmp_path / "damaged.tif"
    for _ in range(COUNT // 2):
        damaged = bytearray(blob)
        for _ in range(dice.choice((1, 1, 2))):
            at = start + step * dice.randrange(16) + dice.choice((0, 2, 4, step - 4, step - 4))
            damaged[at : at + 4] = (dice.choice(EXTREMES) % 2**32).to_bytes(4, "little")
        path.write_bytes(damaged)
        started = time.process_time()
        message = str(path)
        try:
            assert to_rgb8(read_image(path, max_pixels=LIMIT)).size <= 3 * LIMIT
        except GlualignError as error:
            refused, message = refused + 1, str(error)
        assert str(path) in message
        assert time.process_time() - started < SECONDS_EACH
    assert refused > COUNT // 16
    assert resident_peak() - before < GROWTH


@pytest.mark.parametrize("kind", ["GIF", "JPEG2000"])
def test_damaged_files_of_formats_that_are_only_read(tmp_path, image, kind):
    PillowImage.fromarray(image.pixels).save(tmp_path / "whole", kind)
    blob = (tmp_path / "whole").read_bytes()
    assert survive(read_image, blob, tmp_path / "damaged", seed=9) > COUNT // 8


HUGE = 2**31 - 1


def npy_header(shape, descr="<f4"):
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_claiming(width, height, bits=16):
    header = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


NRRD = (
    "NRRD0005\ntype: float\ndimension: 3\nspace dimension: 2\nsizes: 2 {0} {0}\nkinds: vector domain domain\n"
    "space directions: none (1,0) (0,1)\nencoding: {1}\nendian: little\n\n"
)
MHA = (
    "ObjectType = Image\nNDims = 2\nCompressedData = {1}\nDimSize = {0} {0}\n"
    "ElementNumberOfChannels = 2\nElementType = MET_FLOAT\nElementDataFile = LOCAL\n"
)
CLAIMS = {
    "side.flo": b"PIEH" + struct.pack("<ii", HUGE, HUGE) + b"\0" * 64,
    "negative.flo": b"PIEH" + struct.pack("<ii", -5, 7) + b"\0" * 64,
    "side.pfm": b"PF\n%d %d\n-1.0\n" % (HUGE, HUGE) + b"\0" * 64,
    "side.npy": npy_header((2**31, 2**31, 2)) + b"\0" * 64,
    "within.npy": npy_header((15_000, 15_000, 2)) + b"\0" * 64,
    "side.png": png_claiming(HUGE, HUGE),
    "within.png": png_claiming(15_000, 15_000),
    "side.nrrd": NRRD.format(2**31, "raw").encode() + b"\0" * 64,
    "within.nrrd": NRRD.format(15_000, "gzip").encode() + zlib.compress(b"\0" * 64),
    "side.mha": MHA.format(2**31, "False").encode() + b"\0" * 64,
    "within.mha": MHA.format(15_000, "True").encode() + zlib.compress(b"\0" * 64),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_flow_file_that_claims_too_much_is_refused_before_allocating(tmp_path, name):
    path = tmp_path / name
    needs(path.suffix)
    path.write_bytes(CLAIMS[name])
    before = resident_peak()
    with pytest.raises(GlualignError, match=r"pixels|truncated|damaged"):
        read_flow(path)
    assert resident_peak() - before < 64 << 20


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("side", [HUGE, 15_000])
def test_an_image_that_claims_too_much_is_refused_before_allocating(tmp_path, side, bits):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_claiming(side, side, bits))
    before = resident_peak()
    with pytest.raises(GlualignError, match=r"limit of 300 megapixels|too little data"):
        read_image(path)
    assert resident_peak() - before < 64 << 20


class Bomb:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@pytest.mark.parametrize("extension", [".npy", ".npz"])
def test_a_pickle_inside_is_never_loaded(tmp_path, extension):
    proof = tmp_path / "executed"
    array = np.empty((2, 2, 2), object)
    array[:] = Bomb(str(proof))
    save = np.save if extension == ".npy" else np.savez
    path = tmp_path / f"evil{extension}"
    with path.open("wb") as stream:
        if extension == ".npy":
            save(stream, array, allow_pickle=True)
        else:
            save(stream, flow=array)
    with pytest.raises(GlualignError, match="Python objects"):
        read_flow(path)
    assert not proof.exists()
