"""Write the list of pairs of PF-WILLOW from folders of pairs, for the published bounding-box metric.

    python benchmarks/willow_from_pairs.py ../shared/eval/pf_willow willow.csv
    glualign evaluate pf-willow-box ../shared/eval/pf_willow --list willow.csv --model compact

Every folder holds source.*, target.* and points_target_source.txt: rows of target x and y, source x and y.
"""

from __future__ import annotations

import csv
from pathlib import Path

import common
import numpy as np


def write_list(pairs: Path, path: Path) -> None:
    """Write the csv of all pairs in a folder; its paths are relative to that folder."""
    points = [f"{axis}{side}{index}" for side in "AB" for axis in "XY" for index in range(10)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["imageA", "imageB", *points])
        for folder in sorted(each for each in pairs.iterdir() if each.is_dir()):
            images = [next(folder.glob(f"{stem}.*")).relative_to(pairs) for stem in ("source", "target")]
            target_x, target_y, *source = np.loadtxt(folder / "points_target_source.txt").T[:4]
            writer.writerow([*images, *np.concatenate([*source, target_x, target_y])])


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("list", type=Path, help="the csv to write")
    arguments = parser.parse_args()
    write_list(arguments.pairs, arguments.list)


if __name__ == "__main__":
    main()
