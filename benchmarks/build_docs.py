"""Write docs/benchmarks.md and docs/benchmarks-tables.md from the JSON files in benchmarks/results/.

python benchmarks/build_docs.py            write the pages
python benchmarks/build_docs.py --check    exit with 1 when a page is not what the results say
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]  # glualign of this tree, whatever is installed

import common  # noqa: E402
import overview  # noqa: E402
from overview import table  # noqa: E402

from glualign.evaluation.tables import (  # noqa: E402
    HEADERS,
    RIGHT_ALIGNED,
    SPEED_HEADERS,
    SPEED_RIGHT_ALIGNED,
    speed_cells,
    table_cells,
)
from glualign.files import write_text  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"
TABLES = ROOT / "docs" / "benchmarks-tables.md"

INTRODUCTION = """\
# Tables of the benchmarks

<!-- Written by benchmarks/build_docs.py from benchmarks/results/*.json. Change those, not this page. -->

Every row behind the page of [benchmarks](benchmarks.md), with the command that measured it and the machine.
Rows marked *published* are what the authors of GLU-Net report with their weights; they are there for scale.

- **AEPE**: mean over the valid pixels of a pair, then over the pairs; **median**: over the pairs.
- **PCK-1, -3, -5**: per cent of pixels within 1, 3, 5 px;
  **PCK@0.05**: within 5 % of the source's longer side.
- **Fl**: per cent of pixels wrong by more than 3 px and by more than 5 % of their motion.
- **s/pair**: median time of one alignment without reading files; the machine may have had other work.
"""

# File name -> heading and what a reader has to know about the data.
SECTIONS = {
    "pairs": (
        "Real image pairs with ground truth",
        "Photographs, multi-modal pairs (day and night, map and aerial image, visible and infrared), optical "
        "flow and objects of one class, with homographies, dense flow or hand-made points as ground truth, "
        "which is good to 1 to 3 px. The pairs of `roadscene_aligned` are aligned already, so a method that "
        "finds no alignment is right there. None of them was used in training; other frames of the drives of "
        "`roadscene_aligned` were ([model card](../weights/compact.md)). `ROOT` is a folder of "
        "`<set>/<pair>/`.\n\n"
        "    glualign evaluate pairs ROOT --model compact --baseline identity --baseline sift --baseline dis",
    ),
    "learned_matchers": (
        "Learned matchers with a homography",
        "What one could run instead: sparse matches of a learned network at 1024 px, and the homography that "
        "MAGSAC++ fits to them, at the annotated points where a pair has them. Median AEPE in px; PCK-5; "
        "PCK@0.05 of the first pairs of every set.\n\n"
        "    glualign evaluate pairs-points ROOT --precision fp32 --csv points.csv\n"
        "    python benchmarks/learned_matchers.py MATCHERS.json points.csv "
        "--json benchmarks/results/learned_matchers.json",
    ),
    "pf-willow-box": (
        "Objects of a class, by the published metric",
        "The 25 pairs of `pf_willow` again: share of the key points within 0.05 of the longer side of the "
        "box around them. Published for all 900 pairs: 36.4 % for Semantic-GLU-Net, 49.0 % for the same "
        "network trained by warp consistency.\n\n"
        "    python benchmarks/willow_from_pairs.py ROOT/pf_willow willow.csv\n"
        "    glualign evaluate pf-willow-box ROOT/pf_willow --list willow.csv --model compact",
    ),
    "ablation": (
        "What each step is worth",
        "The default preset with one of its steps left out at a time, and with more.\n\n"
        "    python benchmarks/ablation.py ROOT --limit 44 --json benchmarks/results/ablation.json",
    ),
    "hpatches-240-graf": (
        "One scene in the HPatches protocol, 240 x 240",
        "The five pairs of the graffiti scene of the Oxford set, laid out as an HPatches sequence by "
        "`benchmarks/hpatches_from_pairs.py`. The published rows hold for all 59 sequences.\n\n"
        "    glualign evaluate hpatches-240 ROOT --model compact",
    ),
    "hpatches-graf": (
        "One scene in the HPatches protocol, original size",
        "The same five pairs at 800 x 640.\n\n    glualign evaluate hpatches ROOT --model compact",
    ),
    "speed": (
        "Speed",
        "One pass, flow from target to source at full size, without reading files. `glunet` is the published "
        "network as its code runs it on a CPU (fp32, channels first, random weights). The target is the "
        "source rotated by 40 degrees, so `compact` finds the rotation first; a small motion costs it less. "
        "All rows of one size were timed in turns within one run; the machine had other work at the time, so "
        "the ratio means more than the seconds.\n\n"
        "    glualign bench --threads 1 --threads 2",
    ),
    "reliability": (
        "Is the confidence worth its name?",
        "True end-point error of the pixels with ground truth, by the confidence that glualign gave them.\n\n"
        "    python benchmarks/reliability.py ROOT --json benchmarks/results/reliability.json",
    ),
    "parity": (
        "Equality with the official networks",
        "How far our flow, in fp32, is from what the official code gives for the same weights; these come "
        "from a rule (`tests/golden`). The name of a case ends with height x width.\n\n"
        "    python benchmarks/parity.py FOLDER --json benchmarks/results/parity.json",
    ),
}


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    arguments = parser.parse_args()
    files = read_results(RESULTS)
    for path, page in ((PAGE, overview.build(files)), (TABLES, build(files))):
        if not arguments.check:
            write_text(path, page)
        elif not path.is_file() or path.read_text(encoding="utf-8") != page:
            sys.exit(f"{path.relative_to(ROOT)} is out of date; run python benchmarks/build_docs.py")


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """The result files of a folder that have a table, by name."""
    files = {
        path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))
    }
    return {stem: content for stem, content in files.items() if content.get("kind") in KINDS}


def build(files: dict[str, dict[str, Any]]) -> str:
    """The page of tables: the known sections in their order, then any other result file by name."""
    ordered = [stem for stem in SECTIONS if stem in files] + [stem for stem in files if stem not in SECTIONS]
    parts = [INTRODUCTION]
    for stem in ordered:
        content = files[stem]
        heading, text = SECTIONS.get(stem, (content.get("title", stem), ""))
        parts.append(f"## {heading}\n")
        if text:
            parts.append(text + "\n")
        parts += KINDS[content["kind"]](content)
    return "\n".join(parts)


def evaluation_section(content: dict[str, Any]) -> Iterable[str]:
    """Table, machine, weights and failures of an evaluation."""
    yield table(HEADERS, table_cells(content["dataset"], content["rows"]), RIGHT_ALIGNED)
    yield machine_line(content)
    for name, settings in content["methods"].items():
        if "sha256" in settings:
            options = ", ".join(
                f"{key} {value}" for key, value in settings.items() if key not in ("glualign", "sha256")
            )
            yield f"`{name}`: weights {settings['sha256'][:12]}, {options}.\n"
    if content["failures"]:
        yield "Failed:\n"
        yield "".join(
            f"- {entry['pair']} ({entry['method']}): {entry['error']}\n" for entry in content["failures"]
        )


def speed_section(content: dict[str, Any]) -> Iterable[str]:
    """Table and machine of a speed run."""
    yield table(SPEED_HEADERS, speed_cells(content["rows"]), SPEED_RIGHT_ALIGNED)
    yield machine_line(content)


def machine_line(content: dict[str, Any]) -> str:
    """Where and when it was measured, in one sentence."""
    machine = content["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    gpu = f", {machine['gpu']}" if machine.get("gpu") else ""
    commit = f", commit {machine['commit']}" if machine.get("commit") else ""
    cores = f"{machine['cores']} cores"
    if content["kind"] == "evaluation":
        cores += f", {machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    facts = (
        machine["cpu"],
        cores + gpu,
        machine["platform"],
        f"Python {machine['python']}",
        versions + commit,
    )
    return f"{', '.join(facts)}, {content['date']}.\n"


def reliability_section(content: dict[str, Any]) -> Iterable[str]:
    """True error by confidence."""
    cells = [
        (
            f"{row['from']:.1f} to {row['to']:.1f}",
            f"{row['share']:.1%}",
            f"{row['median']:.2f}",
            f"{row['p90']:.2f}",
        )
        for row in content["rows"]
    ]
    yield table(("confidence", "share", "median, px", "90 % within, px"), cells, (1, 2, 3))
    sets = ", ".join(f"`{name}`" for name in content["sets"])
    yield f"{content['pairs']} pairs of {sets}, preset `{content['preset']}`.\n"
    yield machine_line(content)


def parity_section(content: dict[str, Any]) -> Iterable[str]:
    """Differences from the official networks."""
    headers = ("case", "network", "largest, px", "mean, px", "16 x 16 level, largest, px")
    yield table(headers, content["rows"], (2, 3, 4))
    yield machine_line(content)


def ablation_section(content: dict[str, Any]) -> Iterable[str]:
    """What each step is worth."""
    yield overview.ablation_table(content)
    yield f"{content['pairs']} pairs, fp32; the median is over all of them, shares are means of the sets.\n"
    yield machine_line(content)


def learned_matchers_section(content: dict[str, Any]) -> Iterable[str]:
    """Other people's matchers and the default, on the same pairs."""
    yield overview.learned_matchers_table(content)
    yield machine_line(content)


KINDS = {
    "ablation": ablation_section,
    "learned_matchers": learned_matchers_section,
    "evaluation": evaluation_section,
    "speed": speed_section,
    "reliability": reliability_section,
    "parity": parity_section,
}

if __name__ == "__main__":
    main()
