"""``glualign batch`` with the embedded model on small pictures."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from glualign.batch import read_records
from glualign.cli.main import cli

FAST = ("--preset", "fast", "--max-side", "128", "--device", "cpu")


def batch(*arguments: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["batch", *map(str, arguments), *FAST], input=stdin)


@pytest.fixture(scope="module")
def picture(examples) -> np.ndarray:
    return cv2.resize(cv2.imread(str(examples / "graf1.png")), (96, 72), interpolation=cv2.INTER_AREA)


@pytest.fixture
def folders(tmp_path, picture) -> tuple[Path, Path]:
    """Three pairs, one of them in a sub-folder with the stem of another; sources are shifted targets."""
    for name in ("a.png", "b.png", "sub/a.png"):
        for folder, shift in (("s", 3), ("t", 0)):
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.roll(picture, shift, axis=1))
    return tmp_path / "s", tmp_path / "t"


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


def results(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*_*.*"))
        if path.suffix in (".png", ".flo", ".jpg", ".npz", ".txt")
    }


def test_two_folders(folders, out) -> None:
    result = batch(*folders, "-o", out)
    assert result.exit_code == 0, result.output
    stems = ("a", "b", "sub/a")
    assert set(results(out)) == {
        f"{s}_{kind}" for s in stems for kind in ("warped.png", "flow.flo", "flow.png", "transform.txt")
    }
    assert "3 in this run, 0 before" in result.stdout
    assert "1/3 a: " in result.stderr
    again = batch(*folders, "-o", out)
    assert (again.exit_code, "0 in this run, 3 before" in again.stdout) == (0, True)


def test_results_are_those_of_warp(folders, out, tmp_path) -> None:
    sources, targets = folders
    options = ["--transform", "translation", "--fill", "transparent", "--interp", "cubic"]
    assert batch(*folders, "-o", out, *options).exit_code == 0
    pair = [str(sources / "b.png"), str(targets / "b.png"), "-o", str(tmp_path / "one")]
    single = CliRunner().invoke(cli, ["warp", *pair, *options, *FAST])
    assert single.exit_code == 0, single.output
    ours = {name: data for name, data in results(out).items() if name.startswith("b_")}
    assert ours == results(tmp_path / "one")
    assert "b_transform.txt" in ours


def test_choice_of_results(folders, out) -> None:
    result = batch(
        *folders, "-o", out, "--write", "warped,flow,mask", "--format", "jpg", "--flow-format", "npz"
    )
    assert result.exit_code == 0, result.output
    assert {name for name in results(out) if name.startswith("b")} == {
        "b_warped.jpg",
        "b_flow.npz",
        "b_mask.png",
    }


@pytest.mark.parametrize(("option", "value"), [("--format", "xyz"), ("--flow-format", "docx")])
def test_impossible_formats_are_refused_before_anything_is_done(folders, out, option, value) -> None:
    result = batch(*folders, "-o", out, option, value)
    assert result.exit_code == 1
    assert f".{value}" in result.output
    assert not out.exists()


def test_the_current_folder_does_not_matter(folders, out, tmp_path, monkeypatch) -> None:
    for name in ("any.png", "any_flow.flo", "NAME.png", "NAME_flow.flo"):
        (tmp_path / "here" / name).mkdir(parents=True)
    (tmp_path / "here").chmod(0o500)
    monkeypatch.chdir(tmp_path / "here")
    result = batch(*folders, "-o", out, "--write", "flow,transform")
    assert result.exit_code == 0, result.output


def test_an_unknown_kind_of_result_is_refused(folders, out) -> None:
    result = batch(*folders, "-o", out, "--write", "warped,movie")
    assert result.exit_code == 2
    assert "'movie' is not one of warped, flow, flow-image, mask, confidence, transform" in result.output


def test_one_target_glob_and_report(folders, out) -> None:
    sources, targets = folders
    result = batch(
        sources / "*.png",
        "--target",
        targets / "a.png",
        "-o",
        out,
        "--write",
        "warped,flow-image",
        "--report",
    )
    assert result.exit_code == 0, result.output
    assert {name for name in results(out) if "warped" in name} == {"a_warped.png", "b_warped.png"}
    assert "data:image/" in (out / "report.html").read_text()


def test_a_burst_is_merged_into_one_image_with_less_noise(tmp_path, out, picture) -> None:
    chance = np.random.default_rng(4)
    clean = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(np.float64) * 200 + 5000
    for i in range(6):
        noisy = clean + chance.normal(0, 600, clean.shape)
        (tmp_path / "s").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "s" / f"{i}.png"), noisy.clip(0, 65535).astype(np.uint16))
    target = tmp_path / "s" / "0.png"
    result = batch(
        tmp_path / "s", "--target", target, "-o", out, "--merge", "mean", "--transform", "translation"
    )
    assert result.exit_code == 0, result.output
    assert f"merged: {out / 'merged.png'}" in result.stdout
    merged = cv2.imread(str(out / "merged.png"), cv2.IMREAD_UNCHANGED)
    assert merged.dtype == np.uint16
    inner = (slice(8, -8), slice(8, -8))
    assert np.std((merged - clean)[inner]) < 0.6 * 600


@pytest.mark.parametrize(("option", "name"), [("--merge", "merged.png"), ("--matches", "matches.txt")])
def test_what_was_joined_of_former_results_does_not_outlive_them(folders, out, option, name) -> None:
    sources, targets = folders
    arguments = [sources / "*.png", "--target", targets / "a.png", "-o", out]
    joined = [option, "mean" if name == "merged.png" else "txt"]
    part = batch(*arguments, *joined, "--shard", "1/2")
    assert f"{out / name} is made by the same command without --shard" in part.stderr
    assert batch(*arguments, *joined).exit_code == 0
    assert (out / name).exists()
    for image in sources.glob("*.png"):
        image.write_bytes(b"")
    result = batch(*arguments, *joined, "--report")
    assert result.exit_code == 3
    assert f"no pair is done: there is no {out / name}" in result.stderr
    assert not (out / name).exists()
    assert "2 in error" in re.sub(r"<[^>]*>|\s+", " ", (out / "report.html").read_text())


def test_quiet_prints_failures_only(folders, out) -> None:
    for transform in ("dense", "translation"):  # the second time all pairs are done again
        result = batch(*folders, "-o", out, "-q", "--transform", transform)
        assert (result.exit_code, result.output) == (0, "")


def test_merge_needs_one_target(folders, out) -> None:
    result = batch(*folders, "-o", out, "--merge", "mean")
    assert result.exit_code == 2
    assert "one target" in result.output


def test_sequence_into_a_folder_inside_it(folders) -> None:
    out = folders[0] / "out"
    for _ in range(2):
        result = batch("--sequence", folders[0], "--onto", "first", "-o", out, "--write", "warped,flow-image")
        assert result.exit_code == 0, result.output
        assert list(results(out)) == ["b_flow.png", "b_warped.png"]


@pytest.mark.parametrize("way", ["folders", "target", "glob", "sequence"])
def test_results_among_the_sources_are_no_sources(folders, way) -> None:
    sources, targets = folders
    arguments = {
        "folders": [sources, targets],
        "target": [sources, "--target", targets / "a.png", "--merge", "mean"],
        "glob": [sources / "*.png", "--target", targets / "a.png", "--matches", "txt"],
        "sequence": ["--sequence", sources],
    }[way]
    first = batch(*arguments, "-o", sources, "--report")
    assert first.exit_code == 0, first.output
    written = set(results(sources))
    (sources / "new.txt").touch()
    again = batch(*arguments, "-o", sources, "--report")
    assert again.exit_code == 0, again.output
    assert "0 in this run" in again.stdout
    assert set(results(sources)) == written
    named = json.loads((sources / "summary.json").read_text())["unmatched"]
    others = [line.split(": ")[0] for line in named if "only frame" not in line]
    assert others == ([] if way == "glob" else [str(sources / "new.txt")])


def test_pairs_from_standard_input_and_names_of_results(folders, out) -> None:
    sources, targets = folders
    rows = f"source,target,output\n{sources / 'a.png'},{targets / 'a.png'},x/first\n"
    result = batch("--pairs", "-", "-o", out, "--write", "warped,flow-image", stdin=rows)
    assert result.exit_code == 0, result.output
    assert list(results(out)) == ["x/first_flow.png", "x/first_warped.png"]


def test_a_report_that_cannot_be_made_stops_the_batch_before_the_work(folders, out, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    result = batch(*folders, "-o", out, "--report")
    assert (result.exit_code, "HTML pages need Jinja2" in result.stderr) == (1, True)
    assert not out.exists()


def test_dry_run_prints_the_pairs_and_touches_nothing(folders, out) -> None:
    (folders[0] / "left over.png").touch()
    result = batch(*folders, "-o", out, "--dry-run")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["output"] for line in lines] == ["a", "b", "sub/a"]
    assert "left over.png: no target" in result.stderr
    assert batch(*folders, "-o", out, "--dry-run", "-q").stderr == ""
    assert not out.exists()


def test_dry_run_says_what_is_wrong_with_a_list_even_if_quiet(folders, out, tmp_path) -> None:
    (tmp_path / "list.csv").write_text("source,target\n,b.png\n")
    result = batch("--pairs", tmp_path / "list.csv", "-o", out, "--dry-run", "-q")
    assert (result.exit_code, result.stderr) == (0, f"glualign: {tmp_path / 'list.csv'}, line 2: no source\n")


def test_dry_run_prints_the_pairs_of_a_part(folders, out) -> None:
    parts = [batch(*folders, "-o", out, "--dry-run", "--shard", f"{i}/2").stdout for i in (1, 2)]
    assert [[json.loads(line)["output"] for line in part.splitlines()] for part in parts] == [
        ["a", "sub/a"],
        ["b"],
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--onto", "first"], "--onto has no use without --sequence"),
        (["--ray-workers", 2], "--ray-workers has no use without --engine ray"),
        (["--ray-gpus", 0], "--ray-gpus has no use without --engine ray"),
    ],
)
def test_options_without_use_are_refused(folders, out, arguments, words) -> None:
    result = batch(*folders, "-o", out, *arguments)
    assert (result.exit_code, words in result.output, out.exists()) == (2, True, False), result.output


def test_names_that_a_scene_cannot_hold_are_refused_before_the_run(folders, out) -> None:
    sources, targets = folders
    (sources / "a.png").rename(sources / "a b.png")
    (targets / "a.png").rename(targets / "a b.png")
    result = batch(*folders, "-o", out, "--matches", "txt")
    assert result.exit_code == 1
    assert "cannot hold a name with spaces (s/a b.png)" in result.output
    assert not out.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["one"],
        ["one", "two", "--target", "t"],
        ["one", "--pairs", "p"],
        ["--target", "t"],
        ["--sequence", "s", "--pairs", "p"],
    ],
)
def test_what_to_align_must_be_said_in_one_way(arguments, out) -> None:
    result = batch(*arguments, "-o", out)
    assert result.exit_code == 2
    assert "one of these ways" in result.output


def test_a_folder_of_horrors(folders, out, picture) -> None:
    sources, targets = folders
    good = ["with space", "grün-日本", "-dash", "a"]
    for name in good[:3]:
        for folder, shift in ((sources, 2), (targets, 0)):
            data = cv2.imencode(".png", np.roll(picture, shift, axis=1))[1].tobytes()
            (folder / f"{name}.png").write_bytes(data)
    for name in ("corrupt", "empty", "text", "unreadable"):
        shutil.copy(targets / "a.png", targets / f"{name}.png")
    whole = (sources / "a.png").read_bytes()
    (sources / "corrupt.png").write_bytes(whole[:2000] + bytes(200) + whole[2200:])
    (sources / "empty.png").touch()
    (sources / "text.png").write_text("no picture")
    (sources / "notes.txt").write_text("no picture either")
    (sources / "unreadable.png").symlink_to(sources / "nowhere.png")
    result = batch(*folders, "-o", out)
    assert result.exit_code == 3, result.output
    done = {record.key for record in read_records(out / "manifest.jsonl") if record.status == "done"}
    assert done == {*good, "b", "sub/a"}
    for name in done:
        assert (out / f"{name}_warped.png").stat().st_size > 0
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary["failures"]) == {"corrupt", "empty", "text", "unreadable"}
    for name, reason in summary["failures"].items():
        assert f"{name}.png" in reason
        assert f"failed: {name}: {reason}" in result.stdout
    assert [line.split(": ")[0] for line in summary["unmatched"]] == [str(sources / "notes.txt")]
    with (out / "summary.csv").open(newline="") as file:
        rows = {row["key"]: row for row in csv.DictReader(file)}
    assert rows["grün-日本"]["verdict"] in ("good", "doubtful")
    assert rows["empty"]["status"] == "failed"
    again = batch(*folders, "-o", out)
    assert (again.exit_code, "0 in this run, 6 before" in again.stdout) == (3, True)
    shutil.copy(sources / "b.png", sources / "empty.png")
    assert "1 in this run, 6 before" in batch(*folders, "-o", out).stdout


@pytest.fixture
def unrelated(tmp_path, picture) -> tuple[Path, Path]:
    """A pair of folders with noise and a photograph: what no verdict but *failed* fits."""
    noise = np.random.default_rng(0).integers(0, 256, picture.shape, np.uint8)
    for folder, pixels in (("s", noise), ("t", picture)):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "a.png"), pixels)
    return tmp_path / "s", tmp_path / "t"


def test_min_quality_records_what_it_refuses(unrelated, out) -> None:
    result = batch(*unrelated, "-o", out, "--min-quality", "good")
    assert result.exit_code == 3
    assert "--min-quality asks for good" in result.stdout
    assert results(out) == {}


def test_a_failed_verdict_is_a_failed_pair_whose_files_are_kept(unrelated, out) -> None:
    for _ in range(2):
        result = batch(*unrelated, "-o", out, "--report")
        assert result.exit_code == 3
        assert "0 good, 0 doubtful, 1 failed, 0 in error" in result.stdout
        assert "failed: a: the verdict on the alignment is failed" in result.stdout
        assert set(results(out)) == {"a_warped.png", "a_flow.flo", "a_flow.png"}
    accepted = batch(*unrelated, "-o", out, "--min-quality", "none")
    assert accepted.exit_code == 0
    assert "1 in this run" in accepted.stdout


def test_names_that_the_output_cannot_hold_are_escaped(tmp_path, picture) -> None:
    for name in ("s/写真\x1b[2J.png", "s/c\udce9.png", "t.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    for encoding in ("cp1252", "utf-8:strict"):
        arguments = [str(tmp_path / "s"), "--target", str(tmp_path / "t.png"), "-o", str(tmp_path / encoding)]
        done = subprocess.run(
            [sys.executable, "-m", "glualign", "batch", *arguments, *FAST],
            env={**os.environ, "PYTHONIOENCODING": encoding},
            capture_output=True,
        )
        assert done.returncode == 0, done.stderr
        assert b"\x1b" not in done.stdout + done.stderr


def test_log_json_is_one_object_a_line(folders, out) -> None:
    (folders[0] / "b.png").write_bytes(b"")
    result = batch(*folders, "-o", out, "--log-json", "--write", "warped,flow-image")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["event"] for event in events] == ["start", "pair", "pair", "pair", "summary"]
    assert events[0] == {"event": "start", "todo": 3, "done": 0, "failed": 0}
    assert [event["status"] for event in events[1:4]] == ["done", "failed", "done"]
    assert (events[4]["done"], events[4]["failed"]) == (2, 1)
    assert result.exit_code == 3


def test_shards_merge(folders, out) -> None:
    for shard in ("1/2", "2/2"):
        assert batch(*folders, "-o", out, "--shard", shard, "--write", "warped,flow-image").exit_code == 0
    result = batch(*folders, "-o", out, "--write", "warped,flow-image")
    assert "0 in this run, 3 before" in result.stdout
    assert len(list(read_records(out / "manifest.jsonl"))) == 3
    for wrong in ("3/2", "0/2", "2", "a/b", "1/0", "-1/2", ""):
        assert batch(*folders, "-o", out, "--shard", wrong).exit_code == 2


@pytest.mark.skipif(os.name == "nt", reason="signals are for POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_finishes_the_pair_reports_and_goes_on_later(tmp_path, out, picture, number) -> None:
    for folder, shift in (("s", 3), ("t", 0)):
        (tmp_path / folder).mkdir()
        for i in range(40):
            cv2.imwrite(str(tmp_path / folder / f"{i}.png"), np.roll(picture, shift, axis=1))
    arguments = [
        "batch",
        str(tmp_path / "s"),
        str(tmp_path / "t"),
        "-o",
        str(out),
        "--write",
        "warped,flow-image",
        *FAST,
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "glualign", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (
        (out / "manifest.jsonl").exists() and (out / "manifest.jsonl").read_text()
    ):
        time.sleep(0.02)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 128 + number, stderr
    assert "finishing the pair at hand" in stderr
    assert "the same command goes on from here" in stdout
    records = list(read_records(out / "manifest.jsonl"))
    assert 0 < len(records) < 40
    assert all((out / name).exists() for record in records for name in record.outputs)
    assert {name for record in records for name in record.outputs} == set(results(out))


def test_masks_beside_the_images_are_used_and_are_no_images(folders, out, picture):
    mask = np.full(picture.shape[:2], 255, np.uint8)
    mask[:20] = 0
    cv2.imwrite(str(folders[1] / "a_mask.png"), mask)
    result = batch(*folders, "-o", out, "--mask-from", "file", "--write", "warped,mask", "-q")
    assert result.exit_code == 0, result.output
    assert {record.key for record in read_records(out / "manifest.jsonl")} == {"a", "b", "sub/a"}
    assert (cv2.imread(str(out / "a_mask.png"), 0)[:20] == 0).all()
    assert cv2.imread(str(out / "b_mask.png"), 0)[:20].any()
