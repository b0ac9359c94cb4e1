"""Write the accuracy table of README.md from benchmarks/results/pairs.json.

python tools/build_readme_table.py            write the table
python tools/build_readme_table.py --check    exit with 1 if the table is not what the results say
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
RESULTS = ROOT / "benchmarks" / "results" / "pairs.json"
BEGIN, END = "<!-- accuracy: written by tools/build_readme_table.py -->\n", "<!-- end of accuracy -->"

# Method in the results -> heading of its column.
COLUMNS = {
    "compact": "glualign",
    "compact@accurate": "glualign `--preset accurate`",
    "sift": "SIFT + MAGSAC++",
    "dis": "DIS flow",
    "identity": "unaligned",
}
# Group in the results -> what its pairs are; a group that is not listed goes by its own name.
SETS = {
    "homogr": "scenes and facades, other light or modality",
    "middlebury_flow": "successive frames of moving scenes",
    "multimodal_daynight": "day and night",
    "multimodal_remote_map_optical": "map and aerial image",
    "multimodal_remote_optical_optical": "aerial images of different dates",
    "multimodal_rgb_nir": "visible and near infrared",
    "multimodal_vis_ir": "visible and thermal infrared",
    "oxford_graf": "painted wall from six viewpoints",
    "pf_willow": "different objects of a class",
    "roadscene_aligned": "visible and thermal, aligned already",
}


def table(results: dict[str, Any]) -> str:
    """The table as Markdown: a row per set of pairs, median error and PCK-5 of each method."""
    return "\n".join(_lines(results)) + "\n"


def _lines(results: dict[str, Any]) -> Iterator[str]:
    rows = {(row["group"], row["method"]): row for row in results["rows"]}
    methods = [method for method in COLUMNS if ("", method) in rows]
    groups = [group for group in dict.fromkeys(group for group, _ in rows) if group in _sets(results)]
    yield "| pairs (number) | " + " | ".join(COLUMNS[method] for method in methods) + " |"
    yield "|---|" + "---:|" * len(methods)
    for group in groups:
        metrics = [rows[group, method]["metrics"] for method in methods]
        count = max(measured["pairs"] for measured in metrics if measured)
        yield f"| {SETS.get(group, group)} ({count}) | " + " | ".join(map(_cell, metrics)) + " |"
    seconds = (f"{rows['', method]['seconds_per_pair']:.2f} s" for method in methods)
    yield "| *median time of a pair* | " + " | ".join(seconds) + " |"
    yield ""
    machine = results["machine"]
    yield (
        "Median over the pairs of the mean error in pixels, and share of pixels within 5 px of the truth; "
        "a method that finds no alignment counts as unaligned. "
        f"Measured on {machine['cpu']}, {machine['cores']} cores. Every figure, the versions and how to "
        "repeat them are on the page of [benchmarks](docs/benchmarks.md)."
    )


def _sets(results: dict[str, Any]) -> set[str]:
    return {row["group"] for row in results["rows"] if row["group"] and "mean" not in row["group"]}


def _cell(metrics: dict[str, Any] | None) -> str:
    if metrics is None:
        return "-"
    return f"{metrics['median']:.1f} px, {100 * metrics['pck_px']['5']:.0f} %"


def updated(readme: str, content: str) -> str:
    """The README with ``content`` between the two markers."""
    before, found, rest = readme.partition(BEGIN)
    _, ends, after = rest.partition(END)
    if not (found and ends):
        sys.exit(f"{README.name}: the markers of the accuracy table are missing")
    return before + BEGIN + content + END + after


def main() -> None:
    """Write the table, or compare it with what is there."""
    parser = argparse.ArgumentParser(description="Write the accuracy table of README.md.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if it is out of date"
    )
    check = parser.parse_args().check
    readme = README.read_text(encoding="utf-8")
    measured = table(json.loads(RESULTS.read_text(encoding="utf-8"))) if RESULTS.is_file() else ""
    wanted = updated(readme, measured)
    if wanted == readme:
        return
    if check:
        sys.exit("The accuracy table in README.md is out of date: run python tools/build_readme_table.py")
    README.write_text(wanted, encoding="utf-8")
    print("README.md: written")


if __name__ == "__main__":
    main()
