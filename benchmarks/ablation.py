"""What each step of the default preset is worth: accuracy and seconds with each of them left out.

    python benchmarks/ablation.py ../shared/eval --limit 44 --json benchmarks/results/ablation.json

All variants run on every pair, pair by pair, so that the machine's other work falls on all of them alike.
"""

from __future__ import annotations

import json
import math
import statistics
from collections import defaultdict
from contextlib import nullcontext
from datetime import date
from pathlib import Path
from typing import Any
from unittest.mock import patch

import common
from torch import Tensor

from glualign.evaluation.datasets import open_dataset
from glualign.evaluation.methods import open_model
from glualign.evaluation.metrics import PairMetrics, measure
from glualign.evaluation.tables import environment
from glualign.files import write_text
from glualign.network.glunet import GLUNet, WorkingFeatures


def frozen(network: GLUNet, level4: Tensor) -> Tensor:
    """Pretrained features as they are, in the place of their descriptors."""
    return level4


def ending_at_a_quarter(network: GLUNet, image: Tensor) -> WorkingFeatures:
    """Features of the working size for all levels but that at 1/2."""
    _, quarter, eighth = network.pyramid(image)
    return WorkingFeatures(eighth, quarter)


VARIANTS: dict[str, dict[str, Any]] = {
    "the default": {},
    "without the projection": {},
    "without the decoder at 1/2": {},
    "without rectification": {},
    "without the search": {"search": False},
    "without 32 x 32 cells": {},
    "without key points": {},
    "at 768 pixels": {"max_side": 768},
    "without fusion": {"fuse_global_motion": False},
    "without the simplest model": {"transform": "dense"},
    "without moving the model": {},
    "without parts beside the model": {},
    "without refinement": {"refine": False},
    "preset fast": {"preset": "fast"},
}
REPLACED: dict[str, tuple[str, Any]] = {
    "without the projection": ("glualign.network.glunet.GLUNet.described", frozen),
    "without the decoder at 1/2": ("glualign.network.glunet.GLUNet.working_features", ending_at_a_quarter),
    "without rectification": ("glualign.matching.coarse_motion.STEPS", 0),
    "without 32 x 32 cells": ("glualign.matching.coarse_motion.CHECKED", (math.inf, math.inf)),
    "without key points": ("glualign.matching.estimate.KEY_POINTS_BELOW", -math.inf),
    "without moving the model": ("glualign.matching.global_model.NEARLY", math.inf),
    "without parts beside the model": ("glualign.matching.global_model.BETTER", math.inf),
}
"""Of the variants that no option makes: what stands instead of a constant or a method."""


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("root", type=Path, help="folder of pairs with ground truth")
    parser.add_argument("--limit", type=int, help="so many pairs, evenly spread")
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    pairs = open_dataset("pairs", arguments.root).pairs
    limit = min(arguments.limit or len(pairs), len(pairs))
    chosen = [pairs[index * len(pairs) // limit] for index in range(limit)]
    methods = {name: open_model("compact", {"precision": "fp32", **some}) for name, some in VARIANTS.items()}
    found: dict[str, dict[str, list[PairMetrics]]] = {name: defaultdict(list) for name in methods}
    seconds: dict[str, list[float]] = defaultdict(list)
    for pair in chosen:
        sample = pair.load()
        for name, method in methods.items():
            with patch(*REPLACED[name]) if name in REPLACED else nullcontext():
                estimate = method.estimate(sample)
            measured = measure(sample.truth.errors(estimate.flow, sample.longer_side))
            found[name][pair.group].append(measured)
            seconds[name].append(estimate.seconds)
        print(pair.name, flush=True)
    rows = []
    for name, groups in found.items():
        median = statistics.median(each.aepe for group in groups.values() for each in group)
        shares = [
            statistics.fmean(statistics.fmean(share(each) for each in group) for group in groups.values())
            for share in (lambda each: each.pck[0], lambda each: each.pck[2], lambda each: each.pck_alpha[0])
        ]
        figures = [f"{median:.2f}", *(f"{100 * value:.1f}" for value in shares)]
        rows.append([name, *figures, f"{statistics.median(seconds[name]):.2f}"])
    content = {"kind": "ablation", "rows": rows, "pairs": limit, "date": date.today().isoformat()}
    write_text(arguments.json, json.dumps({**content, "machine": environment()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
