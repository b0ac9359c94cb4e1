"""CMYK goes through the profile in the file, not through a formula."""

import struct

import numpy as np
import pytest
from PIL import Image as PillowImage

from glualign.images import read_image, write_image


def cmyk_profile():
    """A printer profile in which full cyan prints middle grey, black prints black, and nothing else shows."""

    def fixed(value):
        return struct.pack(">i", round(value * 65536))

    identity = b"".join(fixed(value) for value in (1, 0, 0, 0, 1, 0, 0, 0, 1))
    ramp = bytes(range(256))
    white, grey, black = (bytes((lightness, 128, 128)) for lightness in (255, 128, 0))  # 8-bit Lab
    # Two steps per ink: cyan, the first, varies slowest, and black, the last, fastest.
    table = (white + black) * 4 + (grey + black) * 4
    lut = b"mft1\0\0\0\0" + bytes((4, 3, 2, 0)) + identity + ramp * 4 + table + ramp * 3
    tags = struct.pack(">I4sII", 1, b"A2B0", 144, len(lut))
    illuminant = b"".join(fixed(value) for value in (0.9642, 1.0, 0.8249))
    header = struct.pack(">I4sI4s4s4s", 144 + len(lut), b"", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    header += struct.pack(">6H", 2020, 1, 1, 0, 0, 0) + b"acsp" + bytes(24) + bytes(4) + illuminant
    return header.ljust(128, b"\0") + tags + lut


@pytest.mark.parametrize("extension", [".tif", ".jpg"])
def test_the_profile_in_the_file_is_used(tmp_path, extension):
    path = tmp_path / f"ink{extension}"
    ink = PillowImage.new("CMYK", (16, 16), (255, 0, 0, 0))
    ink.save(path, icc_profile=cmyk_profile(), **({"quality": 100} if extension == ".jpg" else {}))
    found = read_image(path)
    assert found.kind == "8-bit RGB"
    # Lab (50, 0, 0) is sRGB 119; the formula would have said (0, 255, 255).
    assert np.abs(found.pixels.astype(int) - 119).max() <= 4
    assert found.icc is not None
    assert found.notes == ("its CMYK colours are converted to sRGB",)
    assert found.icc != cmyk_profile(), "the pixels are sRGB now, and must say so"
    write_image(tmp_path / "out.png", found)
    assert read_image(tmp_path / "out.png").icc == found.icc


def test_a_profile_of_another_colour_space_is_not_applied(tmp_path):
    from PIL import ImageCms

    wrong = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    PillowImage.new("CMYK", (8, 8), (0, 0, 0, 0)).save(tmp_path / "a.tif", icc_profile=wrong)
    found = read_image(tmp_path / "a.tif")
    assert (found.pixels == 255).all()
    assert found.icc is None
