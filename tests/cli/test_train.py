import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from glualign.cli.main import cli
from glualign.errors import TrainingError
from glualign.files import locked
from glualign.training.run_folder import load_state, read_rows


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for k in range(3):
        coarse = rng.integers(0, 256, (8, 10, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f"{k}.png"), cv2.resize(coarse, (400, 320), interpolation=cv2.INTER_CUBIC))
    return folder


def run(*arguments: object) -> str:
    result = CliRunner().invoke(cli, ["train", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def refusal(*arguments: object) -> str:
    result = CliRunner().invoke(cli, ["train", *map(str, arguments)])
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    return result.output


def test_a_run_stops_resumes_and_finishes(root: Path, photos: Path, tmp_path: Path) -> None:
    recipe, folder = root / "recipes" / "tiny.toml", tmp_path / "run"
    common = [recipe, "--photos", photos, "--cache", tmp_path / "cache", "-o", folder]
    output = run(*common, "--max-steps", 3)
    assert "2 photographs to train on, 1 held out" in output
    assert len(read_rows(folder / "train.csv")) == 3
    output = run(*common, "--resume")
    assert "stage 3 (full)" in output
    assert len(read_rows(folder / "train.csv")) == 8
    for name in ("last.pt", "train.png", "validation.csv"):
        assert (folder / name).stat().st_size > 0


def test_a_second_run_does_not_overwrite_the_first(root: Path, photos: Path, tmp_path: Path) -> None:
    common = [
        root / "recipes" / "tiny.toml",
        "--photos",
        photos,
        "--cache",
        tmp_path / "cache",
        "-o",
        tmp_path / "r",
    ]
    run(*common, "--max-steps", 1)
    assert "already holds a run; continue it with --resume" in refusal(*common)


def test_real_pairs_are_scored_during_the_run(root: Path, photos: Path, tmp_path: Path) -> None:
    pair = tmp_path / "pairs" / "drift" / "one"
    pair.mkdir(parents=True)
    image = cv2.imread(str(photos / "0.png"))
    cv2.imwrite(str(pair / "source.png"), image)
    cv2.imwrite(str(pair / "target.png"), image)
    np.savetxt(pair / "H_target_to_source.txt", np.eye(3))
    common = [root / "recipes" / "tiny.toml", "--photos", photos, "--cache", tmp_path / "cache"]
    run(*common, "-o", tmp_path / "r", "--eval-pairs", tmp_path / "pairs", "--max-steps", 5)
    rows = read_rows(tmp_path / "r" / "validation.csv")
    scores = [value for name, value in rows[-1].items() if name.endswith("_eval_median")]
    assert len(scores) == 1
    assert 0 < scores[0] < 1000


def test_a_wrong_recipe_is_one_line(photos: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "bad.toml"
    recipe.write_text('[[stages]]\nkind = "full"\nstepz = 3\n')
    output = refusal(recipe, "--photos", photos, "-o", tmp_path / "r")
    assert "bad.toml: stages[0]: unknown key stepz" in output
    assert output.count("\n") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_device_that_is_not_there_names_the_key_of_the_recipe(photos: Path, tmp_path: Path) -> None:
    message = refusal("glunet", "--photos", photos, "-o", tmp_path / "run")
    assert "run.device of the recipe: 'cuda' is unknown or not on this machine" in message
    assert "--device" not in message


def test_recipes_that_ship_have_names(photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run("tiny", "--photos", photos, "--cache", tmp_path / "cache", "-o", folder, "--max-steps", 1)
    assert load_state(folder).progress.step == 1
    output = refusal("tinny", "--photos", photos, "-o", tmp_path / "other")
    assert "tinny: neither a file nor one of the recipes that ship: compact, finetune, glunet, tiny" in output


def test_resume_refuses_other_starting_weights(photos: Path, tmp_path: Path) -> None:
    output = refusal("tiny", "--photos", photos, "-o", tmp_path / "r", "--resume", "--init", "compact")
    assert "leave --init out" in output


def start_from_weights(tmp_path: Path, photos: Path, root: Path) -> list[str]:
    """A run that starts from weights and whose first validation would take hours."""
    common = ["--photos", str(photos), "--cache", str(tmp_path / "cache")]
    run("tiny", *common, "-o", tmp_path / "first", "--max-steps", 2)
    recipe = tmp_path / "long.toml"
    text = (root / "recipes" / "tiny.toml").read_text()
    recipe.write_text(text.replace("validation_pairs = 1", "validation_pairs = 50000"))
    weights = str(tmp_path / "first" / "last.pt")
    return [str(recipe), *common, "-o", str(tmp_path / "run"), "--init", weights]


def test_the_time_limit_covers_the_first_validation(root: Path, photos: Path, tmp_path: Path) -> None:
    output = run(*start_from_weights(tmp_path, photos, root), "--max-minutes", 0.05)
    assert "validation stopped before it was done" in output
    assert "--resume continues from here" in output
    assert load_state(tmp_path / "run").progress.warm


def test_sigterm_during_the_first_validation_leaves_a_checkpoint(
    root: Path, photos: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "glualign", "train", *start_from_weights(tmp_path, photos, root)]
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "run" / "last.pt").exists():
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "validation stopped before it was done" in output
    assert not (tmp_path / "run" / "validation.csv").exists()
    assert load_state(tmp_path / "run").progress.pairs == 0


def test_help_says_how_to_resume() -> None:
    result = CliRunner().invoke(cli, ["train", "--help"])
    assert result.exit_code == 0
    assert "--resume" in result.output
    assert "torchrun" in result.output


def test_sigterm_leaves_a_checkpoint(root: Path, photos: Path, tmp_path: Path) -> None:
    """SIGTERM to run and workers, as torchrun sends it: it ends with a checkpoint of the step it was in."""
    folder = tmp_path / "run"
    recipe = tmp_path / "long.toml"
    text = (
        (root / "recipes" / "tiny.toml")
        .read_text()
        .replace("steps = 2", "steps = 500")
        .replace("workers = 0", "workers = 1")
    )
    recipe.write_text(text)
    command = [sys.executable, "-m", "glualign", "train", str(recipe), "--photos", str(photos)]
    command += ["--cache", str(tmp_path / "cache"), "-o", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "step 3:" in line:
                os.killpg(process.pid, signal.SIGTERM)
                break
        rest = process.stdout.read()
        assert process.wait(timeout=60) == 0
    assert "--resume continues from here" in rest
    steps = load_state(folder).progress.step
    assert 3 <= steps < 500
    assert read_rows(folder / "train.csv")[-1]["step"] == steps


def test_a_folder_is_trained_into_by_one_run_at_a_time(photos: Path, tmp_path: Path) -> None:
    with locked(tmp_path / "r" / ".glualign", {"lock": False}, TrainingError()):
        output = refusal("tiny", "--photos", photos, "-o", tmp_path / "r")
    assert "r: another run is training there" in output
