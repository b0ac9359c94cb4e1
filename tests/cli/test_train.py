from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from glualign.cli.main import cli
from glualign.errors import TrainingError
from glualign.training.journal import read_rows


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


def test_a_run_stops_resumes_and_finishes(root: Path, photos: Path, tmp_path: Path) -> None:
    recipe, folder = root / "recipes" / "tiny.toml", tmp_path / "run"
    common = [recipe, "--photos", photos, "--cache", tmp_path / "cache", "-o", folder]
    output = run(*common, "--max-steps", 3)
    assert "2 photographs to train on, 1 held out" in output
    assert len(read_rows(folder / "train.csv")) == 3
    output = run(*common, "--resume")
    assert "stage 2 (full)" in output
    assert len(read_rows(folder / "train.csv")) == 6
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
    with pytest.raises(TrainingError, match="already holds a run"):
        run(*common)


def test_real_pairs_are_scored_during_the_run(root: Path, photos: Path, tmp_path: Path) -> None:
    pair = tmp_path / "pairs" / "drift" / "one"
    pair.mkdir(parents=True)
    image = cv2.imread(str(photos / "0.png"))
    cv2.imwrite(str(pair / "source.png"), image)
    cv2.imwrite(str(pair / "target.png"), image)
    np.savetxt(pair / "H_target_to_source.txt", np.eye(3))
    run(
        root / "recipes" / "tiny.toml", "--photos", photos, "--cache", tmp_path / "cache", "-o", tmp_path / "r",
        "--eval-pairs", tmp_path / "pairs", "--max-steps", 5,
    )  # fmt: skip
    rows = read_rows(tmp_path / "r" / "validation.csv")
    scores = [value for name, value in rows[-1].items() if name.endswith("_eval_median")]
    assert len(scores) == 1
    assert 0 < scores[0] < 1000


def test_a_wrong_recipe_is_one_line(photos: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "bad.toml"
    recipe.write_text('[[stages]]\nkind = "full"\nstepz = 3\n')
    with pytest.raises(TrainingError, match=r"bad\.toml: stages\[0\]: unknown key stepz"):
        run(recipe, "--photos", photos, "-o", tmp_path / "r")


def test_help_says_how_to_resume() -> None:
    result = CliRunner().invoke(cli, ["train", "--help"])
    assert result.exit_code == 0
    assert "--resume" in result.output
    assert "torchrun" in result.output
