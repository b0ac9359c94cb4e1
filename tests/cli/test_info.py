"""`glualign info`: says what a file is, for people and for programs."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import ExifTags
from PIL import Image as PillowImage

from glualign.cli.main import cli, main
from glualign.flow import Flow, write_flow
from glualign.images import write_image


def facts(path):
    result = CliRunner().invoke(cli, ["info", str(path), "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    return json.loads(result.stdout)


def test_image(tmp_path):
    exif = PillowImage.Exif()
    exif[ExifTags.Base.Orientation] = 6
    PillowImage.fromarray(np.zeros((10, 20, 3), np.uint8)).save(tmp_path / "photo.jpg", exif=exif)
    found = facts(tmp_path / "photo.jpg")
    assert (found["kind"], found["width"], found["height"]) == ("image", 10, 20)
    assert (found["pixels"], found["exif_orientation"]) == ("8-bit RGB", 6)
    text = CliRunner().invoke(cli, ["info", str(tmp_path / "photo.jpg")]).stdout
    assert "10 x 20 px" in text
    assert "shown upright" in text


@pytest.mark.parametrize("extension", [".flo", ".npz", ".png"])
def test_flow(tmp_path, extension):
    data = np.full((4, 5, 2), (3, 4), np.float32)
    data[0, 0] = np.nan
    write_flow(tmp_path / f"flow{extension}", Flow(data, (40, 50)))
    found = facts(tmp_path / f"flow{extension}")
    assert (found["kind"], found["width"], found["height"]) == ("flow", 5, 4)
    assert found["direction"] == "target -> source"
    assert found["known_share"] == pytest.approx(19 / 20)
    assert found["mean_length"] == found["max_length"] == 5
    assert found["source_size_stored"] == (extension == ".npz")


def test_a_16_bit_picture_is_no_flow(tmp_path):
    write_image(tmp_path / "deep.png", np.full((4, 5, 3), 777, np.uint16))
    assert facts(tmp_path / "deep.png")["pixels"] == "16-bit RGB"


def test_checkpoint(root):
    path = next((root / "weights").glob("compact*.safetensors"))
    found = facts(path)
    assert found["kind"] == "checkpoint"
    assert found["parameters"] > 100_000
    assert found["config"]
    text = CliRunner().invoke(cli, ["info", str(path)]).stdout
    assert f"parameters               {found['parameters']:,}\n" in text
    assert "pyramid channels         24, 32, 64, 128\n" in text


@pytest.mark.parametrize(
    ("name", "words"), [("none.png", "no such file"), ("", "is a folder"), ("a.txt", "not an image")]
)
def test_one_line_for_what_it_cannot_be(tmp_path, capsys, name, words):
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(SystemExit) as caught:
        main(["info", str(tmp_path / name)])
    assert caught.value.code == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
