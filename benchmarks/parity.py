"""Parity with the official networks: for every golden case, how far our flow is from the recorded one.

    python benchmarks/parity.py                     the cases in the repository
    python benchmarks/parity.py FOLDER [...]        further folders of cases
    python benchmarks/parity.py --json FILE         for the documentation

Exits with 1 when a difference is above its tolerance.
"""

from __future__ import annotations

import sys
from pathlib import Path

import common

from tests.golden.golden_cases import FOLDER, differences, load_case, tolerance

TITLES = {"glunet": "GLU-Net", "semantic": "Semantic-GLU-Net", "dm": "GLU-Net in DenseMatching"}


def main() -> int:
    parser = common.parser(__doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    paths = {
        path.stem: path for folder in (*arguments.folders, FOLDER) for path in sorted(folder.glob("*.npz"))
    }
    rows = []
    failed = 0
    layout = "{:24} {:24} {:>9} {:>9} {:>9}"
    print(layout.format("case", "network", "max, px", "mean, px", "16x16 max"))
    for name in sorted(paths):
        if name.startswith(("flip", "compact")):
            continue
        case = load_case(paths[name])
        for network, title in TITLES.items():
            found = differences(case, network)
            failed += any(
                error > limit
                for what in found
                for error, limit in zip(found[what], tolerance(what), strict=True)
            )
            largest, mean = found.get("flow") or found["flow_s4"]
            figures = [f"{value:.1e}" for value in (largest, mean, found["flow4"][0])]
            rows.append([name, title, *figures])
            print(layout.format(*rows[-1]), flush=True)
    if arguments.json:
        common.write_result(arguments.json, "parity", "Equality with the official networks", rows=rows)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
