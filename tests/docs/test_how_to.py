"""Every command of the how-to page runs as it stands on small pictures."""

import re
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from click.testing import CliRunner

from glualign.cli.main import cli
from glualign.images import read_image

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "how-to.md"
BLOCKS = re.findall(r"^## (.*?)\n.*?^```\n(.*?)^```", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)

RESULTS = {
    "drone": ["out/drone.tif", "out/drone.npz", "out/drone.points"],
    "before and after": ["out/before.png", "out/trusted.png", "out/report.html"],
    "scans": ["out/scans/a_warped.png", "out/scans/b_warped.png", "out/scans/report.html"],
    "labels": ["out/before.npz", "out/labels.png"],
    "time stamp": ["out/masked.png"],
    "burst": ["out/burst/merged.tif"],
    "video": ["out/flow.mp4", "out/still.mp4"],
    "COLMAP": ["out/sfm/matches.txt", "out/sfm/matches_keypoints/before.jpg.txt"],
    "script": ["out/pair/before_warped.jpg"],
    "official": [],
}
"""A word of each heading, and the files that the commands below it leave."""


@pytest.fixture
def pictures(examples, tmp_path, monkeypatch):
    """A folder with small files of the names on the page."""
    monkeypatch.chdir(tmp_path)
    pair = [
        cv2.resize(cv2.imread(str(examples / name)), (200, 160), interpolation=cv2.INTER_AREA)
        for name in ("graf1.png", "graf3.png")
    ]
    for names in (("drone.jpg", "map.png"), ("before.jpg", "after.jpg")):
        for name, picture in zip(names, pair, strict=True):
            cv2.imwrite(name, picture)
    scale, tie = (0.5, 0.5, 0.0), (0.0, 0.0, 0.0, 600_000.0, 5_000_000.0, 0.0)
    georeference = [(33550, "d", 3, scale, True), (33922, "d", 6, tie, True)]
    tifffile.imwrite("map.tif", pair[1][..., ::-1], photometric="rgb", extratags=georeference)
    Path("scans").mkdir()
    for name in "ab":
        cv2.imwrite(f"scans/{name}.png", pair[0])
    cv2.imwrite("template.png", pair[1])
    labels = np.zeros(pair[0].shape[:2], np.uint8)
    labels[40:90, 60:120] = 7
    cv2.imwrite("labels.png", labels)
    stamp = np.full(pair[0].shape[:2], 255, np.uint8)
    stamp[140:, :90] = 0
    cv2.imwrite("stamp.png", stamp)
    Path("pairs.csv").write_text("source,target\nbefore.jpg,after.jpg\n")
    Path("burst").mkdir()
    for name in "12":
        tifffile.imwrite(f"burst/{name}.tif", pair[0][..., 0].astype(np.uint16) * 200)
    clip = cv2.VideoWriter("clip.avi", cv2.VideoWriter_fourcc(*"MJPG"), 5, (200, 160))
    for shift in range(3):
        clip.write(np.roll(pair[0], shift, axis=1))
    clip.release()
    return tmp_path


def test_every_heading_has_its_files():
    assert len(BLOCKS) == len(RESULTS)
    for word in RESULTS:
        assert sum(word in heading for heading, _ in BLOCKS) == 1, word


@pytest.mark.slow
@pytest.mark.parametrize("word", RESULTS)
def test_commands_run(word, pictures):
    (commands,) = [block for heading, block in BLOCKS if word in heading]
    for line in commands.splitlines():
        program, *arguments = shlex.split(line)
        assert program == "glualign"
        finished = CliRunner().invoke(cli, arguments, catch_exceptions=False)
        assert finished.exit_code == 0, finished.output
    for name in RESULTS[word]:
        assert (pictures / name).is_file(), name


@pytest.mark.slow
def test_the_aligned_drone_picture_lies_where_the_map_does(pictures):
    (commands,) = [block for heading, block in BLOCKS if "drone" in heading]
    assert CliRunner().invoke(cli, shlex.split(commands)[1:]).exit_code == 0
    with tifffile.TiffFile("out/drone.tif") as file:
        assert file.pages[0].tags[33922].value[3:5] == (600_000.0, 5_000_000.0)
    assert read_image("out/drone.tif").size == read_image("map.tif").size
