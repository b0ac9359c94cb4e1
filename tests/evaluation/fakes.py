"""Methods with known answers, and small data sets on disk, for the tests of the evaluation."""

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from glualign.evaluation.methods import Estimate
from glualign.evaluation.metrics import DenseTruth

GOLDEN = Path(__file__).resolve().parent.parent / "golden_eval"


def grid(height, width):
    """x and y of every pixel, float64."""
    return np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))


def wobble(height, width, scale):
    """The error that the golden metrics were computed with: (H, W, 2)."""
    x, y = grid(height, width)
    return scale * np.stack([np.sin(x / 17) + 0.01 * x, np.cos(y / 11) - 0.02 * y], axis=-1)


def texture(height, width, seed=0):
    """A smooth, rich RGB image."""
    rng = np.random.default_rng(seed)
    noise = rng.uniform(0, 255, (height // 4 + 2, width // 4 + 2, 3)).astype(np.float32)
    image = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(image, 0, 255).astype(np.uint8)


def write_image(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1])


@dataclass(frozen=True)
class Offset:
    """Answers the truth plus a constant error of ``dx`` px; fails on samples wider than ``refuses``."""

    name: str = "offset"
    dx: float = 1.0
    refuses: int = 10**6
    settings: dict = field(default_factory=dict)
    seen: list = field(default_factory=list)

    def estimate(self, sample):
        self.seen.append(sample.target.shape)
        if sample.target.shape[1] > self.refuses:
            raise RuntimeError("too wide for me")
        assert isinstance(sample.truth, DenseTruth)
        return Estimate((sample.truth.flow + np.float32([self.dx, 0])).astype(np.float32), 0.25)


@dataclass(frozen=True)
class Wobbled:
    """Answers the truth plus `wobble`."""

    scale: float
    name: str = "wobbled"
    settings: dict = field(default_factory=dict)

    def estimate(self, sample):
        height, width = sample.truth.mask.shape
        return Estimate((sample.truth.flow + wobble(height, width, self.scale)).astype(np.float32), 0.0)


def make_pairs(root, shifts=(1.0, 2.0, 3.0), size=(40, 60)):
    """A ``pairs`` folder: target = source moved by whole pixels, so that flow = (-shift, 0)."""
    height, width = size
    for index, shift in enumerate(shifts):
        folder = Path(root) / "moved" / f"p{index}"
        image = texture(height, width, seed=index)
        write_image(folder / "source.png", image)
        write_image(folder / "target.png", np.roll(image, int(shift), axis=1))
        np.savetxt(folder / "H_target_to_source.txt", [[1, 0, -shift], [0, 1, 0], [0, 0, 1]])
    return Path(root)
