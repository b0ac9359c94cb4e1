"""How many training pairs a second one core synthesises, stratum by stratum.

    python benchmarks/pair_synthesis.py PHOTOS [--size 256] [--count 100] [--cache DIR]

On a machine with other work the CPU time is what counts.
"""

from __future__ import annotations

import time

import common
import cv2

from glualign.training.photos import open_photos
from glualign.training.synthesis import STRATA, PairSynthesis


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("photos")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--cache")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    photos = open_photos(options.photos, options.cache)
    indices, _ = photos.split()
    total_cpu = 0.0
    side = options.size
    print(f"{len(photos)} photographs, {options.count} pairs of {side} x {side} per stratum, one core")
    for name in STRATA:
        synthesis = PairSynthesis(photos, indices, 1, {name: 1.0})
        synthesis.pair(0, side)
        wall, cpu = time.perf_counter(), time.process_time()
        for k in range(options.count):
            synthesis.pair(k, side)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        total_cpu += cpu
        wall_rate, cpu_rate = options.count / wall, options.count / cpu
        print(f"{name:10s} {wall_rate:6.0f} pairs/s of wall time, {cpu_rate:6.0f} of CPU time")
    print(f"{'all':10s} {'':24s} {len(STRATA) * options.count / total_cpu:6.0f} of CPU time")


if __name__ == "__main__":
    main()
