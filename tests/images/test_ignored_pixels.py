"""Masks of every type of number say which pixels are ignored."""

import numpy as np
import pytest

from glualign.errors import ImageError
from glualign.images import Image

IMAGE = Image(np.zeros((20, 30, 3), np.uint8))
KEPT = np.arange(600).reshape(20, 30) % 3 > 0


@pytest.mark.parametrize("kind", ["bool", "uint8", "int64", "uint64", "float32", "float64"])
@pytest.mark.parametrize("bands", [1, 3])
def test_black_is_ignored(kind, bands):
    mask = np.repeat(KEPT[..., None], bands, axis=2).astype(kind)
    np.testing.assert_array_equal(IMAGE.ignore(mask).missing, ~KEPT)


def test_of_64_bit_integers_all_but_0_is_kept():
    mask = np.where(KEPT, np.where(np.arange(30) < 15, 1, -(2**40)), 0)
    np.testing.assert_array_equal(IMAGE.ignore(mask).missing, ~KEPT)


@pytest.mark.filterwarnings("error")
def test_nan_is_black():
    mask = np.where(KEPT, 1.0, 0.0)
    mask[4, 7] = np.nan
    missing = ~KEPT
    missing[4, 7] = True
    np.testing.assert_array_equal(IMAGE.ignore(mask).missing, missing)
    with pytest.raises(ImageError, match="leaves nothing"):
        IMAGE.ignore(np.full((20, 30), np.nan))


def test_an_alpha_of_nan_is_clear():
    mask = np.ones((20, 30, 2), np.float32)
    mask[..., 1] = np.where(KEPT, 1, np.nan)
    np.testing.assert_array_equal(IMAGE.ignore(mask).missing, ~KEPT)


@pytest.mark.parametrize("alpha", [b"", b"\xff\xff\x00"])
def test_entries_of_a_palette_are_judged_by_their_colours(alpha):
    indices = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3
    # Black, green, and blue, which the second case makes clear.
    mask = Image(indices, palette=bytes([0, 0, 0, 0, 255, 0, 0, 0, 255]), palette_alpha=alpha)
    found = Image(np.full((3, 4, 3), 9, np.uint8)).ignore(mask).missing
    np.testing.assert_array_equal(found, (indices == 0) | (indices == 2) if alpha else indices == 0)
