"""`convert`, `invert`, `compose` and `resize-flow`: files in, files out, and what they say."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from glualign.cli.main import cli, main
from glualign.flow import Flow, compose, from_transform, invert, read_flow, resize, write_flow

SIZE = (40, 50)
MATRIX = np.array([[1.02, 0.03, -2], [-0.02, 0.99, 1.5], [0, 0, 1]])


def run(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments], catch_exceptions=False)


@pytest.fixture
def flow():
    data = from_transform(MATRIX, SIZE).data.copy()
    data[:3, :5] = np.nan
    return Flow(data)


@pytest.fixture
def flow_file(tmp_path, flow):
    write_flow(tmp_path / "flow.flo", flow)
    return tmp_path / "flow.flo"


@pytest.mark.parametrize("extension", [".npy", ".npz", ".pfm", ".png", ".nrrd", ".mha"])
def test_convert_there_and_back(tmp_path, flow, flow_file, extension):
    if extension in (".nrrd", ".mha"):
        pytest.importorskip("SimpleITK", reason="SimpleITK is not installed")
    assert run("convert", flow_file, tmp_path / f"other{extension}").exit_code == 0
    assert run("convert", tmp_path / f"other{extension}", tmp_path / "back.flo").exit_code == 0
    found = read_flow(tmp_path / "back.flo")
    np.testing.assert_array_equal(found.known, flow.known)
    np.testing.assert_allclose(found.data, flow.data, atol=1 / 128 if extension == ".png" else 0)


def test_convert_stores_the_source_size(tmp_path, flow_file):
    result = run("convert", flow_file, tmp_path / "out.npz", "--source-size", "60x70", "--json")
    found = json.loads(result.stdout)
    assert (found["source_width"], found["source_height"]) == (60, 70)
    assert found["direction"] == "target -> source"
    assert found["known_share"] == pytest.approx(1 - 15 / 2000)
    assert read_flow(tmp_path / "out.npz").source_size == (70, 60)


def test_quiet_says_nothing(tmp_path, flow_file):
    assert run("convert", flow_file, tmp_path / "out.npy", "-q").stdout == ""


def test_invert(tmp_path, flow_file, flow):
    result = run("invert", flow_file, "-o", tmp_path / "back.npz", "--source-size", "64x48")
    assert result.exit_code == 0
    found = read_flow(tmp_path / "back.npz")
    assert found.size == (48, 64)
    assert found.source_size == SIZE
    expected = from_transform(np.linalg.inv(MATRIX), (48, 64))
    assert np.abs(found.data - expected.data)[found.known].max() < 0.02
    np.testing.assert_array_equal(found.data, invert(Flow(flow.data, (48, 64))).data)


def test_compose(tmp_path, flow_file, flow):
    write_flow(tmp_path / "second.flo", from_transform(MATRIX @ MATRIX, SIZE))
    assert run("compose", flow_file, tmp_path / "second.flo", "-o", tmp_path / "both.flo").exit_code == 0
    found = read_flow(tmp_path / "both.flo")
    expected = from_transform(MATRIX @ MATRIX @ MATRIX, SIZE)
    assert found.known.mean() > 0.7
    assert np.abs(found.data - expected.data)[found.known].max() < 1e-3
    np.testing.assert_array_equal(found.data, compose(flow, from_transform(MATRIX @ MATRIX, SIZE)).data)


def test_resize_flow(tmp_path, flow_file, flow):
    result = run("resize-flow", flow_file, "-o", tmp_path / "big.npz", "--size", "100x80")
    assert result.exit_code == 0
    found = read_flow(tmp_path / "big.npz")
    assert found.size == (80, 100)
    assert found.source_size is None  # as before
    np.testing.assert_array_equal(found.data, resize(flow, (80, 100)).data)
    middle = found.data[40, 50] / 2 - flow.data[20, 25]
    assert np.abs(middle).max() < 0.1


@pytest.mark.parametrize("size", ["100", "0x5", "ax5", "-3x4"])
def test_bad_sizes_are_usage_errors(tmp_path, flow_file, size):
    result = run("resize-flow", flow_file, "-o", tmp_path / "out.flo", f"--size={size}")
    assert result.exit_code == 2
    assert "is not a size" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["convert", "none.flo", "out.npy"], "none.flo: no such file"),
        (["convert", "flow.flo", "out.txt"], "out.txt: not a flow format"),
        (["convert", "flow.flo", "flow.flo"], "flow.flo: is an input"),
        (["convert", "short.flo", "out.npy"], "short.flo: is truncated"),
        (["convert", "nan.flo", "out.npy"], "nan.flo: holds no known flow"),
        (["invert", "none.flo", "-o", "out.flo"], "none.flo: no such file"),
        (["compose", "flow.flo", "small.npz", "-o", "out.flo"], None),
        (["compose", "small.npz", "flow.flo", "-o", "out.flo"], "small.npz, flow.flo: the flows do not fit"),
    ],
)
def test_one_line_and_exit_code_1(tmp_path, monkeypatch, capsys, flow_file, arguments, words):
    monkeypatch.chdir(tmp_path)
    data = flow_file.read_bytes()
    (tmp_path / "short.flo").write_bytes(data[:-4])
    (tmp_path / "nan.flo").write_bytes(data[:12] + np.full((len(data) - 12) // 4, np.nan, "<f4").tobytes())
    write_flow("small.npz", from_transform(np.eye(3), (4, 5), (6, 7)))
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    captured = capsys.readouterr()
    if words is None:  # the first flow does not say how large its source is: taken at its word
        assert caught.value.code == 0
        return
    assert caught.value.code == 1
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("glualign: error: ")
    assert words in captured.err


@pytest.mark.parametrize("command", ["convert", "apply", "invert", "compose", "resize-flow", "info"])
def test_help_states_the_direction_and_an_example(command):
    text = run(command, "--help").stdout
    assert "target -> source" in " ".join(text.split())
    assert f"glualign {command} " in text.split("Example", 1)[1]


def test_a_flow_goes_through_pipes(flow_file, tmp_path):
    content = flow_file.read_bytes()
    result = CliRunner().invoke(cli, ["convert", "-", "-", "--format", "npz"], input=content)
    assert result.exit_code == 0, result.stderr
    (tmp_path / "piped.npz").write_bytes(result.stdout_bytes)
    np.testing.assert_array_equal(read_flow(tmp_path / "piped.npz").data, read_flow(flow_file).data)
    back = CliRunner().invoke(cli, ["convert", "-", "-"], input=result.stdout_bytes)
    assert back.stdout_bytes == content


def test_an_output_is_needed(flow_file):
    result = run("invert", flow_file)
    assert result.exit_code == 2
    assert "OUT" in result.stderr


@pytest.mark.parametrize(
    ("command", "pixels", "words"),
    [
        (("convert", "--source-size", "99999x99999"), 0.0, "exceed the limit of 300 megapixels"),
        (("invert",), 2000.0, "holds no known flow"),
    ],
)
def test_a_flow_that_no_command_could_read_again_is_not_written(tmp_path, command, pixels, words):
    write_flow(tmp_path / "in.flo", np.full((20, 30, 2), pixels, np.float32))
    result = run(*command, tmp_path / "in.flo", tmp_path / "out.npz")
    assert result.exit_code == 1
    assert words in result.stderr
    assert not (tmp_path / "out.npz").exists()


def test_a_guessed_source_size_that_does_not_fit_is_told(tmp_path):
    larger = from_transform(np.diag([3.0, 3, 1]), SIZE, (120, 150))
    for name in ("small.flo", "small.npz"):
        write_flow(tmp_path / name, larger)
    told = run("invert", tmp_path / "small.flo", tmp_path / "back.npz")
    assert "small.flo: does not say how large its source is; --source-size says it" in told.stderr
    assert "does not say" not in run("invert", tmp_path / "small.npz", tmp_path / "b.npz").stderr
    given = run("invert", tmp_path / "small.flo", tmp_path / "c.npz", "--source-size", "150x120")
    assert "does not say" not in given.stderr


def test_a_source_size_is_stored_where_it_is_known_and_its_loss_told(tmp_path, flow_file):
    assert run("convert", flow_file, tmp_path / "a.npz").exit_code == 0
    assert read_flow(tmp_path / "a.npz").source_size is None, "what .flo does not say is not made up"
    run("convert", flow_file, tmp_path / "b.npz", "--source-size", "80x70")
    assert read_flow(tmp_path / "b.npz").source_size == (70, 80)
    told = run("convert", tmp_path / "b.npz", tmp_path / "b.flo").stderr
    assert "b.flo: does not say that its source is 80x70; use .npz" in told
    assert run("convert", flow_file, tmp_path / "c.flo").stderr == ""
