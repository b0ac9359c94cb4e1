import pickle
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from glualign.errors import TrainingError
from glualign.training.photos import PhotoStore, open_photos


def test_every_photograph_is_decoded_in_rgb(photos: PhotoStore, photo_folder: Path) -> None:
    assert photos.names == tuple(sorted(photos.names))
    for k, name in enumerate(photos.names):
        expected = cv2.imread(str(photo_folder / name))[:, :, ::-1]
        np.testing.assert_array_equal(photos[k], expected)


def test_the_cache_is_used_again_and_renewed_when_a_file_changes(tmp_path: Path) -> None:
    folder, cache = tmp_path / "photos", tmp_path / "cache"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), np.full((80, 90, 3), 50, np.uint8))
    first = open_photos(folder, cache)
    written = first.data_path.stat().st_mtime_ns
    assert open_photos(folder, cache).data_path.stat().st_mtime_ns == written
    cv2.imwrite(str(folder / "a.png"), np.full((80, 91, 3), 60, np.uint8))
    assert open_photos(folder, cache)[0].shape == (80, 91, 3)
    cv2.imwrite(str(folder / "b.png"), np.full((80, 90, 3), 60, np.uint8))
    assert len(open_photos(folder, cache)) == 2


def test_large_photographs_are_reduced_and_unusable_files_left_out(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "large.png"), np.zeros((300, 600, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "tiny.png"), np.zeros((20, 20, 3), np.uint8))
    (tmp_path / "broken.jpg").write_bytes(b"not a picture")
    (tmp_path / "empty.jpg").touch()
    head = bytearray((tmp_path / "tiny.png").read_bytes())
    head[16:24] = np.array([100_000, 100_000], ">u4").tobytes()  # width and height, more than OpenCV takes
    head[29:33] = zlib.crc32(head[12:29]).to_bytes(4, "big")
    (tmp_path / "huge.png").write_bytes(head)
    store = open_photos(tmp_path, tmp_path / "cache", max_side=200)
    assert store.names == ("large.png",)
    assert store.left_out == 4
    assert store[0].shape == (100, 200, 3)


def test_a_store_travels_to_another_process_without_its_pixels(photos: PhotoStore) -> None:
    packed = pickle.dumps(photos)
    assert len(packed) < 5000 < photos.data_path.stat().st_size
    np.testing.assert_array_equal(pickle.loads(packed)[3], photos[3])


def test_split_by_pattern_and_by_default(photos: PhotoStore) -> None:
    train, held = photos.split(["set1/*"])
    assert {photos.names[k].split("/")[0] for k in train} == {"set0"}
    assert {photos.names[k].split("/")[0] for k in held} == {"set1"}
    train, held = photos.split()
    assert sorted([*train, *held]) == list(range(len(photos)))
    with pytest.raises(TrainingError, match="held_out"):
        photos.split(["no such/*"])


def test_a_folder_without_photographs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="holds no photographs"):
        open_photos(tmp_path)
    with pytest.raises(TrainingError, match="not a folder"):
        open_photos(tmp_path / "missing")
    (tmp_path / "broken.jpg").write_bytes(b"not a picture")
    with pytest.raises(TrainingError, match="could be decoded"):
        open_photos(tmp_path, tmp_path / "cache")
