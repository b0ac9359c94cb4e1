"""Four cameras above hills: all matches are one scene, which COLMAP verifies and reconstructs."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from glualign.alignment import Alignment
from glualign.batch.manifest import Input, Record
from glualign.batch.scene import join_matches
from glualign.errors import BatchError
from glualign.flow import Flow
from glualign.images import Image
from glualign.matches import write_matches
from glualign.outputs import name_outputs, write_outputs

SIZE = (120, 160)
FOCAL = 150.0
CENTRE = (79.5, 59.5)
PAIRS = ((1, 0), (2, 1), (3, 2), (2, 0))


def camera(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Rotation world -> camera, and the position."""
    rotation, _ = cv2.Rodrigues(np.array([0.02, -0.05, 0.03]) * number)
    return rotation, np.array([0.35, 0.08, 0.1]) * number


def flow_between(source: int, target: int) -> Flow:
    """Target -> source over the hills z = 5 + sin x / 2 + cos (1.3 y) / 2."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float64)
    (turned, here), (other, there) = camera(target), camera(source)
    rays = np.stack([(x - CENTRE[0]) / FOCAL, (y - CENTRE[1]) / FOCAL, np.ones(SIZE)], axis=-1) @ turned
    depth = np.full(SIZE, 5.0)
    for _ in range(50):
        points = here + depth[..., None] * rays
        height = 5 + np.sin(points[..., 0]) / 2 + np.cos(1.3 * points[..., 1]) / 2
        depth = (height - here[2]) / rays[..., 2]
    seen = (here + depth[..., None] * rays - there) @ other.T
    at = seen[..., :2] / seen[..., 2:] * FOCAL + CENTRE
    return Flow((at - np.stack([x, y], axis=-1)).astype(np.float32))


@pytest.fixture
def records(tmp_path: Path) -> list[Record]:
    """A batch of four photographs, as it is on the disk."""
    (tmp_path / "photos").mkdir()
    images = []
    for number in range(4):
        path = tmp_path / "photos" / f"{number}.png"
        cv2.imwrite(str(path), np.zeros((*SIZE, 3), np.uint8))
        images.append(Image(np.zeros((*SIZE, 3), np.uint8), path=path))
    found = []
    for source, target in PAIRS:
        flow = flow_between(source, target)
        confidence = np.linspace(0.4, 1, SIZE[1], dtype=np.float32) * np.ones(SIZE, np.float32)
        alignment = Alignment(
            images[source], images[target], flow, flow.valid(), confidence, None, None, "none"
        )
        files = name_outputs(tmp_path, f"{source}-{target}", ".png", kinds=["flow", "mask", "confidence"])
        write_outputs(files, alignment)
        inputs = (Input(str(images[number].path)) for number in (source, target))
        found.append(
            Record(files["flow"].stem, "done", *inputs, {}, {path.name: 1 for path in files.values()})
        )
    return found


def test_key_points_are_shared_by_the_pairs_of_an_image(records, tmp_path):
    scene = join_matches(records, tmp_path, ".flo")
    assert list(scene.pairs) == [
        ("1.png", "0.png"),
        ("2.png", "1.png"),
        ("3.png", "2.png"),
        ("2.png", "0.png"),
    ]
    for (source, target), (indices, confidence) in scene.pairs.items():
        assert len(indices) == len(confidence) > 500
        assert confidence.min() >= 0.5
        for column in (0, 1):
            assert len(np.unique(indices[:, column])) == len(indices)
        truth = flow_between(int(source[0]), int(target[0])).data
        points = scene.points[target][indices[:, 1]]
        rows, columns = np.clip(np.rint(points[:, ::-1]), 0, np.array(SIZE) - 1).astype(int).T
        off = scene.points[source][indices[:, 0]] - points - truth[rows, columns]
        assert np.percentile(np.linalg.norm(off, axis=1), 90) < 1.2
    # A point of 0 that is found in 1 and in 2 has the same match in 2 over 1 as without it.
    by_pair = {pair: dict(indices[:, ::-1].tolist()) for pair, (indices, _) in scene.pairs.items()}
    first, second, direct = (by_pair[f"{a}.png", f"{b}.png"] for a, b in ((1, 0), (2, 1), (2, 0)))
    chained = {point: second[at] for point, at in first.items() if at in second}
    both = [(chained[point], direct[point]) for point in chained if point in direct]
    assert len(both) > 300
    assert np.mean([a == b for a, b in both]) > 0.9


def test_hloc_finds_each_pair(records, tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    scene = join_matches(records, tmp_path, ".flo")
    write_matches(tmp_path / "m.h5", scene)
    with h5py.File(tmp_path / "m.h5") as file:
        matches = np.array(file["2.png/0.png"]["matches0"])
        assert len(matches) == len(file["2.png"]["keypoints"])
        assert (matches >= 0).sum() == len(scene.pairs["2.png", "0.png"][0])
        assert matches.max() < len(file["0.png"]["keypoints"])


def test_colmap_reconstructs_the_scene(records, tmp_path):
    pycolmap = pytest.importorskip("pycolmap", reason="pycolmap is not installed")
    write_matches(tmp_path / "m.txt", join_matches(records, tmp_path, ".flo"))
    database = tmp_path / "database.db"
    options = pycolmap.ImageReaderOptions(
        camera_model="PINHOLE", camera_params=f"{FOCAL},{FOCAL},{CENTRE[0] + 0.5},{CENTRE[1] + 0.5}"
    )
    pycolmap.Database.open(database).close()
    pycolmap.import_images(database, tmp_path / "photos", options=options)
    blocks = (tmp_path / "m.txt").read_text().strip().split("\n\n")
    with pycolmap.Database.open(database) as opened:
        ids = {image.name: image.image_id for image in opened.read_all_images()}
        for name, number in ids.items():
            lines = (tmp_path / "m_keypoints" / f"{name}.txt").read_text().splitlines()
            assert lines[0] == f"{len(lines) - 1} 128"
            points = np.array([line.split()[:2] for line in lines[1:]], np.float32)
            opened.write_keypoints(number, points)
        for block in blocks:
            names, *rows = block.splitlines()
            first, second = names.split()
            opened.write_matches(ids[first], ids[second], np.array([row.split() for row in rows], np.uint32))
    (tmp_path / "pairs.txt").write_text("".join(block.splitlines()[0] + "\n" for block in blocks))
    pycolmap.verify_matches(database, tmp_path / "pairs.txt")
    with pycolmap.Database.open(database) as opened:
        assert opened.num_verified_image_pairs() == len(PAIRS)
        for block in blocks:
            names, *rows = block.splitlines()
            geometry = opened.read_two_view_geometry(*(ids[name] for name in names.split()))
            assert len(geometry.inlier_matches) > 0.9 * len(rows)
    models = pycolmap.incremental_mapping(database, tmp_path / "photos", tmp_path / "model")
    assert [model.num_reg_images() for model in models.values()] == [4]


def test_without_a_finished_pair_there_is_nothing_to_join(records, tmp_path):
    with pytest.raises(BatchError, match="no pair is done"):
        join_matches([], tmp_path, ".flo")
    with pytest.raises(BatchError, match="no flow of"):
        join_matches(records, tmp_path, ".npz")
