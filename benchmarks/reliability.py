"""Is the confidence worth its name? Median and 90th percentile of the true error by confidence.

    python benchmarks/reliability.py ../shared/eval --json benchmarks/results/reliability.json
    python benchmarks/reliability.py ../shared/eval --preset fast --set oxford_graf --set middlebury_flow

Every pair is aligned once; its pixels with ground truth, at most 20,000 of them, are pooled.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import common
import numpy as np

from glualign import Aligner
from glualign.evaluation.datasets import open_dataset
from glualign.evaluation.metrics import PointTruth, Truth
from glualign.geometry import inside

EDGES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
PER_PAIR = 20_000


def collect(aligner: Aligner, root: Path, sets: list[str]) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Set, confidence and end-point error of the measured pixels of every pair."""
    found = []
    for pair in open_dataset("pairs", root).pairs:
        if sets and pair.group not in sets:
            continue
        case = pair.load()
        alignment = aligner.align(case.source, case.target)
        points, truth = truth_points(case.truth)
        chosen = np.random.default_rng(0).permutation(len(points))[:PER_PAIR]
        points, truth = points[chosen], truth[chosen]
        at = np.rint(points).astype(int)
        shown = inside(at[:, 0], at[:, 1], alignment.flow.size)
        at, truth = at[shown], truth[shown]
        flow = alignment.flow.data[at[:, 1], at[:, 0]]
        error = np.nan_to_num(np.linalg.norm(flow - truth, axis=1), nan=1e4)
        found.append((pair.group, alignment.confidence[at[:, 1], at[:, 0]], error))
        print(pair.name, f"{np.median(error):.2f} px", alignment.quality.verdict, flush=True)
    return found


def truth_points(truth: Truth) -> tuple[np.ndarray, np.ndarray]:
    """Target positions ``(N, 2)`` with ground truth and their true displacement ``(N, 2)``."""
    if isinstance(truth, PointTruth):
        return truth.target, truth.source - truth.target
    rows, columns = np.nonzero(truth.mask)
    return np.stack([columns, rows], 1), truth.flow[rows, columns]


def table(found: list[tuple[str, np.ndarray, np.ndarray]]) -> list[dict[str, float]]:
    """One row for each range of confidence."""
    confidence = np.concatenate([row[1] for row in found])
    error = np.concatenate([row[2] for row in found])
    rows = []
    for low, high in pairwise(EDGES):
        chosen = error[(confidence >= low) & ((confidence < high) | (high == EDGES[-1]))]
        median, tail = np.percentile(chosen, (50, 90)) if len(chosen) else (np.nan, np.nan)
        share = len(chosen) / len(error)
        rows.append({"from": low, "to": high, "share": share, "median": float(median), "p90": float(tail)})
    return rows


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--set", action="append", default=[], help="only this set (may be repeated)")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    aligner = Aligner.from_pretrained(preset=arguments.preset, precision="fp32")
    found = collect(aligner, arguments.root, arguments.set)
    rows = table(found)
    print("confidence   share   median   90 % within")
    for row in rows:
        span, share = f"{row['from']:.1f} to {row['to']:.1f}", f"{row['share']:6.1%}"
        print(f"{span}  {share}  {row['median']:6.2f}  {row['p90']:8.2f} px")
    if arguments.json:
        sets = sorted({row[0] for row in found})
        more = {"preset": arguments.preset, "sets": sets, "pairs": len(found)}
        common.write_result(arguments.json, "reliability", "True error by confidence", **more, rows=rows)


if __name__ == "__main__":
    main()
