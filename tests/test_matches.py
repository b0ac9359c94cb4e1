"""Matches of an aligned pair: evenly spread where the flow is trusted, in forms that other tools read."""

import csv
from dataclasses import replace

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from glualign.alignment import Alignment
from glualign.cli.main import cli
from glualign.errors import MissingExtraError, OptionError, OutputError
from glualign.flow import Flow, read_initial, write_flow
from glualign.images import Image
from glualign.matches import find_matches, write_matches
from glualign.outputs import check_outputs

SIZE = (120, 160)
FOCAL = 150.0
CENTRE = (79.5, 59.5)
FORMATS = (".csv", ".npz", ".h5", ".txt")


def scene():
    """The flow of a hilly scene, seen by two cameras that are turned and moved against each other."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]].astype(np.float64)
    depth = 5 + 1.5 * np.sin(x / 17) + 1.5 * np.cos(y / 11)
    points = (
        np.stack([(x - CENTRE[0]) / FOCAL, (y - CENTRE[1]) / FOCAL, np.ones(SIZE)], axis=-1)
        * depth[..., None]
    )
    rotation, _ = cv2.Rodrigues(np.array([0.02, -0.05, 0.03]))
    moved = points @ rotation.T + (0.8, -0.1, 0.2)
    seen = moved[..., :2] / moved[..., 2:] * FOCAL + CENTRE
    return Flow((seen - np.stack([x, y], axis=-1)).astype(np.float32))


def image(tmp_path, name):
    path = tmp_path / name
    cv2.imwrite(str(path), np.zeros((*SIZE, 3), np.uint8))
    return Image(np.zeros((*SIZE, 3), np.uint8), path=path)


@pytest.fixture
def alignment(tmp_path):
    flow = scene()
    confidence = np.linspace(0.4, 1, SIZE[1], dtype=np.float32) * np.ones(SIZE, np.float32)
    source, target = image(tmp_path, "left.png"), image(tmp_path, "right.png")
    return Alignment(source, target, flow, flow.valid(), confidence, None, None, "none")


def test_matches_are_spread_over_what_is_trusted(alignment):
    matches = find_matches(alignment, most=300, least_confidence=0.7)
    assert 200 <= len(matches.confidence) <= 300
    assert matches.confidence.min() >= 0.7
    np.testing.assert_allclose(
        matches.source,
        matches.target + alignment.flow.data[tuple(matches.target[:, ::-1].astype(int).T)],
        atol=1e-4,
    )
    eligible = alignment.trusted & (alignment.confidence >= 0.7)
    nearest = np.full(SIZE, 255, np.uint8)
    nearest[tuple(matches.target[:, ::-1].astype(int).T)] = 0
    gap = cv2.distanceTransform(nearest, cv2.DIST_L2, 5)[eligible].max()
    assert gap < 3 * np.sqrt(eligible.sum() / 300), "no part of the trusted pixels is far from a match"


def test_given_key_points_are_matched_where_they_are(alignment):
    points = [(100.25, 60.5), (10, 10), (-5, 3), (np.nan, 1), (400, 1), (120, 100)]
    matches = find_matches(alignment, points=points)
    assert matches.target.tolist() == [[100.25, 60.5], [120, 100]]
    around = alignment.flow.data[60:62, 100:102]
    assert around.min(axis=(0, 1))[0] <= (matches.source - matches.target)[0, 0] <= around.max(axis=(0, 1))[0]


def test_without_trust_there_are_none(alignment):
    assert len(find_matches(alignment, least_confidence=1.1).confidence) == 0
    assert len(find_matches(alignment, most=1).confidence) == 1


def test_csv_is_read_by_apply_and_as_point_pairs(alignment, tmp_path):
    matches = find_matches(alignment, most=200)
    write_matches(tmp_path / "m.csv", matches)
    write_flow(tmp_path / "flow.npz", alignment.flow)
    for frame, other in (("source", "target"), ("target", "source")):
        out = tmp_path / f"{frame}.csv"
        result = CliRunner().invoke(
            cli,
            [
                "apply",
                str(tmp_path / "flow.npz"),
                str(tmp_path / "m.csv"),
                "-o",
                str(out),
                "--points-from",
                frame,
            ],
        )
        assert result.exit_code == 0, result.output
        rows = list(csv.DictReader(out.open()))
        moved = np.array([[float(row[f"{frame}_{axis}"] or "nan") for axis in "xy"] for row in rows])
        error = np.abs(moved - getattr(matches, other)).max(axis=1)
        assert np.median(error) < 1e-3
        assert np.nanmean(error < 0.01) > 0.95
    assert read_initial(tmp_path / "m.csv", SIZE, SIZE).size == SIZE


def test_npz_has_both_sides(alignment, tmp_path):
    matches = find_matches(alignment)
    write_matches(tmp_path / "m.npz", matches)
    with np.load(tmp_path / "m.npz") as file:
        np.testing.assert_allclose(file["keypoints0"], matches.source, atol=1e-4)
        np.testing.assert_allclose(file["keypoints1"], matches.target, atol=1e-4)
        assert file["names"].tolist() == ["left.png", "right.png"]


def test_h5_has_the_layout_of_hloc(alignment, tmp_path):
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    matches = find_matches(alignment)
    write_matches(tmp_path / "m.h5", matches)
    with h5py.File(tmp_path / "m.h5") as file:
        index = file["left.png/right.png"]["matches0"][()]
        np.testing.assert_allclose(file["left.png"]["keypoints"][()], matches.source, atol=1e-4)
        np.testing.assert_allclose(file["right.png"]["keypoints"][()][index], matches.target, atol=1e-4)
        assert file["left.png/right.png"]["matching_scores0"].shape == index.shape


def read_colmap(folder):
    """COLMAP's text lists: key points by image name, and the matched index pairs."""
    names, *pairs = (folder / "m.txt").read_text().split("\n")
    points = {}
    for name in names.split():
        head, *rows = (folder / "m_keypoints" / f"{name}.txt").read_text().splitlines()
        assert head == f"{len(rows)} 128"
        assert all(len(row.split()) == 4 + 128 for row in rows)
        points[name] = np.array([row.split()[:4] for row in rows], np.float32)
    return points, np.array([pair.split() for pair in pairs if pair], np.uint32)


def test_colmap_verifies_the_matches(alignment, tmp_path):
    pycolmap = pytest.importorskip("pycolmap", reason="pycolmap is not installed")
    write_matches(tmp_path / "m.txt", find_matches(alignment, most=500))
    points, pairs = read_colmap(tmp_path)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in points:
        (tmp_path / name).rename(pictures / name)
    database = tmp_path / "database.db"
    options = pycolmap.ImageReaderOptions(
        camera_model="PINHOLE", camera_params=f"{FOCAL},{FOCAL},{CENTRE[0] + 0.5},{CENTRE[1] + 0.5}"
    )
    pycolmap.Database.open(database).close()
    pycolmap.import_images(database, pictures, options=options)
    with pycolmap.Database.open(database) as opened:
        ids = {image.name: image.image_id for image in opened.read_all_images()}
        for name, values in points.items():
            opened.write_keypoints(ids[name], values)
        opened.write_matches(ids["left.png"], ids["right.png"], pairs)
    (tmp_path / "pairs.txt").write_text("left.png right.png\n")
    pycolmap.verify_matches(database, tmp_path / "pairs.txt")
    with pycolmap.Database.open(database) as opened:
        found = opened.read_two_view_geometry(ids["left.png"], ids["right.png"])
        assert opened.num_verified_image_pairs() == 1
    assert len(found.inlier_matches) > 0.95 * len(pairs)
    assert found.config == pycolmap.TwoViewGeometryConfiguration.CALIBRATED.value


@pytest.mark.parametrize("extension", FORMATS)
def test_no_matches_are_a_file_too(alignment, tmp_path, extension):
    if extension == ".h5":
        pytest.importorskip("h5py", reason="h5py is not installed")
    write_matches(tmp_path / f"m{extension}", find_matches(alignment, least_confidence=1.1))
    assert (tmp_path / f"m{extension}").stat().st_size > 0


def test_what_cannot_be_written_is_told(alignment, tmp_path, monkeypatch):
    matches = find_matches(alignment)
    with pytest.raises(OutputError, match=r"m\.xyz: not a format of matches; use one of \.csv"):
        write_matches(tmp_path / "m.xyz", matches)
    same = find_matches(Alignment(**{**vars(alignment), "source": alignment.target}))
    with pytest.raises(OutputError, match=r"both are called right\.png"):
        write_matches(tmp_path / "m.txt", same)
    with pytest.raises(OutputError, match=r"cannot hold a name with spaces \(IMG 1\.jpg\); write \.h5"):
        write_matches(tmp_path / "m.txt", replace(matches, names=("IMG 1.jpg", "b.jpg")))
    with pytest.raises(OptionError, match="at least one"):
        find_matches(alignment, most=0)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"glualign\[hdf5\]"):
        check_outputs({"matches": tmp_path / "m.h5"})


def quick(*arguments):
    return CliRunner().invoke(cli, [*map(str, arguments), "--preset", "fast", "--max-side", "256"])


def test_the_command_warp_and_batch_write_matches(tmp_path, examples):
    wall = cv2.imread(str(examples / "graf1.png"))[100:500, 200:600]
    wall = cv2.resize(wall, (200, 200), interpolation=cv2.INTER_AREA)
    for folder, part in (("a", wall), ("b", wall[6:186, 10:190])):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / f"{folder}.png"), part)
    source, target = tmp_path / "a" / "a.png", tmp_path / "b" / "b.png"
    result = quick("matches", source, target, "-o", tmp_path / "m.csv", "--max", 50)
    assert result.exit_code == 0, result.output
    table = np.loadtxt(tmp_path / "m.csv", delimiter=",", skiprows=1)
    assert 20 <= len(table) <= 50
    assert np.median(np.linalg.norm(table[:, :2] - table[:, 2:4] - (10, 6), axis=1)) < 1.5
    assert quick("warp", source, target, tmp_path / "w.png", "--matches", tmp_path / "w.npz").exit_code == 0
    assert len(np.load(tmp_path / "w.npz")["confidence"]) > 100
    result = quick("batch", source, "--target", target, "-o", tmp_path / "out", "--matches", "csv", "-q")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "a_matches.csv").read_text().startswith("source_x,source_y,target_x,target_y")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["-o", "m.xyz"], 1, "not a format of matches"),
        (["-o", "left.png"], 1, "left.png: is an input"),
        (["-o", "m.csv", "--max", "0"], 2, "--max"),
        (["-o", "m.csv", "--points", "none.csv"], 1, "none.csv: no such file"),
        (["-o", "m.csv", "--points", "bad.csv"], 1, "no columns x and y"),
    ],
)
def test_mistakes_are_one_line(tmp_path, monkeypatch, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.csv").write_text("a,b\nc,d\n")
    for name in ("left.png", "right.png"):
        image(tmp_path, name)
    result = CliRunner().invoke(cli, ["matches", "left.png", "right.png", *arguments])
    assert result.exit_code == code
    assert words in result.stderr


def test_all_given_points_are_matched(alignment):
    y, x = np.nonzero(alignment.trusted & (alignment.confidence >= 0.5))
    points = np.stack([x, y], axis=1)
    assert len(points) > 2000
    assert len(find_matches(alignment, points=points).target) == len(points)
    assert len(find_matches(alignment, points=points, most=50).target) == 50
