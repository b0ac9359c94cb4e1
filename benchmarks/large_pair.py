"""Memory and time of aligning a 24-megapixel pair on the CPU: `python benchmarks/large_pair.py [PRESET]`.

The pair is an example photograph enlarged to 6000 x 4000 and a copy moved by a known homography. Prints the
time, the peak resident memory of the process and the median error of the full-size result.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import cv2
import numpy as np

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "graf1.png"
SIZE = (4000, 6000)
MOTION = np.array([[0.98, 0.03, 60.0], [-0.02, 1.01, 20.0], [2e-6, -1e-6, 1.0]])


def main() -> None:
    import glualign

    preset = sys.argv[1] if len(sys.argv) > 1 else "balanced"
    small = cv2.cvtColor(cv2.imread(str(EXAMPLE)), cv2.COLOR_BGR2RGB)
    source = cv2.resize(small, SIZE[::-1], interpolation=cv2.INTER_CUBIC)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    target = cv2.warpPerspective(source, MOTION, SIZE[::-1], flags=flags)
    aligner = glualign.Aligner.from_pretrained(preset=preset, device="cpu")
    started = time.perf_counter()
    alignment = aligner.align(source, target)
    warped = alignment.warped
    seconds = time.perf_counter() - started
    rows = slice(1000, 3000, 50)
    ys, xs = np.mgrid[rows, 1000:5000:50]
    mapped = np.stack([xs, ys, np.ones_like(xs)], -1) @ MOTION.T
    truth = mapped[..., :2] / mapped[..., 2:] - np.stack([xs, ys], -1)
    error = np.linalg.norm(alignment.flow.data[rows, 1000:5000:50] - truth, axis=2)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{preset}: {warped.width} x {warped.height}, {seconds:.1f} s, peak {peak:.2f} GiB,", end=" ")
    print(f"median error {np.median(error):.2f} px, verdict {alignment.quality.verdict}")


if __name__ == "__main__":
    main()
