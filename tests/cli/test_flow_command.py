"""`glualign flow` from the outside."""

import json

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from glualign.cli.main import cli
from glualign.flow import read_flow
from glualign.images import read_image

QUICK = ["--preset", "fast", "--max-side", "256"]


def glualign(*arguments: object):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def pair(tmp_path_factory, examples):
    folder = tmp_path_factory.mktemp("pair")
    wall = cv2.resize(cv2.imread(str(examples / "graf1.png"))[100:500, 200:600], (200, 200))
    cv2.imwrite(str(folder / "a.png"), wall)
    cv2.imwrite(str(folder / "b.png"), wall[:, 20:])
    return folder / "a.png", folder / "b.png"


@pytest.mark.parametrize("extension", [".flo", ".npz", ".png", ".pfm", ".npy"])
def test_the_extension_chooses_the_format(extension, pair, tmp_path):
    out = tmp_path / f"flow{extension}"
    result = glualign("flow", *pair, "-o", out, *QUICK)
    assert result.exit_code == 0, result.output
    data = read_flow(out).data
    assert data.shape == (200, 180, 2)
    assert np.nanmedian(data[..., 0]) == pytest.approx(20, abs=1.5)
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_only_trusted_pixels_are_kept(pair, tmp_path):
    out, mask = tmp_path / "flow.flo", tmp_path / "mask.png"
    # The other direction: what lies left of the smaller image has no source.
    result = glualign("flow", pair[1], pair[0], "-o", out, "--mask", mask, "--only-trusted", "--json", *QUICK)
    assert result.exit_code == 0, result.output
    valid = read_image(mask).pixels == 255
    assert not valid.all()
    np.testing.assert_array_equal(np.isfinite(read_flow(out).data).all(axis=2), valid)
    assert set(json.loads(result.stdout)["outputs"]) == {"flow", "mask"}


def test_an_output_is_required(pair):
    result = glualign("flow", *pair)
    assert result.exit_code == 2
    assert "give OUT or --output" in result.stderr


def test_an_unknown_format_is_refused_before_computing(pair, tmp_path):
    result = glualign("flow", *pair, "-o", tmp_path / "flow.jpg")
    assert result.exit_code == 1
    assert "flow.jpg" in result.stderr
    assert ".flo" in result.stderr
    assert len(result.stderr.splitlines()) == 1
