"""What each step of the default preset is worth: accuracy and seconds with each of them left out.

    python benchmarks/ablation.py ../shared/eval --limit 44 --json benchmarks/results/ablation.json

All variants run on every pair, pair by pair, so that the machine's other work falls on all of them alike.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import common
from torch import Tensor

from glualign.evaluation.datasets import open_dataset
from glualign.evaluation.methods import open_model
from glualign.evaluation.metrics import PairMetrics, mean_of, measure, summarise
from glualign.network.glunet import GLUNet, WorkingFeatures


def frozen(network: GLUNet, level4: Tensor) -> Tensor:
    """Pretrained features as they are, in the place of their descriptors."""
    return level4


def ending_at_a_quarter(network: GLUNet, image: Tensor) -> WorkingFeatures:
    """Features of the working size for all levels but that at 1/2."""
    _, quarter, eighth = network.pyramid(image)
    return WorkingFeatures(eighth, quarter)


class Variant(NamedTuple):
    """What a variant of the default changes."""

    options: Mapping[str, Any] = {}  # of the aligner
    place: str = ""  # a constant or a method that no option changes ...
    instead: Any = None  # ... and what stands there


PACKAGE = "glualign.matching"
VARIANTS = {
    "the default": Variant(),
    "without the projection": Variant(place="glualign.network.glunet.GLUNet.described", instead=frozen),
    "without the decoder at 1/2": Variant(
        place="glualign.network.glunet.GLUNet.working_features", instead=ending_at_a_quarter
    ),
    "without rectification": Variant(place=f"{PACKAGE}.coarse_motion.MOST_RECTIFICATIONS", instead=0),
    "without the search": Variant({"search": False}),
    "without 32 x 32 cells": Variant(
        place=f"{PACKAGE}.coarse_motion.CHECKED_FINER", instead=(math.inf, math.inf)
    ),
    "without key points": Variant(place=f"{PACKAGE}.estimate.KEY_POINTS_BELOW", instead=-math.inf),
    "at 768 pixels": Variant({"max_side": 768}),
    "without fusion": Variant({"fuse_global_motion": False}),
    "without the simplest model": Variant({"transform": "dense"}),
    "without moving the model": Variant(
        place=f"{PACKAGE}.global_model.LEAST_RATIO_TO_MOVE", instead=math.inf
    ),
    "without parts beside the model": Variant(place=f"{PACKAGE}.global_model.PART_MARGIN", instead=math.inf),
    "without refinement": Variant({"refine": False}),
    "preset fast": Variant({"preset": "fast"}),
}


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("root", type=Path, help="folder of pairs with ground truth")
    parser.add_argument("--limit", type=int, help="so many pairs, evenly spread")
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    pairs = open_dataset("pairs", arguments.root).pairs
    limit = min(arguments.limit or len(pairs), len(pairs))
    chosen = [pairs[index * len(pairs) // limit] for index in range(limit)]
    methods = {
        name: open_model("compact", {"precision": "fp32", **variant.options})
        for name, variant in VARIANTS.items()
    }
    found: dict[str, dict[str, list[PairMetrics]]] = {name: defaultdict(list) for name in methods}
    seconds: dict[str, list[float]] = defaultdict(list)
    for pair in chosen:
        sample = pair.load()
        for name, method in methods.items():
            _, place, instead = VARIANTS[name]
            with patch(place, instead) if place else nullcontext():
                estimate = method.estimate(sample)
            measured = measure(sample.truth.errors(estimate.flow, sample.longer_side))
            found[name][pair.group].append(measured)
            seconds[name].append(estimate.seconds)
        print(pair.name, flush=True)
    rows = []
    for name, groups in found.items():
        median = statistics.median(each.aepe for group in groups.values() for each in group)
        mean = mean_of([summarise(group) for group in groups.values()])
        shares = [f"{100 * value:.1f}" for value in (mean.pck[0], mean.pck[2], mean.pck_alpha[0])]
        rows.append([name, f"{median:.2f}", *shares, f"{statistics.median(seconds[name]):.2f}"])
    common.write_result(arguments.json, "ablation", "What each step is worth", pairs=limit, rows=rows)


if __name__ == "__main__":
    main()
