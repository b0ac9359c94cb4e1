import html
import json
import re
import shlex
from dataclasses import asdict, replace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image as PillowImage

from glualign.cli.main import cli
from glualign.flow import from_transform, read_flow, write_flow
from glualign.images import write_image
from glualign.quality import Quality
from glualign.report.alignment import saved_alignment

pytest.importorskip("jinja2", reason="the report needs: pip install 'glualign[report]'")
SIZE = (60, 90)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(2)
    for name in ("source.png", "target.png"):
        PillowImage.fromarray(rng.integers(0, 256, (*SIZE, 3), np.uint8)).save(name)
    write_flow("flow.flo", from_transform([[1, 0, 3], [0, 1, 2], [0, 0, 1]], SIZE))
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(cli, ["report", *map(str, arguments)])


def test_a_saved_flow_becomes_a_report_that_tells_its_command(folder):
    result = run(
        "source.png", "target.png", "flow.flo", "-o", "report.html", "--title", "Tile 17", "--size", 90
    )
    assert result.exit_code == 0, result.output
    assert result.output == "report.html\n"
    content = (folder / "report.html").read_text("utf-8")
    command = (
        "glualign report source.png target.png flow.flo -o report.html --title &#39;Tile 17&#39; --size 90"
    )
    assert f"<code>{command}</code>" in content
    assert "<title>Tile 17 - glualign</title>" in content


def test_the_command_in_the_report_can_be_run_again(folder):
    assert run("source.png", "target.png", "flow.flo", "-o", "a.html", "--no-exif").exit_code == 0
    text = (folder / "a.html").read_text("utf-8")
    words = shlex.split(html.unescape(re.search(r"<code>(.*?)</code>", text)[1]))
    (folder / "a.html").unlink()
    assert words[:2] == ["glualign", "report"]
    assert "--no-exif" in words
    assert run(*words[2:]).exit_code == 0
    assert (folder / "a.html").read_text("utf-8").count("<img") == text.count("<img") > 5


def test_what_was_kept_beside_a_flow_is_shown(folder):
    mask = np.zeros(SIZE, np.uint8)
    mask[:30] = 255
    PillowImage.fromarray(mask).save("mask.png")
    PillowImage.fromarray(mask // 2).save("confidence.png")
    quality = asdict(Quality("doubtful", 0.9, 0.9, 1.25, 0.7, 0.6, None, None, 0.0))
    kept = {"quality": quality, "model": "compact", "timings": {}}
    kept |= {"source": {"size": SIZE}, "target": {"size": SIZE}}
    (folder / "warp.json").write_text(json.dumps(kept))
    result = run(
        "source.png", "target.png", "flow.flo", "-o", "r.html",
        "--mask", "mask.png", "--confidence", "confidence.png", "--summary", "warp.json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    text = (folder / "r.html").read_text("utf-8")
    assert "Verdict: doubtful" in text
    assert "1.25 px" in text
    # The mask's 30 rows of 60, of which the flow's 87 columns of 90 stay inside the source.
    assert f"{100 * 30 * 87 / (60 * 90):.1f} %" in text
    assert "Enlarge: Confidence" in text


def test_what_was_kept_needs_the_flow(folder):
    result = run("source.png", "target.png", "--mask", "target.png", "-o", "r.html")
    assert result.exit_code == 2
    assert "belong to a saved FLOW" in result.output


def test_without_a_flow_the_pair_is_aligned(folder, monkeypatch):
    asked = []

    def align(pairing, source, target):
        asked.append((pairing.model, source.name, target.name))
        found = saved_alignment(source, target, read_flow("flow.flo"), "fake")
        return replace(found, quality=Quality("good", 0.9, 0.9, 0.4, 0.7, 0.6, None, None, 0.0))

    monkeypatch.setattr("glualign.cli.pair.Pairing.align", align)
    result = run("source.png", "target.png", "-o", "report.html", "-q", "--model", "compact")
    assert result.exit_code == 0, result.output
    assert result.output == ""
    assert asked == [("compact", "source.png", "target.png")]


def test_warp_writes_the_report_of_its_alignment(folder):
    """One alignment: the page has the verdict that the command prints, and the command itself."""
    arguments = ["warp", "source.png", "target.png", "out/a.png", "--preset", "fast", "--min-quality", "none"]
    result = CliRunner().invoke(cli, [*arguments, "--report", "out/r.html", "--json", "--max-side", "256"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["outputs"]["report"] == "out/r.html"
    text = (folder / "out" / "r.html").read_text("utf-8")
    assert f"Verdict: {told['quality']['verdict']}" in text
    assert "glualign warp source.png target.png" in text


@pytest.mark.parametrize("name", ["source.png", "out/a.png", "/dev/full"])
def test_warp_refuses_a_report_over_another_file_before_it_aligns(folder, name):
    result = CliRunner().invoke(cli, ["warp", "source.png", "target.png", "out/a.png", "--report", name])
    assert result.exit_code == 1
    assert len(result.output.strip().splitlines()) == 1
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.png", "target.png", "flow.flo", "-o", "r.html"], "missing.png"),
        (["source.png", "target.png", "missing.flo", "-o", "r.html"], "missing.flo"),
        (["source.png", "target.png", "flow.flo", "-o", "source.png"], "overwritten"),
        (["source.png", "target.png", "flow.flo", "-o", "r.txt"], "r.txt: is written as .html or .htm"),
        (["source.png", "target.png", "flow.flo", "-o", "/dev/full"], "/dev/full: is a device"),
        (
            ["source.png", "target.png", "flow.flo", "--mask", "wide.png", "-o", "r.html"],
            "wide.png is 80 x 60",
        ),
        (["source.png", "wide.png", "flow.flo", "-o", "r.html"], "the target is 80 x 60"),
        (["wide.png", "target.png", "flow.npz", "-o", "r.html"], "wide.png, target.png, flow.npz: "),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_file(folder, arguments, words):
    PillowImage.new("RGB", (80, 60)).save("wide.png")
    write_flow("flow.npz", from_transform(np.eye(3), SIZE, SIZE))
    before = sorted(folder.iterdir())
    result = run(*arguments)
    assert result.exit_code == 1, result.output
    assert words in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert sorted(folder.iterdir()) == before


def test_an_output_is_required(folder):
    result = run("source.png", "target.png")
    assert result.exit_code == 2
    assert "-o" in result.output


def test_a_failed_verdict_is_told_by_the_exit_code(folder):
    noise = np.random.default_rng(0).integers(0, 256, (200, 240, 3), np.uint8)
    write_image(folder / "noise.png", noise)
    how = ("--preset", "fast", "--max-side", "256", "-q")
    assert run("noise.png", "target.png", "-o", "r.html", *how).exit_code == 4
    assert (folder / "r.html").is_file()
    assert run("noise.png", "target.png", "-o", "r.html", *how, "--min-quality", "none").exit_code == 0
