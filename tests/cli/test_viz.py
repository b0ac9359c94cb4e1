import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image as PillowImage

from glualign.cli.main import cli
from glualign.cli.pictures import read_mask
from glualign.flow import Flow, from_transform, invert, write_flow
from glualign.images import write_image
from glualign.styles import FLOW_STYLES, PAIR_STYLES
from glualign.viz import flow_to_rgb

SIZE = (60, 90)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A pair, its flow both ways, a mask and a confidence map."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(2)
    flow = from_transform([[1.1, 0.05, 3], [-0.05, 1.1, 2], [0, 0, 1]], SIZE, SIZE)
    write_flow("flow.flo", flow)
    write_flow("back.flo", invert(flow))
    for name in ("source.png", "target.png"):
        PillowImage.fromarray(rng.integers(0, 256, (*SIZE, 3), np.uint8)).save(name)
    mask = np.zeros(SIZE, np.uint8)
    mask[:, 45:] = 255
    PillowImage.fromarray(mask).save("mask.png")
    PillowImage.fromarray(np.zeros((5, 6), np.uint8)).save("small.png")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(cli, ["viz", *map(str, arguments)])


def read(path):
    with PillowImage.open(path) as image:
        return np.asarray(image.convert("RGB"))


EXTRA = {"error": ["--backward", "back.flo"], "confidence": ["--confidence", "mask.png"]}
PAIR = ["--source", "source.png", "--target", "target.png"]


def test_every_style_is_explained_in_the_help():
    text = run("--help").output
    for style in FLOW_STYLES + PAIR_STYLES:
        assert f"\n    {style} " in text
    assert "target -> source" in text


@pytest.mark.parametrize("style", FLOW_STYLES)
def test_draws_every_flow_style(folder, style):
    result = run("flow.flo", "-o", "out.png", "--style", style, *EXTRA.get(style, []))
    assert result.exit_code == 0, result.output
    assert result.output == f"out.png: {style}\n"
    picture = read("out.png")
    assert picture.shape[1] == 90
    assert picture.shape[0] >= 60


@pytest.mark.parametrize("style", PAIR_STYLES)
def test_draws_every_pair_style(folder, style):
    name = "out.gif" if style == "flicker" else "out.png"
    result = run("flow.flo", "-o", name, "-s", style, *PAIR)
    assert result.exit_code == 0, result.output
    with PillowImage.open(name) as picture:
        assert getattr(picture, "n_frames", 1) == (2 if style == "flicker" else 1)


def test_the_default_is_the_wheel_with_the_given_maximum(folder):
    assert run("flow.flo", "-o", "wheel.png", "--no-legend", "--max-flow", 20).exit_code == 0
    from glualign.flow import read_flow

    np.testing.assert_array_equal(read("wheel.png"), flow_to_rgb(read_flow("flow.flo"), 20))


def test_size_bounds_the_picture(folder):
    assert run("flow.flo", "-o", "out.png", "--no-legend", "--size", 45).exit_code == 0
    assert read("out.png").shape == (30, 45, 3)


def test_quiet_prints_nothing(folder):
    assert run("flow.flo", "-o", "out.png", "-q").output == ""


def test_mask_is_taken_for_pairs(folder):
    assert run("flow.flo", "-o", "a.png", "-s", "blend", *PAIR, "--mask", "mask.png").exit_code == 0
    assert run("flow.flo", "-o", "b.png", "-s", "blend", *PAIR).exit_code == 0
    a, b = read("a.png"), read("b.png")
    assert (a[20:40, 50:60] == b[20:40, 50:60]).all()
    assert (a[20:40, 10:40] != b[20:40, 10:40]).any(axis=-1).mean() > 0.9


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-s", "blend", "--source", "source.png"], "--target"),
        (["-s", "error"], "--backward"),
        (["-s", "confidence"], "--confidence"),
        (["-s", "flicker", *PAIR], ".gif"),
        (["--max-flow", "0"], "--max-flow"),
        (["-s", "watercolour"], "watercolour"),
    ],
)
def test_usage_errors(folder, arguments, words):
    result = run("flow.flo", "-o", "out.jpg", *arguments)
    assert result.exit_code == 2
    assert words in result.output
    assert not (folder / "out.jpg").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.flo", "-o", "out.png"], "missing.flo"),
        (["source.png", "-o", "out.png"], "source.png"),
        (["flow.flo", "-o", "flow.flo"], "overwritten"),
        (
            ["flow.flo", "-o", "out.png", "-s", "grid", "--image", "small.png"],
            "small.png: the image is 6 x 5",
        ),
        (
            ["flow.flo", "-o", "out.png", "-s", "blend", "--source", "source.png", "--target", "small.png"],
            "small.png: ",
        ),
        (["flow.flo", "-o", "out.png", "-s", "mask", "--mask", "small.png"], "small.png"),
        (["flow.flo", "-o", "out.xyz"], "xyz"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_file(folder, arguments, words):
    before = sorted(folder.iterdir())
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    assert words in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("white", [1, 255])
def test_a_mask_is_black_and_white_whatever_stands_for_white(tmp_path, white):
    mask = np.zeros((12, 16), np.uint8)
    mask[:, 8:] = white
    write_image(tmp_path / "mask.png", mask)
    flow = Flow(np.zeros((12, 16, 2), np.float32))
    np.testing.assert_array_equal(read_mask(str(tmp_path / "mask.png"), flow), mask > 0)


@pytest.mark.parametrize(
    ("style", "more"),
    [("wheel", ["--mask", "mask.png"]), ("grid", ["--max-flow", "3"]), ("blend", ["--backward", "back.flo"])],
)
def test_options_that_a_style_does_not_use_are_refused(folder, style, more):
    pair = ["--source", "source.png", "--target", "target.png"] if style == "blend" else []
    result = CliRunner().invoke(cli, ["viz", "flow.flo", "-o", "o.png", "--style", style, *pair, *more])
    assert result.exit_code == 2
    assert f"--style {style} has no use for {more[0]}; leave it out." in result.stderr
