"""The page of benchmarks to read: what was measured, short tables, and what follows from them.

Every number and every comparison is computed from the result files, so that new results need no new text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from build_accuracy_tables import SETS

from glualign.evaluation.tables import HEADERS, table_cells
from glualign.matching.options import PRESETS

Content = dict[str, Any]
Metrics = dict[str, Any]

METHODS = {
    "compact@fast": "`fast`",
    "compact": "`balanced`",
    "sift": "SIFT + MAGSAC++",
    "dis": "DIS flow",
    "identity": "unaligned",
}
"""Method in the results -> heading of its column."""
CLASSICAL = ("sift", "dis")
MEAN_OF_SETS = "mean of groups"
"""The group of results that weighs all sets alike."""
CLEARLY = 0.1
"""Share by which a median error must be lower to be called so."""

INTRODUCTION = """\
# Benchmarks

<!-- Written by benchmarks/build_docs.py from benchmarks/results/*.json. Change those, not this page. -->

What glualign's own model does beside classical methods, measured by `glualign` commands on real pairs with
ground truth. Every row, metric and version is on the page of [tables](benchmarks-tables.md).

- **AEPE**, average end-point error: mean distance, in source pixels, between where the flow points and where
  it should point.
- **PCK-5**, percentage of correct key points: share of the pixels that are within 5 px of the truth;
  **PCK@0.05**: within 5 % of the source's longer side.
- **SIFT + MAGSAC++**: a homography through matched SIFT key points, fitted by MAGSAC++, a robust fit without
  a sharp inlier threshold. **DIS flow**: fast optical flow for frames of a film. Both are OpenCV's; one that
  finds no alignment counts as unaligned.
- `fast` and `balanced` (the default) are [presets](presets.md).
"""


def table(headers: Sequence[str], cells: Iterable[Sequence[str]], right: Sequence[int]) -> str:
    """A Markdown table; the columns at the positions in ``right`` are numbers."""
    rule = ["---:" if index in right else "---" for index in range(len(headers))]
    lines = [headers, rule, *cells]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def build(files: dict[str, Content]) -> str:
    """The page, of what there is among the result files."""
    parts = [INTRODUCTION]
    for stem, section in SECTIONS.items():
        if stem in files:
            parts += section(files)
    return "\n".join(parts)


def pairs_section(files: dict[str, Content]) -> Iterator[str]:
    """Median error on every set of pairs, and which method has the lowest."""
    content = files["pairs"]
    rows = _rows(content)
    methods = [method for method in METHODS if ("", method) in rows]
    groups = [group for group in dict.fromkeys(group for group, _ in rows) if group and "mean" not in group]
    yield "## Real pairs\n"
    yield (
        f"{rows['', methods[0]]['metrics']['pairs']} pairs that took no part in training, their truth good "
        f"to 1 to 3 px; {_precision(content)}, {_place(content)}. Other frames of the drives that "
        f"*{SETS['roadscene_aligned']}* come from were among the photographs of an early training run "
        "([model card](../weights/compact.md)). Median AEPE of the pairs, in pixels:\n"
    )
    cells = []
    for group in [*groups, ""]:
        measured = [rows[group, method]["metrics"] for method in methods]
        values = [f"{each['median']:.1f}" if each else "-" for each in measured]
        count = max(each["pairs"] for each in measured if each)
        cells.append((f"{SETS.get(group, group) or '*all pairs*'} ({count})", *values))
    for group, name in (("", "all pairs"), (MEAN_OF_SETS, "mean of the sets")):
        if (group, methods[0]) in rows:
            shares = (f"{100 * rows[group, method]['metrics']['pck_px']['5']:.0f} %" for method in methods)
            cells.append((f"*PCK-5, {name}*", *shares))
    cells.append(("*seconds of a pair*", *(f"{rows['', m]['seconds_per_pair']:.2f}" for m in methods)))
    headers = ("pairs (number)", *(METHODS[method] for method in methods))
    yield table(headers, cells, range(1, len(headers)))
    yield _conclusion(rows, groups)


def _conclusion(rows: dict[tuple[str, str], Any], groups: Sequence[str]) -> str:
    classical = [method for method in (*CLASSICAL, "identity") if ("", method) in rows]

    def median(group: str, method: str) -> float:
        metrics = rows[group, method]["metrics"]
        return metrics["median"] if metrics else float("inf")

    better, worse = [], []
    for group in groups:
        ours, theirs = median(group, "compact"), min(median(group, method) for method in classical)
        if ours < (1 - CLEARLY) * theirs:
            better.append(group)
        elif theirs < (1 - CLEARLY) * ours:
            worse.append(group)
    lines = [
        f"- The default has a lower median error than every other method on {len(better)} of {len(groups)} "
        f"sets, by {100 * CLEARLY:.0f} % or more: {_names(better)}."
    ]
    for group in better:
        ours = rows[group, "compact"]["metrics"]
        for method in classical:
            theirs = rows[group, method]["metrics"] or {"aepe": float("inf"), "pck_px": {"5": 0.0}}
            if theirs["aepe"] < ours["aepe"] or theirs["pck_px"]["5"] > ours["pck_px"]["5"]:
                lines.append(
                    f"- {SETS.get(group, group).capitalize()}, by other metrics: {METHODS[method]} has a "
                    f"mean error of {_mean_and_share(theirs)}, the default of {_mean_and_share(ours)}."
                )
    for group in worse:
        method = min(classical, key=lambda each: median(group, each))
        found = 100 * rows[group, method]["metrics"]["pck_px"]["5"]
        ours = 100 * rows[group, "compact"]["metrics"]["pck_px"]["5"]
        lines.append(
            f"- {SETS.get(group, group).capitalize()}: {METHODS[method]} has {median(group, method):.1f} px "
            f"(PCK-5 {found:.0f} %), the default {median(group, 'compact'):.1f} px ({ours:.0f} %)."
        )
    lost = rows["", "sift"]["unsolved"] if "sift" in classical else 0
    if lost:
        lines.append(f"- SIFT + MAGSAC++ finds no alignment for {lost} of the pairs.")
    fast = rows["", "compact@fast"]
    if fast["metrics"]:
        ratio = fast["seconds_per_pair"] / rows["", "compact"]["seconds_per_pair"]
        lines.append(
            f"- `fast` takes {100 * ratio:.0f} % of the time and has {fast['metrics']['median']:.1f} px over "
            f"all pairs: it works at {PRESETS['fast'].max_side} pixels and does not look for large rotations "
            "and zooms."
        )
    return "\n".join(lines) + "\n"


def _mean_and_share(metrics: Metrics) -> str:
    return f"{metrics['aepe']:.1f} px and PCK-5 {100 * metrics['pck_px']['5']:.0f} %"


def learned_matchers_section(files: dict[str, Content]) -> Iterator[str]:
    """The default beside learned sparse matchers with a homography, on the same pairs."""
    content = files["learned_matchers"]
    yield "## Beside learned matchers\n"
    yield (
        "A homography through sparse matches of learned networks at 1024 px, and the default, on the first "
        "pairs of every set, at the annotated points where a pair has them. Median AEPE in px; PCK-5 in %; "
        "PCK@0.05 in %.\n"
    )
    yield learned_matchers_table(content)
    yield (
        "The base of the painted wall stands forward, by some 7 px in the second pair. Its ground truth is "
        "one homography, so that what the default finds there, and a homography cannot, counts as an error.\n"
    )


def learned_matchers_table(content: Content) -> str:
    """Every set a row: the learned matchers, then the default."""
    headers = ("pairs (number)", *(f"{name} + homography" for name in content["methods"]), "`balanced`")
    cells = [(f"{SETS.get(group, group)} ({count})", *values) for group, count, *values in content["rows"]]
    return table(headers, cells, range(1, len(headers)))


def ablation_section(files: dict[str, Content]) -> Iterator[str]:
    """What each step of the default is worth."""
    content = files["ablation"]
    yield "## What each step is worth\n"
    yield (
        f"The default preset with one of its steps left out at a time, and with more, on {content['pairs']} "
        f"of the pairs; {_place(content)}. Shares are means of the sets. What each step is: "
        "[words for the steps](network.md#words-for-the-steps).\n"
    )
    yield ablation_table(content)


def ablation_table(content: Content) -> str:
    """Every variant of the default a row."""
    headers = ("steps", "median, px", "PCK-1", "PCK-5", "PCK@0.05", "s/pair")
    return table(headers, content["rows"], range(1, len(headers)))


def hpatches_section(files: dict[str, Content]) -> Iterator[str]:
    """All pairs of one scene in the protocol of the papers, at both sizes."""
    yield "## One scene in the protocol of the papers\n"
    yield (
        "The five pairs of a painted wall, laid out as one sequence of HPatches. The papers report 59 "
        f"sequences, so their row is for scale only. Measured with {_precision(files['hpatches-240-graf'])}, "
        f"{_place(files['hpatches-240-graf'])}.\n"
    )
    cells: list[Sequence[str]] = []
    for stem, size in (("hpatches-240-graf", "240 x 240"), ("hpatches-graf", "original")):
        rows = _rows(files[stem]) if stem in files else {}
        for method, heading in METHODS.items():
            if ("", method) in rows:
                metrics = rows["", method]["metrics"]
                shares = (f"{100 * metrics['pck_px'][each]:.1f}" for each in ("1", "5"))
                cells.append((size, heading, f"{metrics['aepe']:.2f}", *shares))
        if rows:
            printed = table_cells(files[stem]["dataset"], files[stem]["rows"])
            columns = [HEADERS.index(name) for name in ("method", "AEPE", "PCK-1", "PCK-5")]
            cells += [
                (size, *(row[column] for column in columns))
                for row in printed
                if row[0] == "all pairs" and row[1].endswith("(published)")
            ]
    yield table(("size", "method", "AEPE, px", "PCK-1, %", "PCK-5, %"), cells, (2, 3, 4))


def speed_section(files: dict[str, Content]) -> Iterator[str]:
    """Seconds of one pass with one thread."""
    content = files["speed"]
    yield "## Speed\n"
    yield (
        "Seconds of one pass at full size without reading files, one thread; `glunet` is the published "
        f"network as its code runs it. Measured on {_place(content)}. Yours: `glualign bench`.\n"
    )
    cells = [
        (
            f"{row['width']} x {row['height']}",
            f"`{row['model']}`",
            row["precision"],
            f"{row['seconds_median']:.2f}",
            f"{row['speedup']:.1f} x" if row["speedup"] else "-",
        )
        for row in content["rows"]
        if row["threads"] == min(each["threads"] for each in content["rows"])
    ]
    yield table(("size", "model", "precision", "seconds", "speed"), cells, (3, 4))


def reliability_section(files: dict[str, Content]) -> Iterator[str]:
    """What the confidence is worth."""
    content = files["reliability"]
    yield "## Confidence\n"
    yield (
        f"True error of the pixels of {content['pairs']} pairs, by the confidence that they were given "
        f"(`--confidence`); measured on {_place(content)}.\n"
    )
    cells = [
        (f"{row['from']:.1f} to {row['to']:.1f}", f"{100 * row['share']:.0f} %", f"{row['median']:.1f} px")
        for row in content["rows"]
    ]
    yield table(("confidence", "share of the pixels", "median error"), cells, (1, 2))
    low, high = content["rows"][0], content["rows"][-1]
    yield (
        f"The median error falls from {low['median']:.0f} px where the confidence is below {low['to']:.1f} "
        f"to {high['median']:.1f} px where it is above {high['from']:.1f}.\n"
    )


def parity_section(files: dict[str, Content]) -> Iterator[str]:
    """The largest difference from the official networks."""
    rows = files["parity"]["rows"]
    largest = max(float(row[2]) for row in rows)
    yield "## Equality with the official networks\n"
    yield (
        "With the same weights, which are made by a rule and not trained, our flow differs in fp32 from that "
        f"of the official code by {largest:.2g} px at most, over {len(rows)} cases of three networks (the "
        "tests, in `tests/golden`, allow 0.002 px). Official checkpoints "
        "[have not been tried](checkpoints.md#what-has-not-been-tried).\n"
    )


SECTIONS = {
    "pairs": pairs_section,
    "learned_matchers": learned_matchers_section,
    "ablation": ablation_section,
    "hpatches-240-graf": hpatches_section,
    "speed": speed_section,
    "reliability": reliability_section,
    "parity": parity_section,
}


def _rows(content: Content) -> dict[tuple[str, str], Any]:
    return {(row["group"], row["method"]): row for row in content["rows"]}


def _names(groups: Sequence[str]) -> str:
    return "; ".join(SETS.get(group, group) for group in groups) or "none"


def _precision(content: Content) -> str:
    settings = content["methods"]["compact"]
    precision = {"float32": "fp32", "bfloat16": "bf16"}.get(settings["precision"], settings["precision"])
    return f"{precision}, weights {settings['sha256'][:8]}"


def _place(content: Content) -> str:
    """Where and when it was measured."""
    machine = content["machine"]
    return f"{machine['cpu']} with {machine['cores']} cores, {content['date']}"
