"""What a batch costs beside the network alone and beside single runs of ``glualign warp``.

    python benchmarks/batch_throughput.py PAIRS_FOLDER [--count 60] [--block 10] [--preset balanced]

PAIRS_FOLDER holds ``**/source.*`` with ``target.*`` beside it. The three ways take turns, block by block, so
that other work on the machine slows them alike; the ratios are what counts. Then all pairs are done in one
run, in which the memory is read after each pair. Prints one JSON object.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import common

from glualign.aligner import Aligner
from glualign.batch import BatchProgress, PairList, Row, Settings, align_batch, from_rows
from glualign.evaluation.provenance import machine
from glualign.images import read_image

Clock = dict[str, float]


@dataclass(frozen=True)
class Loaded(Settings):
    """Settings with an aligner that is loaded already."""

    aligner: Aligner | None = None

    def make_aligner(self) -> Aligner:
        """The one there is."""
        assert self.aligner is not None
        return self.aligner

    def fingerprint(self) -> dict[str, str]:
        """Nothing: every run does every pair again."""
        return {}


def find_pairs(folder: Path, count: int) -> PairList:
    rows = []
    for source in sorted(folder.glob("**/source.*"))[:count]:
        target = next(source.parent.glob("target.*"))
        rows.append(Row(str(source.relative_to(folder)), str(target.relative_to(folder))))
    return from_rows(rows, folder=folder)


def measured(work: Callable[[], object]) -> Clock:
    """Wall and CPU seconds, those of child processes included."""
    wall, cpu = time.perf_counter(), _cpu()
    work()
    return {"wall": time.perf_counter() - wall, "cpu": _cpu() - cpu}


def _cpu() -> float:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(sum(resource.getrusage(kind)[:2]) for kind in kinds)


def memory() -> dict[str, float]:
    """Resident memory of this process now and at its highest, in MB (Linux)."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(status[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM")}


def network_alone(aligner: Aligner, jobs: PairList) -> Clock:
    pairs = [(read_image(pair.source), read_image(pair.target)) for pair in jobs.pairs]

    def align_all() -> None:
        for source, target in pairs:
            aligner.align(source, target)

    return measured(align_all)


def in_batch(aligner: Aligner, jobs: PairList, out: Path, seen: Callable[[BatchProgress], None]) -> Clock:
    settings = Loaded(aligner=aligner)
    return measured(lambda: align_batch(jobs, out, settings, redo="all", on_progress=seen))


def one_by_one(jobs: PairList, out: Path, preset: str) -> Clock:
    def warp_all() -> None:
        for pair in jobs.pairs:
            command = [sys.executable, "-m", "glualign", "warp", str(pair.source), str(pair.target)]
            options = ["-o", str(out / pair.key), "--preset", preset, "--quiet"]
            subprocess.run([*command, *options], check=True)

    return measured(warp_all)


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=60, help="pairs to use")
    parser.add_argument("--block", type=int, default=10, help="pairs before the next way takes its turn")
    parser.add_argument(
        "--singles", type=int, default=10, help="pairs of each block that `warp` does as well"
    )
    parser.add_argument("--preset", default="balanced")
    arguments = parser.parse_args()
    jobs = find_pairs(arguments.folder, arguments.count)
    aligner = Aligner.from_pretrained("compact", preset=arguments.preset)
    aligner.align(jobs.pairs[0].source, jobs.pairs[0].target)  # the first pass pays for allocations
    blocks: list[dict[str, Clock]] = []
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for number, start in enumerate(range(0, len(jobs), arguments.block)):
            block = PairList(jobs.pairs[start : start + arguments.block])
            few = PairList(block.pairs[: arguments.singles])
            ways = {
                "network": partial(network_alone, aligner, block),
                "batch": partial(in_batch, aligner, block, scratch / "blocks", lambda progress: None),
            }
            # Which goes first alternates, because the machine may be getting busier or quieter.
            order = list(ways) if number % 2 == 0 else list(ways)[::-1]
            clocks = {name: ways[name]() for name in order}
            if few.pairs:
                clocks["singles"] = one_by_one(few, scratch / "singles", arguments.preset)
                clocks["batch of singles"] = in_batch(aligner, few, scratch / "few", lambda progress: None)
            blocks.append(clocks)
            print(json.dumps(clocks), file=sys.stderr, flush=True)
        used: list[dict[str, float]] = []
        aligning: list[float] = []

        def note(progress: BatchProgress) -> None:
            used.append(memory())
            if progress.record is not None:
                aligning.append(progress.record.seconds["align"])

        Path("/proc/self/clear_refs").write_text("5")  # what was highest before this run does not count
        whole = in_batch(aligner, jobs, scratch / "whole", note)
    total = {
        name: {kind: sum(clocks[name][kind] for clocks in blocks) for kind in ("wall", "cpu")}
        for name in blocks[0]
    }
    share = sorted(clocks["network"]["wall"] / clocks["batch"]["wall"] for clocks in blocks)
    singles = total.get("singles")
    report = {
        "machine": machine(),
        "device": aligner.device,
        "preset": arguments.preset,
        "pairs": len(jobs),
        "pairs_per_second_in_one_run": len(jobs) / whole["wall"],
        "cpu_seconds_per_pair": whole["cpu"] / len(jobs),
        "network_at_work_in_one_run": sum(aligning) / whole["wall"],
        "share_of_network_throughput_by_block": share,
        "share_of_network_throughput": total["network"]["wall"] / total["batch"]["wall"],
        "single_runs_take_times_as_long": singles and singles["wall"] / total["batch of singles"]["wall"],
        "seconds": total,
        "cpu_of_network_over_batch": total["network"]["cpu"] / total["batch"]["cpu"],
        "memory_mb_after_pair": {n: used[n] for n in (1, 10, 20, 30, 40, 50, 60) if n < len(used)},
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
