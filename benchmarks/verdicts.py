"""Is the verdict right? Related and unrelated drawn pairs, with the true error of the related ones.

    python benchmarks/verdicts.py --json benchmarks/results/verdicts.json
    python benchmarks/verdicts.py --preset fast

A related pair is right when its median error is below 5 px where the source is in the frame.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import common
import numpy as np
from rendered_pairs import RenderedPair, related, unrelated

from glualign import Aligner
from glualign.geometry import inside, positions

RIGHT = 5.0
"""Pixels of median error below which an alignment is right."""


def measured(aligner: Aligner, pair: RenderedPair) -> dict[str, Any]:
    """The verdict on a pair with its figures, and the median error in pixels of a related one."""
    alignment = aligner.align(pair.source, pair.target)
    row: dict[str, Any] = {"pair": pair.name, "related": pair.flow is not None, **asdict(alignment.quality)}
    if pair.flow is not None:
        height, width = pair.flow.shape[:2]
        shown = inside(*positions(pair.flow), (height, width))
        error = np.nan_to_num(np.linalg.norm(alignment.flow.data - pair.flow, axis=2), nan=1e4)
        row["error"] = float(np.median(error[shown]))
    return row


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    aligner = Aligner.from_pretrained(arguments.model, preset=arguments.preset, precision="fp32")
    rows = []
    for pair in (*related(), *unrelated()):
        row = measured(aligner, pair)
        rows.append(row)
        error = f"{row['error']:7.2f} px" if row["related"] else "unrelated "
        print(f"{row['verdict']:8s} {error} edges {row['edge_similarity']:.2f}  {pair.name}", flush=True)
    groups = {
        "right": [row for row in rows if row["related"] and row["error"] < RIGHT],
        "wrong": [row for row in rows if row["related"] and row["error"] >= RIGHT],
        "unrelated": [row for row in rows if not row["related"]],
    }
    table = {
        name: {"pairs": len(group), **Counter(row["verdict"] for row in group)}
        for name, group in groups.items()
    }
    for name, counts in table.items():
        print(name, counts)
    if arguments.json:
        more = {"model": arguments.model, "preset": arguments.preset, "verdicts": table}
        common.write_result(arguments.json, "verdicts", "Verdicts on drawn pairs", **more, pairs=rows)


if __name__ == "__main__":
    main()
