"""Parity with the official networks: for every golden case, how far our flow is from the recorded one.

    python benchmarks/parity.py                     the cases in the repository
    python benchmarks/parity.py FOLDER [...]        further folders of cases
    python benchmarks/parity.py --markdown          as a table for the documentation

Exits with 1 when a difference is above its tolerance.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "golden"))

from golden_cases import FOLDER, OFFICIAL, differences, load_case, tolerance

TITLES = {"glunet": "GLU-Net", "semantic": "Semantic-GLU-Net", "dm": "GLU-Net in DenseMatching"}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--markdown", action="store_true")
    arguments = parser.parse_args()
    paths = {
        path.stem: path for folder in (*arguments.folders, FOLDER) for path in sorted(folder.glob("*.npz"))
    }
    failed = 0
    row = (
        "| {:24} | {:24} | {:>9} | {:>9} | {:>9} |" if arguments.markdown else "{:24} {:24} {:>9} {:>9} {:>9}"
    )
    print(row.format("case", "network", "max, px", "mean, px", "16x16 max"))
    if arguments.markdown:
        print("|---|---|---|---|---|")
    for name in sorted(paths):
        if name.startswith(("flip", "compact")):
            continue
        case = load_case(paths[name])
        for network, title in TITLES.items():
            assert network in OFFICIAL
            found = differences(case, network)
            failed += any(
                error > limit
                for what in found
                for error, limit in zip(found[what], tolerance(what), strict=True)
            )
            largest, mean = found.get("flow") or found["flow_s4"]
            print(
                row.format(name, title, f"{largest:.1e}", f"{mean:.1e}", f"{found['flow4'][0]:.1e}"),
                flush=True,
            )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
