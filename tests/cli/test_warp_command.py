"""`glualign warp` from the outside: files, summary, JSON, and one clear line for every mistake."""

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

from glualign.cli.main import cli
from glualign.cli.pair import Pairing
from glualign.errors import GlualignError
from glualign.flow import read_flow
from glualign.images import Image, read_image, write_image
from glualign.images.exif import oriented

QUICK = ["--preset", "fast", "--max-side", "256"]


def glualign(*arguments: object):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def pair(tmp_path_factory, examples) -> tuple[Path, Path]:
    """A piece of the painted wall, and the same piece moved by (10, 6) pixels; the source is larger."""
    folder = tmp_path_factory.mktemp("pair")
    wall = cv2.imread(str(examples / "graf1.png"))[100:500, 200:600]
    wall = cv2.resize(wall, (200, 200), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(folder / "source.png"), wall)
    cv2.imwrite(str(folder / "target.png"), wall[6:186, 10:190])
    return folder / "source.png", folder / "target.png"


@pytest.fixture
def blank(tmp_path) -> Path:
    path = tmp_path / "good.png"
    cv2.imwrite(str(path), np.full((64, 64, 3), 127, np.uint8))
    return path


def test_a_shifted_pair_is_aligned_and_one_matrix_describes_it(pair, tmp_path):
    result = glualign("warp", *pair, "-o", tmp_path / "out", *QUICK)
    assert result.exit_code == 0, result.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "source_warped.png",
        "source_flow.flo",
        "source_flow.png",
        "source_transform.txt",
    }
    matrix = np.loadtxt(tmp_path / "out" / "source_transform.txt")
    np.testing.assert_allclose(matrix, [[1, 0, 10], [0, 1, 6], [0, 0, 1]], atol=1.0)
    flow = read_flow(tmp_path / "out" / "source_flow.flo").data
    assert flow.shape == (180, 180, 2)
    # The compact model at 256 pixels is good to a pixel here; the true motion is (10, 6) everywhere.
    assert np.median(np.linalg.norm(flow - [10, 6], axis=2)) < 1.5
    warped, target = read_image(tmp_path / "out" / "source_warped.png").pixels, read_image(pair[1]).pixels
    unaligned = read_image(pair[0]).pixels[:180, :180]
    inner = np.s_[20:-20, 20:-20]
    after = np.abs(warped[inner].astype(int) - target[inner]).mean()
    before = np.abs(unaligned[inner].astype(int) - target[inner]).mean()
    assert after < before / 2


def test_the_summary_says_what_was_done(pair, tmp_path):
    output = glualign("warp", *pair, "-o", tmp_path, *QUICK).stdout
    for words in ("source.png, 200 x 200", "target.png, 180 x 180", "compact on", " s (", "valid", "wrote"):
        assert words in output
    assert str(tmp_path / "source_warped.png") in output


def test_json_is_one_object_on_stdout(pair, tmp_path):
    result = glualign("warp", *pair, "-o", tmp_path, "--mask", tmp_path / "m.png", "--json", *QUICK)
    record = json.loads(result.stdout)
    assert record["model"] == "compact"
    assert record["target"] == {"name": "target.png", "size": [180, 180]}
    assert 0 <= record["quality"]["valid_share"] <= 1
    assert record["quality"]["motion"] == "similarity"
    assert set(record["outputs"]) == {"warped", "flow", "flow_image", "transform", "mask"}
    assert all(Path(path).is_file() for path in record["outputs"].values())
    share = (read_image(tmp_path / "m.png").pixels == 255).mean()
    assert share == pytest.approx(record["quality"]["trusted_share"])
    assert share <= record["quality"]["valid_share"]


def test_quiet_prints_nothing(pair, tmp_path):
    result = glualign("warp", *pair, "-o", tmp_path, "-q", *QUICK)
    assert (result.exit_code, result.output) == (0, "")


def test_a_known_motion_is_the_start(pair, tmp_path):
    points = tmp_path / "points.csv"
    points.write_text("source_x,source_y,target_x,target_y\n61,30,50,25\n")  # (11, 5) where (10, 6) is true
    result = glualign("warp", *pair, tmp_path / "out/", "--init", points, *QUICK)
    assert result.exit_code == 0, result.output
    flow = read_flow(tmp_path / "out" / "source_flow.flo").data
    assert np.nanmedian(np.linalg.norm(flow - [10, 6], axis=2)) < 1.5
    again = tmp_path / "again.flo"
    result = glualign("flow", *pair, again, "--init", tmp_path / "out" / "source_flow.flo", *QUICK)
    assert result.exit_code == 0, result.output
    assert np.nanmedian(np.linalg.norm(read_flow(again).data - [10, 6], axis=2)) < 1.5


@pytest.mark.parametrize(
    ("text", "words"), [("1 2\n3 4\n", "holds 2 x 2 numbers"), ("1 1 0\n1 1 0\n0 0 1\n", "is singular")]
)
def test_a_motion_that_is_none_is_one_line_and_nothing_is_written(pair, tmp_path, text, words):
    (tmp_path / "m.txt").write_text(text)
    result = glualign("warp", *pair, tmp_path / "out/", "--init", tmp_path / "m.txt", *QUICK)
    assert result.exit_code == 1
    assert words in " ".join(result.stderr.split())
    assert not (tmp_path / "out").exists()


def test_the_start_is_not_overwritten(pair, tmp_path):
    result = glualign("flow", *pair, tmp_path / "f.flo", "--init", tmp_path / "f.flo", *QUICK)
    assert result.exit_code == 1
    assert "would be overwritten" in " ".join(result.stderr.split())


def test_a_file_name_is_the_warped_image(pair, tmp_path):
    result = glualign("warp", *pair, tmp_path / "new" / "r.jpg", *QUICK)
    assert result.exit_code == 0, result.output
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["r.jpg"]


def test_what_is_transparent_is_not_trusted(pair, tmp_path):
    result = glualign(
        "warp", *pair, "-o", tmp_path / "r.png", "--fill", "transparent", "--mask", tmp_path / "m.png", *QUICK
    )
    assert result.exit_code == 0, result.output
    shown, trusted = (
        read_image(tmp_path / "r.png").pixels[..., 3] > 0,
        read_image(tmp_path / "m.png").pixels > 0,
    )
    assert not (trusted & ~shown).any()
    # Next to the end of the source a pixel may be shown and not trusted.
    assert (shown != trusted).mean() < 0.02


def test_a_global_transform_is_fitted_and_written(pair, tmp_path):
    result = glualign("warp", *pair, "-o", tmp_path, "--transform", "translation", *QUICK)
    assert result.exit_code == 0, result.output
    matrix = np.loadtxt(tmp_path / "source_transform.txt")
    np.testing.assert_allclose(matrix, [[1, 0, 10], [0, 1, 6], [0, 0, 1]], atol=1.5)


def test_a_matrix_can_be_json(pair, tmp_path):
    result = glualign(
        "warp", *pair, "-o", tmp_path, "--transform", "affine", "--matrix", tmp_path / "m.json", *QUICK
    )
    assert result.exit_code == 0, result.output
    assert np.shape(json.loads((tmp_path / "m.json").read_text())["matrix"]) == (3, 3)


def test_a_spline_is_smooth_and_has_no_matrix(pair, tmp_path):
    result = glualign("warp", *pair, "-o", tmp_path, "--transform", "tps", *QUICK)
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "source_transform.txt").exists()
    flow = read_flow(tmp_path / "source_flow.flo").data
    assert np.isfinite(flow).all()
    assert np.abs(np.diff(flow, n=2, axis=0)).max() < 0.1
    np.testing.assert_allclose(np.median(flow, axis=(0, 1)), [10, 6], atol=1.5)


@pytest.mark.parametrize("transform", ["auto", "dense", "tps"])
def test_a_matrix_without_a_matrix_transform_is_a_usage_error(pair, tmp_path, transform):
    matrix = tmp_path / "m.txt"
    result = glualign("warp", *pair, "-o", tmp_path, "--matrix", matrix, "--transform", transform)
    assert result.exit_code == 2
    assert "--transform" in result.stderr


def test_names_with_dashes_spaces_and_unicode(pair, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(pair[0], "-a b.png")
    shutil.copy(pair[1], "żółw.png")
    result = glualign("warp", *QUICK, "--", "-a b.png", "żółw.png")
    assert result.exit_code == 0, result.output
    assert Path("-a b_warped.png").is_file()


def test_depth_and_mode_may_differ_between_the_images(pair, tmp_path):
    grey = cv2.imread(str(pair[0]), cv2.IMREAD_GRAYSCALE).astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / "deep.tif"), grey)
    result = glualign("warp", tmp_path / "deep.tif", pair[1], "-o", tmp_path / "out", *QUICK)
    assert result.exit_code == 0, result.output
    warped = read_image(tmp_path / "out" / "deep_warped.tif").pixels
    assert (warped.dtype, warped.shape) == (np.uint16, (180, 180))


@pytest.fixture
def judged(monkeypatch):
    """Have every alignment get the verdict that is asked for."""
    from dataclasses import replace

    from glualign.aligner import Aligner

    align = Aligner.align

    def make(verdict: str) -> None:
        def judge(self, source, target, **options):
            alignment = align(self, source, target, **options)
            figures = {"edge_similarity": 0.05, "content_correlation": 0.07, "median_error": 7.5}
            quality = replace(alignment.quality, verdict=verdict, **figures)
            return replace(alignment, quality=quality)

        monkeypatch.setattr(Aligner, "align", judge)

    return make


def test_nothing_is_written_below_the_minimum_quality(pair, tmp_path, judged):
    judged("doubtful")
    result = glualign("warp", *pair, "-o", tmp_path / "out", "--min-quality", "good", *QUICK)
    assert result.exit_code == 1
    assert "doubtful" in result.stderr
    assert not (tmp_path / "out").exists()
    result = glualign("warp", *pair, "-o", tmp_path / "out", "--min-quality", "doubtful", *QUICK)
    assert result.exit_code == 0
    for words in ("edge similarity 0.05", "common edges differs", "differ by 7.50 px", "--init with"):
        assert words in result.stdout


@pytest.mark.parametrize("command", ["warp", "flow"])
def test_a_failed_verdict_keeps_the_files_and_exits_with_4(pair, tmp_path, judged, command):
    judged("failed")
    out = tmp_path / ("out/r.png" if command == "warp" else "out/r.flo")
    result = glualign(command, *pair, out, "--quiet", *QUICK)
    assert result.exit_code == 4
    assert out.is_file()
    (line,) = result.stderr.splitlines()
    for words in ("failed", "edge similarity 0.05", "of the target's pixels are trusted", "Try the default"):
        assert words in line
    assert glualign(command, *pair, out, "--quiet", "--min-quality", "none", *QUICK).exit_code == 0
    assert glualign(command, *pair, tmp_path / "n.flo", "--min-quality", "doubtful", *QUICK).exit_code == 1


def test_the_output_is_an_argument_or_an_option(pair, tmp_path):
    assert glualign("warp", *pair, tmp_path / "r.png", "-q", *QUICK).exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["r.png"]
    twice = glualign("warp", *pair, tmp_path / "r.png", "-o", tmp_path / "s.png")
    assert twice.exit_code == 2
    assert "twice" in twice.stderr


def test_an_extension_that_cannot_be_written_is_refused(pair, tmp_path):
    refused(glualign("warp", *pair, tmp_path / "r.gif"), "r.gif", "cannot write .gif", ".png")
    assert list(tmp_path.iterdir()) == []


def test_a_format_that_cannot_hold_the_image_is_refused_before_computing(pair, tmp_path, monkeypatch):
    from glualign.aligner import Aligner

    monkeypatch.setattr(Aligner, "align", lambda *_, **__: pytest.fail("the network ran"))
    refused(glualign("warp", *pair, tmp_path / "r.jpg", "--fill", "transparent"), "JPEG cannot hold")


def test_standard_input_and_output_are_images(pair, tmp_path):
    result = CliRunner().invoke(
        cli, ["warp", "-", str(pair[1]), "-", "--format", "bmp", *QUICK], input=pair[0].read_bytes()
    )
    assert result.exit_code == 0, result.stderr
    assert glualign("warp", *pair, tmp_path / "r.bmp", "-q", *QUICK).exit_code == 0
    assert result.stdout_bytes == (tmp_path / "r.bmp").read_bytes()


def test_what_a_mask_shows_in_black_is_ignored(pair, tmp_path):
    mask = np.full((180, 180), 255, np.uint8)
    mask[40:80, 50:120] = 0
    cv2.imwrite(str(tmp_path / "ignore.png"), mask)
    out, trust = tmp_path / "r.png", tmp_path / "m.png"
    names = ["--target-mask", tmp_path / "ignore.png", "--mask", trust]
    result = glualign("warp", *pair, out, *names, "--fill", "transparent", *QUICK)
    assert result.exit_code == 0, result.output
    assert (read_image(out).pixels[mask == 0][:, 3] == 255).mean() > 0.5  # drawn, but not trusted
    assert (read_image(trust).pixels[mask == 0] == 0).all()
    refused(glualign("warp", *pair, out, "--source-mask", tmp_path / "ignore.png"), "ignore.png", "180 x 180")
    over = glualign("warp", *pair, tmp_path / "ignore.png", "--target-mask", tmp_path / "ignore.png")
    refused(over, "is an input")


def test_streams_that_cannot_be_are_usage_errors(pair):
    for arguments in (["-", "-"], [pair[0], pair[1], "-", "--json"]):
        assert glualign("warp", *arguments).exit_code == 2
    empty = CliRunner().invoke(cli, ["warp", "-", str(pair[1])], input=b"")
    assert (empty.exit_code, len(empty.stderr.splitlines())) == (1, 1)


def test_what_is_wrong_with_a_stream_is_said_of_the_stream(pair, tmp_path):
    broken = CliRunner().invoke(cli, ["warp", "-", str(pair[1]), str(tmp_path / "a.png")], input=b"GIF89a")
    assert broken.exit_code == 1
    assert broken.stderr.startswith("glualign: error: stdin")
    other = CliRunner().invoke(cli, ["flow", *map(str, pair[:2]), "-", "--format", "jpg"])
    assert other.exit_code == 1
    assert other.stderr.startswith("glualign: error: stdout.jpg: not a flow format")


def refused(result, *words: str) -> None:
    """One line on stderr that names what is wrong, nothing on stdout, exit code 1."""
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("glualign: error: ")
    for word in words:
        assert word in line


def corrupt(kind: str, folder: Path, examples: Path) -> Path:
    path = folder / f"{kind}.{'jpg' if 'jpeg' in kind or kind == 'text' else 'png'}"
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.touch()
    elif kind == "text":
        path.write_text("this is no picture\n")
    elif kind == "truncated-png":
        path.write_bytes((examples / "graf1.png").read_bytes()[:20_000])
    elif kind == "truncated-jpeg":
        path.write_bytes((examples / "leuvenA.jpg").read_bytes()[:20_000])
    elif kind in ("1x1", "3x5000"):
        width, height = (int(side) for side in kind.split("x"))
        cv2.imwrite(str(path), np.zeros((height, width, 3), np.uint8))
    return path


BAD = ["missing", "folder", "empty", "text", "truncated-png", "truncated-jpeg", "1x1", "3x5000"]


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("role", ["source", "target"])
def test_an_unusable_image_is_named_in_one_line(kind, role, tmp_path, examples, blank):
    bad = corrupt(kind, tmp_path, examples)
    names = (bad, blank) if role == "source" else (blank, bad)
    refused(glualign("warp", *names, "-o", tmp_path / "out", *QUICK), bad.name)
    assert not (tmp_path / "out").exists()


def test_an_unknown_model_is_named(blank, tmp_path):
    refused(
        glualign("warp", blank, blank, "-o", tmp_path / "o", "--model", "nonesuch"),
        "nonesuch",
        "weights list",
    )


def test_a_model_file_that_is_none_is_named(blank, tmp_path):
    refused(glualign("warp", blank, blank, "-o", tmp_path / "o", "--model", blank), blank.name)


def test_a_device_that_is_not_there_is_named(blank, tmp_path):
    refused(
        glualign("warp", blank, blank, "-o", tmp_path / "o", "--device", "cuda:99"), "cuda:99", "--device cpu"
    )


def test_an_output_below_a_file_is_refused_before_computing(blank, tmp_path):
    (tmp_path / "file").write_text("x")
    refused(glualign("warp", blank, blank, "-o", tmp_path / "file" / "out"), "is a file")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder_is_refused_before_computing(blank, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    refused(glualign("warp", blank, blank, "-o", locked), "cannot be written")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="/proc is where not even root can write")
def test_a_folder_that_cannot_be_made_is_named(blank):
    refused(
        glualign("warp", blank, blank, "-o", "/proc/nowhere/", *QUICK), "/proc/nowhere", "cannot be written"
    )


def test_an_input_is_not_overwritten(blank):
    before = blank.read_bytes()
    refused(glualign("warp", blank, blank, "-o", blank), "is an input")
    assert blank.read_bytes() == before


@pytest.mark.parametrize("given", [["--mask-from", "file"], ["-m", "good_mask.png"]])
@pytest.mark.parametrize(
    "command",
    [
        ["warp", "good.png", "good.png", "o.png", "--mask", "good_mask.png"],
        ["flow", "good.png", "good.png", "o.flo", "--mask", "good_mask.png"],
        ["matches", "good.png", "good.png", "-o", "link.csv"],
        ["report", "good.png", "good.png", "-o", "link.html"],
        ["video", "good.png", "-o", "link.mp4"],
    ],
    ids=lambda command: command[0],
)
def test_a_mask_beside_the_source_and_a_model_are_not_overwritten(command, given, blank, monkeypatch):
    monkeypatch.chdir(blank.parent)
    shutil.copy(blank, "good_mask.png")
    Path(command[-1]).exists() or os.symlink("good_mask.png", command[-1])
    if command[0] == "video":
        given = ["-m", "good_mask.png"]  # frames have no masks
    refused(glualign(*command, *given), "is an input")
    assert Path("good_mask.png").read_bytes() == blank.read_bytes()


@pytest.mark.parametrize(
    ("option", "endings"),
    [("--matrix", ".txt or .json"), ("--report", ".html or .htm"), ("--gcps", ".points or .csv")],
)
def test_a_file_of_an_unknown_kind_is_refused_before_computing(option, endings, blank, tmp_path):
    place = {33550: (1.0, 1.0, 0.0), 33922: (0.0, 0.0, 0.0, 5.0, 5.0, 0.0)}
    write_image(tmp_path / "map.tif", Image(np.full((64, 64), 127, np.uint8), georeference=place))
    more = ["--transform", "homography", option, tmp_path / "x.foo"]
    refused(glualign("warp", blank, tmp_path / "map.tif", "-o", tmp_path / "out/", *more), "x.foo", endings)
    assert not (tmp_path / "out").exists()


def test_an_unknown_flow_format_is_refused_before_computing(blank, tmp_path):
    refused(glualign("warp", blank, blank, "-o", tmp_path, "--flow", tmp_path / "x.abc"), "x.abc", ".flo")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--device", "gpu"),
        ("--precision", "int8"),
        ("--max-side", "-1"),
        ("--max-side", "3"),
        ("--fill", "greenish"),
        ("--interp", "best"),
        ("--quality", "0"),
        ("--preset", "best"),
    ],
)
def test_a_wrong_value_is_a_usage_error_that_names_the_option(option, value, blank):
    result = glualign("warp", blank, blank, option, value)
    assert result.exit_code == 2
    assert option in result.stderr


def test_a_page_of_a_stack_is_warped_onto_a_single_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = []

    def align(self, source, target, **more):
        asked.append((float(source.pixels.mean()), float(target.pixels.mean())))
        raise GlualignError("enough")

    monkeypatch.setattr(Pairing, "align", align)
    tifffile.imwrite("stack.tif", np.stack([np.full((40, 50), k, np.uint8) for k in (10, 20)]))
    write_image("target.png", np.full((40, 50), 30, np.uint8))
    glualign("warp", "stack.tif", "target.png", "out.png", "--page", "1", "--target-page", "0")
    glualign("warp", "stack.tif", "stack.tif", "out.png", "--page", "1")
    assert asked == [(20, 30), (20, 20)]


def test_positions_in_a_turned_photograph_are_those_of_the_upright_picture(pair, tmp_path):
    source, target = pair
    pixels = read_image(source).pixels
    lying = Image(np.ascontiguousarray(np.rot90(pixels)), exif=oriented(6))  # to be turned clockwise
    write_image(tmp_path / "phone.jpg", lying)
    told = glualign("matches", tmp_path / "phone.jpg", target, "-o", tmp_path / "m.csv", *QUICK)
    assert told.exit_code == 0, told.output
    assert "phone.jpg: positions are those in the upright picture" in told.stderr
    warped = glualign("warp", tmp_path / "phone.jpg", target, tmp_path / "o.png", *QUICK)
    assert "positions" not in warped.stderr
