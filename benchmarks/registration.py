"""How much of a small error of a homography does `register` leave, on aligned pairs that look different?

    python benchmarks/registration.py ../shared/train-pairs/aligned
    python benchmarks/registration.py ../shared/train-pairs/aligned --constant RADIUS=12

Some pairs of every folder (`x_a` and `x_b`), evenly spread. Their true homography is the identity; it is
disturbed so that pixels move by 0, 1, 2 and 4 px in the mean, then moved to where edges agree best. The truth
of many pairs is itself good to 1 to 3 px, so compare constants with one another.
"""

from __future__ import annotations

import time
from pathlib import Path

import common
import cv2
import numpy as np

from glualign.flow import from_transform
from glualign.images import as_image, to_rgb8
from glualign.matching import global_model
from glualign.matching.pair import PairMatcher, PreparedImage

DISTURBED_BY = (0.0, 1.0, 2.0, 4.0)
PAIRS = 8
"""Of a folder, at most."""
SEED = 5


def main() -> None:
    """Print what is left for each folder, then for all, with the seconds of a registration."""
    parser = common.parser(__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--constant", action="append", default=[], help="NAME=VALUE of `global_model`")
    arguments = parser.parse_args()
    common.set_constants(global_model, arguments.constant)
    rng, left, seconds = np.random.default_rng(SEED), [], []
    for folder in sorted(each for each in arguments.root.iterdir() if each.is_dir()):
        firsts = sorted(folder.glob("*_a.*"))
        of_folder = []
        for first in firsts[:: max(1, len(firsts) // PAIRS)][:PAIRS]:
            source, target = (as_image(each) for each in (first, next(folder.glob(f"{first.stem[:-1]}b.*"))))
            if source.size != target.size:
                continue
            # Nothing is matched, so there are no features.
            prepared = PreparedImage(target, to_rgb8(target), target.size, None, None, 0)  # type: ignore[arg-type]
            pair = PairMatcher(None, source, prepared)  # type: ignore[arg-type]
            for size in DISTURBED_BY:
                disturbed = _disturbed(target.size, size, rng)
                started = time.process_time()
                found = global_model.register(pair, disturbed, "homography")
                seconds.append(time.process_time() - started)
                of_folder.append(_mean_motion(found, target.size))
        if of_folder:
            print(f"{folder.name:28s} {np.median(of_folder):6.2f} px in the median of {len(of_folder)}")
            left += of_folder
    mean, geometric = np.mean(left), np.exp(np.log(np.maximum(left, 0.01)).mean())
    print(f"all: mean {mean:.2f} px, geometric mean {geometric:.3f} px of {len(left)}, ", end="")
    print(f"{1000 * np.median(seconds):.0f} ms of CPU time in the median")


def _disturbed(size: tuple[int, int], mean: float, rng: np.random.Generator) -> np.ndarray:
    """A homography that moves the pixels of a frame by so many pixels in the mean."""
    right, bottom = size[1] - 1, size[0] - 1
    corners = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], np.float32)
    step = rng.normal(0, 1, (4, 2)).astype(np.float32)
    once = cv2.getPerspectiveTransform(corners, corners + step)
    step *= mean / _mean_motion(once, size)
    return cv2.getPerspectiveTransform(corners, corners + step)


def _mean_motion(matrix: np.ndarray, size: tuple[int, int]) -> float:
    return float(np.linalg.norm(from_transform(matrix, size).data, axis=2).mean())


if __name__ == "__main__":
    main()
