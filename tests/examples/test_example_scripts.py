"""The shell scripts in examples/ run as they are, with the `glualign` of this repository on the PATH."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from glualign.images import read_image

SCRIPTS = sorted(path.name for path in (Path(__file__).parents[2] / "examples").glob("*.sh"))
QUICK = ["--preset", "fast", "--max-side", "256", "--device", "cpu"]

pytestmark = pytest.mark.skipif(os.name == "nt" or shutil.which("bash") is None, reason="bash is needed")


@pytest.fixture
def run(tmp_path, root):
    """Runs a script and returns its output folder and what it printed."""
    command = tmp_path / "bin" / "glualign"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m glualign "$@"\n')
    command.chmod(0o755)
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(root)}

    def run_script(name: str) -> tuple[Path, str]:
        out = tmp_path / "results"
        out.mkdir(exist_ok=True)
        finished = subprocess.run(
            ["bash", str(root / "examples" / name), str(out / "run"), *QUICK],
            capture_output=True,
            text=True,
            env=environment,
            timeout=300,
        )
        assert finished.returncode == 0, finished.stderr
        return out / "run", finished.stdout

    return run_script


def files(folder: Path, pattern: str) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob(pattern)}


def test_warp_pair(run) -> None:
    out, printed = run("warp_pair.sh")
    assert "graf1_warped.png" in files(out, "*_warped.*")
    assert "the second pair is" in printed


def test_batch_folders(run) -> None:
    out, printed = run("batch_folders.sh")
    assert files(out / "aligned", "*_warped.*") == {
        "graf_warped.png",
        "plants/aloe_warped.jpg",
        "cars/leuven_warped.jpg",
    }
    assert "report.html" in printed
    _, again = run("batch_folders.sh")
    assert "0 in this run, 3 before" in again


def test_batch_pairs_list(run) -> None:
    out, printed = run("batch_pairs_list.sh")
    assert files(out, "*_warped.*") == {"graffiti/1-onto-3_warped.png", "graffiti/3-onto-1_warped.png"}
    assert json.loads(printed)["key"] == "missing"
    events = [json.loads(line)["event"] for line in Path(f"{out}.log.jsonl").read_text().splitlines()]
    assert events == ["start", "pair", "pair", "pair", "summary"]


def test_batch_one_target(run) -> None:
    out, printed = run("batch_one_target.sh")
    assert files(out, "*_warped.*") == {"rubberwhale1_warped.png", "rubberwhale2_warped.png"}
    assert np.array(printed.split()[-9:], float).reshape(3, 3)[2, 2] == pytest.approx(1)


def test_batch_sequence(run) -> None:
    out, _ = run("batch_sequence.sh")
    assert files(out / "still", "*_warped.*") == {"frame10_warped.png"}
    assert (
        read_image(out / "still" / "frame10_warped.png").size
        == read_image(out / "frames" / "frame9.png").size
    )


def test_batch_shards(run) -> None:
    out, printed = run("batch_shards.sh")
    assert len(files(out / "aligned", "*_warped.*")) == 2
    assert "0 in this run, 2 before" in printed
    assert files(out / "aligned", "manifest*") == {"manifest.jsonl"}


def test_every_script_is_tested_here() -> None:
    tested = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    assert {Path(name).stem for name in SCRIPTS} <= tested
