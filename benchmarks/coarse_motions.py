"""How often is the coarse motion right, and in how many seconds, on pairs whose look changes a little?

    python benchmarks/coarse_motions.py ../shared/eval
    python benchmarks/coarse_motions.py ../shared/eval --preset fast --constant LEAST_CORNER_MOTION=5.0

Every pair is tried as it is, with other tones, with noise, and blurred: which hypothesis wins is close on
many pairs, and one trial of each says little. A motion is right when the median error of its pixels is below
5 % of the longer side of the source. Left out unless --set names them: objects of a class, which have no such
motion, and sets that hardly move.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import common
import cv2
import numpy as np

from glualign import Aligner
from glualign.evaluation.datasets import open_dataset
from glualign.flow import from_transform
from glualign.images import as_image
from glualign.matching import coarse_motion
from glualign.matching.pair import PairMatcher, prepare_images

RIGHT = 0.05
SEED = 1
LEFT_OUT = ("middlebury_flow", "pf_willow", "roadscene_aligned")


def changed(image: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """``(H, W, 3)`` uint8: the image as it is, lighter, noisy, and soft with less contrast."""
    levels = image.astype(np.float32)
    noisy = levels + rng.normal(0, 6, levels.shape)
    soft = cv2.GaussianBlur(levels, (0, 0), 1.0) * 0.9 + 10
    for each in (levels, 255 * (levels / 255) ** 0.8, noisy, soft):
        yield np.clip(each, 0, 255).astype(np.uint8)


def main() -> None:
    """Print the share that is right for each set, then for all, with the seconds of a pair."""
    parser = common.parser(__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--set", action="append", default=[], help="only this set (may be repeated)")
    parser.add_argument("--constant", action="append", default=[], help="NAME=VALUE of `coarse_motion`")
    arguments = parser.parse_args()
    common.set_constants(coarse_motion, arguments.constant)
    aligner = Aligner.from_pretrained(preset=arguments.preset, precision="fp32")
    options, rng = aligner.options, np.random.default_rng(SEED)
    right: dict[str, list[bool]] = defaultdict(list)
    seconds = []
    for pair in open_dataset("pairs", arguments.root).pairs:
        if pair.group not in arguments.set if arguments.set else pair.group in LEFT_OUT:
            continue
        sample = pair.load()
        both = (changed(image, rng) for image in (sample.source, sample.target))
        for source, target in zip(*both, strict=True):
            [prepared] = prepare_images(aligner.predictor, [as_image(target)], max_side=options.max_side)
            matcher = PairMatcher(aligner.predictor, as_image(source), prepared)
            started = time.process_time()
            found = coarse_motion.find_coarse_motion(matcher, search=options.search).transform
            seconds.append(time.process_time() - started)
            matrix = (matcher.to_source if found is None else found) @ matcher.from_target
            flow = from_transform(np.asarray(matrix), matcher.target_size, matcher.source_size)
            error = np.median(sample.truth.errors(flow.data, sample.longer_side).epe)
            right[pair.group].append(bool(error < RIGHT * sample.longer_side))
    for name, values in right.items():
        print(f"{name:36s} {np.mean(values):.3f} of {len(values)}")
    everything = np.concatenate(list(right.values()))
    took = f"{statistics.fmean(seconds):.2f} s of CPU time, median {statistics.median(seconds):.2f}"
    print(f"{'all':36s} {everything.mean():.3f} of {len(everything)}, {took}")


if __name__ == "__main__":
    main()
