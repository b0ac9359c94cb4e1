"""Measure what a user runs (real pairs, HPatches, speed), then write the tables of the documentation.

The other sections of docs/benchmarks.md name their scripts.

    python benchmarks/run_all.py --data ../shared/eval
    python benchmarks/run_all.py --data ../shared/eval --model old.safetensors --only pairs

Runs `glualign evaluate` and `glualign bench` as anyone would. An interrupted run goes on where it was when
started again with --resume. Files go to benchmarks/results/. What the pages say of the tables is written by
hand: read it again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import common
from common import ROOT
from hpatches_from_pairs import convert

RESULTS = ROOT / "benchmarks" / "results"
STEPS = ("hpatches", "speed", "pairs")
BASELINES = ("identity", "sift", "dis")


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of pairs with ground truth")
    parser.add_argument("--model", action="append", default=[], help="further model or file of weights")
    parser.add_argument("--only", choices=STEPS, action="append", help="run this step only (may be repeated)")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    arguments = parser.parse_args()
    steps = arguments.only or STEPS
    with tempfile.TemporaryDirectory() as scratch:
        journals = RESULTS / ".runs"  # csv files of single pairs: large, and only of use to --resume
        journals.mkdir(parents=True, exist_ok=True)
        if "hpatches" in steps:
            convert(arguments.data / "oxford_graf", Path(scratch))
            for size in ("hpatches-240", "hpatches"):
                evaluate(size, Path(scratch), f"{size}-graf", arguments)
        if "speed" in steps:
            glualign("bench", "--threads", "1", "--threads", "2", "--json", str(RESULTS / "speed.json"))
        if "pairs" in steps:
            evaluate("pairs", arguments.data, "pairs", arguments)
    subprocess.run([sys.executable, "tools/build_benchmark_tables.py"], cwd=ROOT, check=True)


def evaluate(dataset: str, root: Path, name: str, arguments: argparse.Namespace) -> None:
    command = ["evaluate", dataset, str(root), "--precision", "fp32", "--json", str(RESULTS / f"{name}.json")]
    command += ["--csv", str(RESULTS / ".runs" / f"{name}.csv"), *(["--resume"] if arguments.resume else [])]
    command += [f"--model={model}" for model in ("compact@fast", "compact", *arguments.model)]
    command += [f"--baseline={baseline}" for baseline in BASELINES]
    glualign(*command)


def glualign(*command: str) -> None:
    """Run a command; failed pairs (exit code 3) are in the results and do not end the whole."""
    code = subprocess.run([sys.executable, "-m", "glualign", *command], cwd=ROOT).returncode
    if code not in (0, 3):
        sys.exit(code)


if __name__ == "__main__":
    main()
