"""Write the accuracy tables of README.md and of the model card from benchmarks/results/pairs.json.

python tools/build_accuracy_tables.py            write the tables
python tools/build_accuracy_tables.py --check    exit with 1 if a table is not what the results say
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Rows = dict[tuple[str, str], dict[str, Any]]

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
CARD = ROOT / "weights" / "compact.md"
RESULTS = ROOT / "benchmarks" / "results" / "pairs.json"
BEGIN, END = "<!-- accuracy: written by tools/build_accuracy_tables.py -->\n", "<!-- end of accuracy -->"

# Of the model card: one match in each direction, and the default preset.
FAST, DEFAULT = "compact@fast", "compact"
# Method in the results -> heading of its column in the README.
COLUMNS = {
    "compact": "glualign",
    "sift": "SIFT + MAGSAC++",
    "dis": "DIS flow",
    "identity": "unaligned",
}
PRECISIONS = {"float32": "fp32", "bfloat16": "bf16"}
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


def readme_table(results: dict[str, Any]) -> str:
    """As Markdown: a row per set of pairs, median error and PCK-5 of each method."""
    return "\n".join(_readme_lines(results)) + "\n"


def _readme_lines(results: dict[str, Any]) -> Iterator[str]:
    rows = _rows(results)
    methods = [method for method in COLUMNS if ("", method) in rows]
    yield "| pairs (number) | " + " | ".join(COLUMNS[method] for method in methods) + " |"
    yield "|---|" + "---:|" * len(methods)
    for group in _sets(rows):
        metrics = [rows[group, method]["metrics"] for method in methods]
        count = max(measured["pairs"] for measured in metrics if measured)
        yield f"| {SETS.get(group, group)} ({count}) | " + " | ".join(map(_cell, metrics)) + " |"
    seconds = (f"{rows['', method]['seconds_per_pair']:.2f} s" for method in methods)
    yield "| *median time of a pair* | " + " | ".join(seconds) + " |"
    yield ""
    machine, precision = results["machine"], results["methods"][DEFAULT]["precision"]
    yield (
        "A method that finds no alignment counts as unaligned. "
        f"Measured in {PRECISIONS.get(precision, precision)} on {machine['cpu']}, {machine['cores']} cores. "
        "What follows from it, and every figure with its command: [benchmarks](docs/benchmarks.md)."
    )


def card_table(results: dict[str, Any]) -> str:
    """As Markdown: a row per set of pairs, every metric of one match and of the default preset."""
    return "\n".join(_card_lines(results)) + "\n"


def _card_lines(results: dict[str, Any]) -> Iterator[str]:
    rows = _rows(results)
    yield "| set (pairs) | median error, px | mean, px | PCK-1 | PCK-5 | PCK@0.05 |"
    yield "|---|---:|---:|---:|---:|---:|"
    for group in _sets(rows):
        fast, default = (rows[group, method]["metrics"] for method in (FAST, DEFAULT))
        cells = [f"{group} ({default['pairs']})"]
        for name in ("median", "aepe"):
            cells.append(f"{fast[name]:.2f} -> {default[name]:.2f}")
        for table, key in (("pck_px", "1"), ("pck_px", "5"), ("pck_alpha", "0.05")):
            cells.append(f"{100 * fast[table][key]:.1f} -> {100 * default[table][key]:.1f}")
        yield "| " + " | ".join(cells) + " |"


def _rows(results: dict[str, Any]) -> Rows:
    return {(row["group"], row["method"]): row for row in results["rows"]}


def _sets(rows: Rows) -> list[str]:
    return [group for group in dict.fromkeys(group for group, _ in rows) if group and "mean" not in group]


def _cell(metrics: dict[str, Any] | None) -> str:
    if metrics is None:
        return "-"
    return f"{metrics['median']:.1f} px, {100 * metrics['pck_px']['5']:.0f} %"


def updated(document: str, content: str, name: str) -> str:
    """The document with ``content`` between the two markers."""
    before, found, rest = document.partition(BEGIN)
    _, ends, after = rest.partition(END)
    if not (found and ends):
        sys.exit(f"{name}: the markers of the accuracy table are missing")
    return before + BEGIN + content + END + after


def main() -> None:
    """Write the tables, or compare them with what is there."""
    parser = argparse.ArgumentParser(description="Write the accuracy tables of README.md and the model card.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if one is out of date"
    )
    check = parser.parse_args().check
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    for path, table in ((README, readme_table), (CARD, card_table)):
        present = path.read_text(encoding="utf-8")
        wanted = updated(present, table(results), path.name)
        if wanted == present:
            continue
        if check:
            sys.exit(
                f"The accuracy table in {path.name} is out of date: run python tools/{Path(__file__).name}"
            )
        path.write_text(wanted, encoding="utf-8")
        print(f"{path.name}: written")


if __name__ == "__main__":
    main()
