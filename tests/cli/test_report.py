import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image as PillowImage

from glualign.cli.main import cli
from glualign.flow import from_transform, write_flow

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
    assert "<title>Tile 17 - glualign report</title>" in content


def test_the_command_in_the_report_can_be_run_again(folder):
    import html
    import re
    import shlex

    assert run("source.png", "target.png", "flow.flo", "-o", "a.html", "--assets", "--no-exif").exit_code == 0
    text = (folder / "a.html").read_text("utf-8")
    words = shlex.split(html.unescape(re.search(r"<code>(.*?)</code>", text)[1]))
    (folder / "a.html").unlink()
    assert words[:2] == ["glualign", "report"]
    assert {"--assets", "--no-exif"} <= set(words)
    assert run(*words[2:]).exit_code == 0
    assert (folder / "a.html").read_text("utf-8").count("a_assets/") == text.count("a_assets/") > 5


def test_assets_are_announced(folder):
    result = run("source.png", "target.png", "flow.flo", "-o", "out/report.html", "--assets")
    assert result.exit_code == 0, result.output
    pictures = list((folder / "out" / "report_assets").iterdir())
    assert f"{len(pictures)} pictures" in result.output


def test_without_a_flow_the_pair_is_aligned(folder, monkeypatch):
    from glualign.cli import report
    from glualign.flow import read_flow
    from glualign.viz.report import saved_alignment

    asked = []

    class FakeAligner:
        def align(self, source, target):
            asked.append((source.name, target.name))
            return saved_alignment(source, target, read_flow("flow.flo"), "fake")

    def from_options(options):
        asked.append(options["model"])
        return FakeAligner()

    monkeypatch.setattr(report, "aligner_from_options", from_options)
    result = run("source.png", "target.png", "-o", "report.html", "-q", "--model", "compact")
    assert result.exit_code == 0, result.output
    assert result.output == ""
    assert asked == ["compact", ("source.png", "target.png")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.png", "target.png", "flow.flo", "-o", "r.html"], "missing.png"),
        (["source.png", "target.png", "missing.flo", "-o", "r.html"], "missing.flo"),
        (["source.png", "target.png", "flow.flo", "-o", "source.png"], "overwritten"),
        (["source.png", "wide.png", "flow.flo", "-o", "r.html"], "the target is 80 x 60"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_file(folder, arguments, words):
    PillowImage.new("RGB", (80, 60)).save("wide.png")
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
