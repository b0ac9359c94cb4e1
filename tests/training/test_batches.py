"""Photographs that belong together: what a batch of each kind holds, and which folders are refused."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from glualign.errors import TrainingError
from glualign.geometry import pixel_grid
from glualign.training.batches import BatchDataset, draw
from glualign.training.loop import Trainer
from glualign.training.photos import KINDS, PhotoStore, open_photos
from glualign.training.processes import Processes
from glualign.training.recipe import StageOptions, read_recipe
from glualign.training.run_folder import read_rows
from glualign.training.synthesis import PairSynthesis
from tests.training.conftest import scene

SIZE = 256
TO_B = np.array([[0.95, 0.08, 12.0], [-0.06, 1.02, 9.0], [1e-4, -5e-5, 1.0]])
"""From pixels of the first view to those of the second."""


def write_matches(folder: Path, rows: list[str]) -> None:
    (folder / "matches.csv").write_text("\n".join(["image_a,image_b,x_a,y_a,x_b,y_b", *rows]) + "\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two views of a plane; a red and a blue class; a clip that moves by two pixels a frame; a negative."""
    root = tmp_path_factory.mktemp("related")
    for name in ("views/plane", "classes/red", "classes/blue", "video/clip", "sets/negative"):
        (root / name).mkdir(parents=True)
    height, width = 240, 320
    image = scene(1, height, width)
    cv2.imwrite(str(root / "views/plane/0.png"), image)
    cv2.imwrite(str(root / "views/plane/1.png"), cv2.warpPerspective(image, TO_B, (width, height)))
    first = np.random.default_rng(2).uniform(0, 1, (1500, 2)) * (width, height) - 0.5
    second = cv2.perspectiveTransform(first[None], TO_B)[0]
    shares = (np.hstack([first, second]) + 0.5) / [width, height, width, height]
    inside = shares[((shares >= 0) & (shares <= 1)).all(axis=1)]
    write_matches(root / "views/plane", ["0.png,1.png," + ",".join(map(str, row)) for row in inside])
    for number in range(3):
        for channel, name in ((2, "red"), (0, "blue")):
            tinted = np.full((height, width, 3), 20, np.uint8)
            tinted[..., channel] = scene(10 + number, height, width)[..., 0] // 2 + 100
            cv2.imwrite(str(root / f"classes/{name}/{number}.png"), tinted)
        frame = scene(20, height, width + 40)[:, 2 * number : 2 * number + width]
        cv2.imwrite(str(root / f"video/clip/{number}.png"), frame)
    cv2.imwrite(str(root / "sets/negative/x_a.png"), image)
    cv2.imwrite(str(root / "sets/negative/x_b.png"), 255 - image)
    return root


@pytest.fixture(scope="module")
def photos(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> PhotoStore:
    return open_photos(folder, tmp_path_factory.mktemp("cache"))


def items(photos: PhotoStore, kind: str, count: int = 8) -> list[dict[str, np.ndarray]]:
    indices = np.arange(len(photos))
    synthesis = PairSynthesis(photos, indices, 3, {"moderate": 1.0}, photometric=False)
    groups = photos.groups(kind, indices)
    return [draw(synthesis, groups, kind, index, SIZE) for index in range(count)]


def difference(item: dict[str, np.ndarray], shift: float = 0.0) -> float:
    """Median difference of the target and the source warped by the flow, where that is visible."""
    position = (pixel_grid((SIZE, SIZE)) + item["flow"] + shift).clip(-1000, 1000).astype(np.float32)
    warped = cv2.remap(item["source"], position, None, cv2.INTER_LINEAR)
    return float(np.median(np.abs(warped.astype(float) - item["target"]).max(axis=2)[item["visible"]]))


@pytest.mark.parametrize("kind", ["views", "classes", "video"])
def test_the_flow_carries_the_source_onto_the_target(photos: PhotoStore, kind: str) -> None:
    """Of views near the matches, in either order; one that is wrong by three pixels would be noticed."""
    found = [item for item in items(photos, kind) if item["visible"].mean() > 0.1]
    assert len(found) >= 6
    assert max(map(difference, found)) <= 2.0
    assert np.mean([difference(item, 3.0) for item in found]) > 3 * np.mean(
        [difference(item) for item in found]
    )


def test_views_say_nothing_where_there_is_no_match(photos: PhotoStore) -> None:
    for item in items(photos, "views", 3):
        assert np.abs(item["flow"][~item["valid"]]).min() > 10 * SIZE
        assert not item["valid"].all()


def test_aligned_photographs_make_one_side_each(photos: PhotoStore) -> None:
    for item in items(photos, "aligned", 4):
        negative = {**item, "source": 255 - item["source"]}
        assert difference(negative) < 0.2 * difference(item)


def test_a_triplet_has_another_of_its_class_and_one_of_another(photos: PhotoStore) -> None:
    def colour(image: np.ndarray) -> int:
        return int(image.mean(axis=(0, 1)).argmax())

    for item in items(photos, "classes"):
        assert colour(item["between"]) == colour(item["source"]) == colour(item["target"])
        assert colour(item["negative"]) != colour(item["source"])
        assert not np.array_equal(item["between"], item["source"])


def test_the_frame_between_is_the_next_one_or_the_one_before_in_the_same_part(photos: PhotoStore) -> None:
    """Its content lies up to three pixels aside, and nowhere else: two in the frame, zoomed by the part."""
    for item in items(photos, "video", 4):
        grey = [cv2.cvtColor(item[name], cv2.COLOR_RGB2GRAY) for name in ("source", "between")]
        found = cv2.matchTemplate(grey[1], grey[0][20:-20, 20:-20], cv2.TM_SQDIFF)
        _, _, (x, y), _ = cv2.minMaxLoc(found)
        assert 1 <= abs(x - 20) <= 3
        assert y == 20


def test_a_batch_is_of_one_kind_and_a_function_of_its_step(photos: PhotoStore) -> None:
    indices = np.arange(len(photos))
    mix = {"small": 1.0, **dict.fromkeys(KINDS, 1.0)}
    groups = {kind: photos.groups(kind, indices) for kind in KINDS}
    sets = [BatchDataset(PairSynthesis(photos, indices, 3, mix), 2, (SIZE,), 0, 1, groups) for _ in range(2)]
    kinds = set()
    for step in range(14):
        first, again = (each[step] for each in sets)
        kinds.add(int(first["kind"]))
        assert first.keys() == again.keys()
        assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert kinds == {-1, *range(len(KINDS))}


def test_photographs_held_out_are_in_no_group(photos: PhotoStore) -> None:
    last = photos.names.index("video/clip/2.png")
    ((pair,),) = photos.groups("video", np.delete(np.arange(len(photos)), last))
    assert [photos.names[n] for n in pair[:2]] == ["video/clip/0.png", "video/clip/1.png"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["0.png,1.png,0.5,0.5,0.5"], "matches.csv: not a table image_a,image_b,x_a,y_a,x_b,y_b"),
        (["0.png,1.png,0.5,0.5,0.5,here"], "could not convert string to float: 'here'"),
        (["0.png,2.png,0.5,0.5,0.5,0.5"], "'2.png'"),
        (["0.png,1.png,0.5,0.5,0.5,12.5"], "not from 0 to 1"),
        (["0.png,1.png,0.5,0.5,0.5,nan"], "not from 0 to 1"),
        ([], "too few training photographs for views"),
        (None, "matches.csv: no such file; write it with tools/match_views.py"),
    ],
)
def test_views_without_good_matches_are_refused(tmp_path: Path, rows: list[str] | None, words: str) -> None:
    place = tmp_path / "views" / "tower"
    place.mkdir(parents=True)
    for number in range(2):
        cv2.imwrite(str(place / f"{number}.png"), scene(number, 80, 80))
    if rows is not None:
        write_matches(place, rows)
    with pytest.raises(TrainingError) as caught:
        open_photos(tmp_path, tmp_path / "cache").groups("views", np.arange(2))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_without_its_folders_is_refused(tmp_path: Path, kind: str) -> None:
    """One photograph of each kind is never enough, and a class needs another one."""
    (tmp_path / kind / "one").mkdir(parents=True)
    for number in range(2 if kind == "classes" else 1):
        cv2.imwrite(str(tmp_path / kind / "one" / f"{number}_a.png"), scene(number, 80, 80))
    write_matches(tmp_path / kind / "one", [])
    store = open_photos(tmp_path, tmp_path / "cache")
    with pytest.raises(TrainingError, match=f"too few training photographs for {kind} in the mix; add"):
        store.groups(kind, np.arange(len(store)))


def test_a_run_of_all_kinds_resumes_in_the_same_bits(root: Path, photos: PhotoStore, tmp_path: Path) -> None:
    recipe = read_recipe(root / "recipes" / "tiny.toml")
    mix = {"small": 1.0, **dict.fromkeys(KINDS, 2.0)}
    stages = (
        StageOptions(kind="features", steps=3, batch=1, pyramid_rate=1e-3, contrastive=1.0),
        StageOptions(kind="coarse", steps=10, batch=1, pyramid_rate=1e-3, contrastive=0.5),
        StageOptions(kind="half", steps=2, batch=1),
        StageOptions(kind="full", steps=3, batch=1, sizes=(256, 320), extra_layers=0.5),
    )
    data = replace(recipe.data, mix=mix, held_out=("classes/red/2.png",))
    recipe = replace(recipe, data=data, stages=stages)

    def trainer(name: str) -> Trainer:
        (tmp_path / name).mkdir(exist_ok=True)
        alone = Processes(0, 1, torch.device("cpu"))
        return Trainer(recipe, photos, tmp_path / name, alone, log=lambda _: None)

    whole = trainer("whole")
    assert whole.run()
    last = trainer("parts")
    assert not last.run(steps=6)
    for steps in (3, None):
        last = trainer("parts")
        last.resume()
        assert last.run(steps=steps) is (steps is None)
    rows, again = (read_rows(tmp_path / name / "train.csv") for name in ("whole", "parts"))
    assert [row["loss"] for row in rows] == [row["loss"] for row in again]
    seen = {name for row in rows for name in row}
    assert {"views_epe", "views_hit", "classes_epe", "classes_seen", "classes_negative", "video_epe"} <= seen
    for name, value in whole.network.state_dict().items():
        assert torch.equal(last.network.state_dict()[name], value), name
