"""Lay out one set of pairs with homographies as an HPatches sequence.

    python benchmarks/hpatches_from_pairs.py PAIRS/oxford_graf OUT

The set must hold folders named 1_2, 1_3, ... with source.* (image 1), target.* (image k) and
H_target_to_source.txt. OUT/v_<set>/ then has 1.ppm, k.ppm and H_1_k, the matrix from image 1 to image k: the
inverse of what the pair has.
"""

from __future__ import annotations

from pathlib import Path

import common
import numpy as np
from PIL import Image

from glualign.evaluation.datasets.base import load_homography, load_rgb


def convert(pairs: Path, out: Path) -> Path:
    """Write the sequence and return its folder."""
    sequence = out / f"v_{pairs.name}"
    sequence.mkdir(parents=True, exist_ok=True)
    for folder in sorted(path for path in pairs.iterdir() if path.name.startswith("1_")):
        k = folder.name.removeprefix("1_")
        for stem, name in (("source", "1"), ("target", k)):
            (image,) = folder.glob(f"{stem}.*")
            Image.fromarray(load_rgb(image)).save(sequence / f"{name}.ppm")
        matrix = np.linalg.inv(load_homography(folder / "H_target_to_source.txt"))
        np.savetxt(sequence / f"H_1_{k}", matrix / matrix[2, 2], fmt="%.12g")
    return sequence


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    print(convert(arguments.pairs, arguments.out))


if __name__ == "__main__":
    main()
