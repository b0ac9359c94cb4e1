"""Write the tables of README.md and of the pages of benchmarks from the JSON files in benchmarks/results/.

python tools/build_benchmark_tables.py            write the tables
python tools/build_benchmark_tables.py --check    exit with 1 if a table is not what the results say

Each stands between two comments, of which the first names a key of `TABLES` and a result file. All other text
of the pages is written by hand, what follows from the numbers, too: read it again when they change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from pages import DOCS, ROOT, write_or_check

from glualign.evaluation.tables import (
    ALL,
    HEADERS,
    MEAN_OF_GROUPS,
    RIGHT_ALIGNED,
    SPEED_HEADERS,
    SPEED_RIGHT_ALIGNED,
    speed_cells,
    table_cells,
)

Content = dict[str, Any]
"""A result file."""

PAGES = (ROOT / "README.md", DOCS / "benchmarks.md", DOCS / "benchmarks-tables.md")
RESULTS = ROOT / "benchmarks" / "results"
BEGIN = r"<!-- written by tools/build_benchmark_tables\.py: ([a-z ]+) of (\S+)\.json -->\n"
END = "<!-- end of table -->\n"
MARKED = re.compile(f"({BEGIN}).*?({END})", re.DOTALL)

# Method in the results -> heading of its column.
METHODS = {
    "compact@fast": "glualign `fast`",
    "compact": "glualign",
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
    ALL: "*all pairs*",
    MEAN_OF_GROUPS: "*mean of the sets*",
}


def table(headers: Sequence[str], cells: Iterable[Sequence[str]], right: Collection[int]) -> str:
    """A Markdown table; the columns at the positions in ``right`` are numbers."""
    rule = ["---:" if index in right else "---" for index in range(len(headers))]
    return "".join("| " + " | ".join(line) + " |\n" for line in (headers, rule, *cells))


def sets(content: Content) -> str:
    """A row for each set: median error and PCK-5 of each method."""
    rows = {(row["group"], row["method"]): row for row in content["rows"]}
    methods = [method for method in METHODS if (ALL, method) in rows]
    cells = []
    for group in dict.fromkeys(group for group, _ in rows):
        metrics = [rows[group, method]["metrics"] for method in methods]
        count = max(each["pairs"] for each in metrics if each)
        figures = (
            f"{each['median']:.1f} px, {100 * each['pck_px']['5']:.0f} %" if each else "-" for each in metrics
        )
        cells.append((f"{SETS.get(group, group)} ({count})", *figures))
    seconds = (f"{rows[ALL, method]['seconds_per_pair']:.2f} s" for method in methods)
    cells.append(("*median time of a pair*", *seconds))
    headers = ("pairs (number)", *(METHODS[method] for method in methods))
    return table(headers, cells, range(1, len(headers)))


def all_rows(content: Content) -> str:
    """Every row of an evaluation, then where it was measured, with which weights, and what failed."""
    text = table(HEADERS, table_cells(content["dataset"], content["rows"]), RIGHT_ALIGNED) + machine(content)
    for name, settings in content["methods"].items():
        if "sha256" in settings:
            options = (f"{key} {settings[key]}" for key in settings if key not in ("glualign", "sha256"))
            text += f"\n`{name}`: weights {settings['sha256'][:12]}, {', '.join(options)}.\n"
    failed = [f"- {each['pair']} ({each['method']}): {each['error']}\n" for each in content["failures"]]
    return text + "".join(["\nFailed:\n\n", *failed] if failed else [])


def all_pairs(content: Content) -> str:
    """The rows of an evaluation that are over all pairs, of some columns."""
    names = ("method", "AEPE", "PCK-1", "PCK-5")
    chosen = [HEADERS.index(name) for name in names]
    rows = [row for row in content["rows"] if row["group"] == ALL]
    lines = ([line[index] for index in chosen] for line in table_cells(content["dataset"], rows))
    return table(names, [[METHODS.get(method, method), *figures] for method, *figures in lines], (1, 2, 3))


def matchers(content: Content) -> str:
    """Every set a row: the learned matchers, then the default."""
    headers = ("pairs (number)", *(f"{name} + homography" for name in content["methods"]), METHODS["compact"])
    cells = [(f"{SETS.get(group, group)} ({count})", *figures) for group, count, *figures in content["rows"]]
    return table(headers, cells, range(1, len(headers))) + machine(content)


def steps(content: Content) -> str:
    """Every variant of the default a row."""
    headers = ("steps", "median, px", "PCK-1", "PCK-5", "PCK@0.05", "s/pair")
    return table(headers, content["rows"], range(1, len(headers))) + machine(content)


def timings(content: Content) -> str:
    """Every row of a measurement of speed."""
    return table(SPEED_HEADERS, speed_cells(content["rows"]), SPEED_RIGHT_ALIGNED) + machine(content)


def confidence(content: Content) -> str:
    """True error by confidence."""
    cells = [
        (
            f"{row['from']:.1f} to {row['to']:.1f}",
            f"{100 * row['share']:.1f} %",
            f"{row['median']:.2f}",
            f"{row['p90']:.2f}",
        )
        for row in content["rows"]
    ]
    headers = ("confidence", "share of the pixels", "median error, px", "90 % within, px")
    return table(headers, cells, (1, 2, 3)) + machine(content)


def cases(content: Content) -> str:
    """Differences from the official networks."""
    headers = ("case", "network", "largest, px", "mean, px", "16 x 16 level, largest, px")
    return table(headers, content["rows"], (2, 3, 4)) + machine(content)


def machine(content: Content) -> str:
    """Where and when it was measured, as a paragraph."""
    where = content["machine"]
    facts = [where["cpu"], f"{where['cores']} cores"]
    if content["kind"] == "evaluation":
        facts.append(f"{where['threads']} thread{'s' if where['threads'] > 1 else ''}")
    facts += [where["gpu"]] if where["gpu"] else []
    facts += [where["platform"], f"Python {where['python']}"]
    facts += [f"{name} {version}" for name, version in where["versions"].items()]
    facts += [f"commit {where['commit']}"] if where["commit"] else []
    return f"\n{', '.join(facts)}, {content['date']}.\n"


TABLES: dict[str, Callable[[Content], str]] = {
    "sets": sets,
    "all rows": all_rows,
    "all pairs": all_pairs,
    "matchers": matchers,
    "steps": steps,
    "timings": timings,
    "confidence": confidence,
    "cases": cases,
}


def filled(page: str, results: Path = RESULTS) -> str:
    """The page, every table in it as the files in the folder ``results`` have it.

    A `SystemExit` says that a comment before or after a table is damaged.
    """
    kinds = [kind for kind, _ in re.findall(BEGIN, page)]
    marks = len(MARKED.findall(page)), page.count("build_benchmark_tables.py:"), page.count(END)
    if set(marks) != {len(kinds)} or not TABLES.keys() >= set(kinds):
        raise SystemExit(f"a comment around a table is damaged, on the page that begins {page[:40]!r}")

    def written(found: re.Match[str]) -> str:
        begin, kind, stem, end = found.groups()
        content = json.loads((results / f"{stem}.json").read_text(encoding="utf-8"))
        return begin + TABLES[kind](content) + end

    return MARKED.sub(written, page)


if __name__ == "__main__":
    write_or_check(__doc__, {path: filled(path.read_text(encoding="utf-8")) for path in PAGES})
