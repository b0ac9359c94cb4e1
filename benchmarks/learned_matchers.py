"""Learned sparse matchers with a homography beside the default: the rows of both on the same pairs.

    python benchmarks/learned_matchers.py MATCHERS.json PAIRS.csv --json RESULT.json

MATCHERS.json maps method -> set -> {n, median_aepe, pck5, pck05, sec} of the first n pairs of every set, each
measured by XFeat (Potje et al. 2024) or ALIKED with LightGlue (Lindenberger et al. 2023) at 1024 px and a
homography by MAGSAC++, at the annotated points where a pair has them. PAIRS.csv is what `glualign evaluate
pairs-points --csv` wrote: errors at the same places.
"""

from __future__ import annotations

import json
from pathlib import Path

import common

from glualign.evaluation.metrics import summarise
from glualign.evaluation.runner import read_csv

NAMES = {"xfeat": "XFeat", "aliked+lightglue": "ALIKED + LightGlue"}


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("matchers", type=Path)
    parser.add_argument("pairs", type=Path, help="csv of glualign evaluate")
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    matchers = json.loads(arguments.matchers.read_text(encoding="utf-8"))
    results = [each for each in read_csv(arguments.pairs) if each.method == "compact"]
    if len({each.run for each in results}) > 1:
        raise SystemExit(f"{arguments.pairs}: holds runs of several settings; measure one")
    results.sort(key=lambda each: each.pair)
    rows = []
    for group, first in next(iter(matchers.values())).items():
        chosen = [each for each in results if each.group == group][: first["n"]]
        ours = summarise([each.metrics for each in chosen if each.metrics])
        compact = {"median_aepe": ours.median, "pck5": ours.pck[2], "pck05": ours.pck_alpha[0]}
        figures = [*(matchers[method][group] for method in NAMES), compact]
        cells = (
            f"{each['median_aepe']:.2f}; {100 * each['pck5']:.0f}; {100 * each['pck05']:.0f}"
            for each in figures
        )
        rows.append([group, str(first["n"]), *cells])
    title, methods = "Learned matchers with a homography", [*NAMES.values()]
    common.write_result(arguments.json, "learned_matchers", title, methods=methods, rows=rows)


if __name__ == "__main__":
    main()
