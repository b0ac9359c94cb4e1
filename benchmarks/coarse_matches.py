"""How many coarse matches do a model's 1/16 features find, before any decoder?

    python benchmarks/coarse_matches.py ../shared/eval [--model compact] [--limit 5]

Both images are squashed to 256 x 256. For up to 400 points of ground truth a pair: the source cell of highest
cosine to the target's feature at the point (bilinear). Printed per set: the share within 1.5/16 and within
1.5/32 of the frame, for the frozen features of a pretrained backbone, and for the descriptors made of them.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import common
import numpy as np
import torch
import torch.nn.functional as F
from reliability import truth_points
from torch import Tensor

from glualign.checkpoints.load import load_model
from glualign.evaluation.datasets import open_dataset
from glualign.network.config import COARSE_SIZE
from glualign.network.warping import prepare

POINTS = 400
SIZE = (COARSE_SIZE, COARSE_SIZE)


def main() -> None:
    """Print one row for each set, then the mean of sets."""
    parser = common.parser(__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--limit", type=int, default=5, help="pairs of each set")
    options = parser.parse_args()
    network = load_model(options.model).model.eval()
    shares: dict[str, list[np.ndarray]] = defaultdict(list)
    for pair in open_dataset("pairs", options.root).pairs:
        if len(shares[pair.group]) == options.limit:
            continue
        case = pair.load()
        points, motion = truth_points(case.truth)
        within = (points + motion >= 0).all(1) & (
            points + motion <= np.array(case.source.shape[1::-1]) - 1.0
        ).all(1)
        chosen = np.random.default_rng(1).permutation(np.flatnonzero(within))[:POINTS]
        places = [
            torch.from_numpy((at + 0.5) / np.array(image.shape[1::-1])).float()
            for at, image in ((points[chosen], case.target), ((points + motion)[chosen], case.source))
        ]
        with torch.inference_mode():
            images = [prepare(image, SIZE, truncate=False) for image in (case.source, case.target)]
            frozen = [network.coarse_features(image).level4 for image in images]
            described = [network.described(level4) for level4 in frozen]
            shares[pair.group].append(np.concatenate([found(*each, *places) for each in (frozen, described)]))
    means = {name: np.mean(values, axis=0) for name, values in shares.items()}
    print(f"{'set':36s} frozen         descriptors")
    for name, row in [*means.items(), ("mean of sets", np.mean(list(means.values()), axis=0))]:
        print(f"{name:36s} {row[0]:.3f} / {row[1]:.3f}  {row[2]:.3f} / {row[3]:.3f}")


def found(source: Tensor, target: Tensor, places: Tensor, truth: Tensor) -> np.ndarray:
    """Share of the points whose best source cell is within 1.5/16, and within 1.5/32, of the truth.

    Args:
        source: unit vectors ``(1, C, N, N)``.
        target: the same.
        places: ``(K, 2)`` in the target, x then y in [0, 1].
        truth: the same in the source.
    """
    side = source.shape[3]
    at = F.grid_sample(target, (places * 2 - 1)[None, None], padding_mode="border", align_corners=False)
    best = (source[0].flatten(1).T @ F.normalize(at[0, :, 0], dim=0)).argmax(dim=0)
    position = (torch.stack([best % side, best // side], dim=1) + 0.5) / side
    error = (position - truth).abs().amax(dim=1)
    return np.array([float((error < reach).float().mean()) for reach in (1.5 / 16, 1.5 / 32)])


if __name__ == "__main__":
    main()
