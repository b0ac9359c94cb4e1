from pathlib import Path

import cv2
import numpy as np
import pytest

from glualign.training.photos import PhotoStore, open_photos


def scene(seed: int, height: int, width: int) -> np.ndarray:
    """Smooth coloured blobs: content that interpolation reproduces to a fraction of a grey level."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(20, 235, (height // 40, width // 40, 3)).astype(np.float32)
    return np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255).astype(
        np.uint8
    )


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for k in range(6):
        (folder / f"set{k % 2}").mkdir(exist_ok=True)
        cv2.imwrite(str(folder / f"set{k % 2}" / f"{k}.png"), scene(k, 400 + 20 * k, 560))
    return folder


@pytest.fixture(scope="session")
def photos(photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> PhotoStore:
    return open_photos(photo_folder, tmp_path_factory.mktemp("cache"))
