"""The command as a user meets it; no network runs where a baseline will do."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from glualign.cli import measure
from glualign.cli.main import cli
from tests.evaluation.fakes import make_pairs


def run(*arguments):
    return CliRunner().invoke(cli, ["evaluate", *map(str, arguments)])


@pytest.fixture
def root(tmp_path):
    return make_pairs(tmp_path / "data", shifts=(1, 2, 3), size=(64, 96))


def test_the_names_in_the_help_are_those_of_the_library():
    from glualign.evaluation.datasets import DATASETS
    from glualign.evaluation.methods import BASELINES

    assert tuple(DATASETS) == measure.DATASETS
    assert tuple(BASELINES) == measure.BASELINES


def test_baselines_side_by_side_with_every_output(root, tmp_path):
    out = tmp_path / "out"
    result = run(
        "pairs", root, "-b", "identity", "-b", "dis", "--csv", out / "r.csv", "--json", out / "r.json",
        "--html", out / "r.html",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    identity = next(line for line in lines if line[:2] == ["moved", "identity"])
    assert identity[2:4] == ["3", "2.00"]
    content = json.loads((out / "r.json").read_text())
    assert list(content["methods"]) == ["identity", "dis"]
    assert (out / "r.html").read_text().startswith("<!doctype html>")
    assert len((out / "r.csv").read_text().splitlines()) == 1 + 6


def test_bad_pairs_are_named_the_rest_is_measured_and_the_exit_code_is_3(root):
    from glualign.flow import write_flow

    make_pairs(root / "more", shifts=(1, 2, 3, 4), size=(64, 96))
    broken = root / "more" / "moved"
    (broken / "p0" / "H_target_to_source.txt").unlink()
    (broken / "p1" / "source.png").write_bytes(b"no image")
    write_flow(broken / "p2" / "flow.flo", np.zeros((10, 96, 2), np.float32))
    result = run("pairs", root / "more", "-b", "identity")
    assert result.exit_code == 3
    assert "3 of 4 results failed" in result.stderr
    for words in ("p0: no ground truth", "p1/source.png", "p2/flow.flo: the flow is 96 x 10 pixels"):
        assert words in result.stderr
    assert "3 failed" in result.stdout


def test_a_malformed_csv_row_fails_alone(tmp_path):
    golden = Path(__file__).resolve().parent.parent / "golden_eval" / "hp"
    text = (golden / "toy.csv").read_text()
    (tmp_path / "list.csv").write_text(text + text.splitlines()[1].replace("0.93", "zero") + "\n")
    result = run("hpatches", golden, "--list", tmp_path / "list.csv", "-b", "identity")
    assert result.exit_code == 3
    assert "line 3: H11 holds 'zero', expected numbers" in result.stderr
    assert "1 failed" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nonsense", "."], 2, "is not one of"),
        (["pairs", "absent", "-b", "identity"], 1, "no such folder"),
        (["pairs", ".", "--resume", "-b", "identity"], 2, "--resume needs --csv"),
        (["pairs", ".", "-b", "raft"], 2, "is not one of"),
    ],
)
def test_wrong_usage(arguments, code, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert words in result.stderr
    assert result.exit_code == code


@pytest.mark.parametrize("option", ["nonsense", "=3", "max_side="])
def test_an_option_that_is_not_key_value(option, root):
    result = run("pairs", root, "--option", option)
    assert result.exit_code == 2
    assert "KEY=VALUE" in result.stderr


def test_an_unknown_option_of_the_aligner_is_refused(root):
    result = run("pairs", root, "--option", "nonsense=3")
    assert result.exit_code == 1
    assert "nonsense" in result.stderr


def test_the_shipped_model_is_measured_with_its_options(root, tmp_path):
    out = tmp_path / "r.json"
    result = run(
        "pairs", root, "--model", "compact@fast", "--option", "max-side=256", "--precision", "fp32",
        "--limit", "1", "--json", out,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    content = json.loads(out.read_text())
    settings = content["methods"]["compact@fast"]
    assert (settings["max_side"], settings["precision"]) == ("256", "float32")
    assert len(settings["sha256"]) == 64
    assert content["pairs"] == 1
    assert content["rows"][-1]["metrics"]["pairs"] == 1


def test_a_resumed_run_measures_nothing_again(root, tmp_path):
    csv = tmp_path / "r.csv"
    first = run("pairs", root, "-b", "identity", "--csv", csv)
    before = csv.read_text()
    second = run("pairs", root, "-b", "identity", "--csv", csv, "--resume")
    assert first.exit_code == second.exit_code == 0
    assert csv.read_text() == before  # times included
    own = shutil.copytree(root, tmp_path / "own")
    inside = ["--csv", own / "r.csv", "--json", own / "r.json", "--resume"]
    assert [run("pairs", own, "-b", "identity", *inside).exit_code for _ in range(2)] == [0, 0]


@pytest.mark.parametrize("option", ["--csv", "--json", "--html"])
def test_no_result_replaces_a_file_of_the_data_set(root, option, tmp_path):
    truth = next(root.rglob("H_target_to_source.txt"))
    before = truth.read_bytes()
    (tmp_path / "link").symlink_to(root)
    for name in (truth, tmp_path / "link" / truth.relative_to(root)):
        result = run("pairs", root, "-b", "identity", option, name)
        assert result.exit_code == 1
        assert result.stderr.startswith(f"glualign: error: {name}: is in the data set")
    truth.write_text("one line\n")  # without rows, but not of an earlier run either
    kept = run("pairs", root, "-b", "identity", "--csv", truth, "--resume")
    assert (kept.exit_code, "is in the data set" in kept.stderr) == (1, True)
    assert truth.read_text() == "one line\n"
    truth.write_bytes(before)
    csv = root / "results.csv"
    for more in ([], ["--resume"]):
        assert run("pairs", root, "-b", "identity", "--csv", csv, *more).exit_code == 0


def test_a_model_with_a_preset_is_an_input(root, tmp_path):
    (tmp_path / "m.pth").write_bytes(b"weights")
    result = run("pairs", root, "-m", f"{tmp_path / 'm.pth'}@fast", "--json", tmp_path / "m.pth")
    assert (result.exit_code, "is an input" in result.stderr) == (1, True)


def test_quiet_prints_nothing(root):
    result = run("pairs", root, "-b", "identity", "-q")
    assert (result.exit_code, result.output) == (0, "")


def test_mirrored_pairs_run_through_the_real_model():
    golden = Path(__file__).resolve().parent.parent / "golden_eval" / "tss"
    result = run("tss", golden, "--model", "compact@fast", "--precision", "fp32")
    assert result.exit_code == 3  # two of the three groups are not in the toy data
    assert "FG3DCar" in result.stdout
    assert "JODS: folder not found" in result.stderr


def test_bench_prints_and_writes_ratios(tmp_path):
    out = tmp_path / "speed.json"
    arguments = ["bench", "--size", "256x256", "--precision", "fp32", "--threads", "1", "--repeat", "1"]
    result = CliRunner().invoke(cli, [*arguments, "--json", str(out)])
    assert result.exit_code == 0, result.output
    rows = json.loads(out.read_text())["rows"]
    assert [(row["model"], row["layout"]) for row in rows] == [
        ("glunet", "channels first"),
        ("compact", "channels last"),
    ]
    assert rows[0]["speedup"] == 1.0
    assert rows[1]["speedup"] > 1.0


def test_bench_refuses_a_size_that_is_none():
    result = CliRunner().invoke(cli, ["bench", "--size", "large"])
    assert result.exit_code == 2
    assert "not a size in pixels" in result.stderr
