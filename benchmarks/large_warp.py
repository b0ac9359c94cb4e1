"""Peak memory of `glualign apply` on images too large for comfort, measured in a process of its own.

    python benchmarks/large_warp.py [--limit-gib 3] [--keep FOLDER]

Two jobs, each with a flow saved as .flo: a panorama of 40,000 x 1,000 pixels (beyond OpenCV's limit of
32,767 a side) and a 200-megapixel image. The peak is the maximum resident set size of the `apply` process,
everything included. Exits with 1 when a job fails, shows the wrong pixels, or exceeds the limit.
"""

from __future__ import annotations

import argparse
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

JOBS = {"panorama": (1_000, 40_000), "200 megapixels": (12_500, 16_000)}
SHIFT = (24, -16)  # whole pixels, so that every pixel of the result is known exactly
STRIP = 256


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit-gib", type=float, default=3.0, help="largest peak allowed (default 3)")
    parser.add_argument("--keep", type=Path, help="work in this folder and leave the files there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        good = [run(name, size, folder, arguments.limit_gib) for name, size in JOBS.items()]
    return 0 if all(good) else 1


def run(name: str, size: tuple[int, int], folder: Path, limit: float) -> bool:
    """Make the files, apply the flow in a child process, check the result; prints one line."""
    height, width = size
    source, flow, output = (folder / f"{width}x{height}{end}" for end in (".ppm", ".flo", "_warped.ppm"))
    write_source(source, height, width)
    write_flow(flow, height, width)
    start = time.perf_counter()
    command = [sys.executable, "-m", "glualign", "apply", str(flow), str(source), "-o", str(output), "-q"]
    exit_code, peak, cpu = measured(command)
    seconds = time.perf_counter() - start
    right = exit_code == 0 and is_shifted(source, output, height, width)
    verdict = "ok" if right and peak <= limit else "FAILED"
    print(
        f"{name}: {width} x {height} ({width * height / 1e6:.0f} MP), peak {peak:.2f} GiB of {limit:g} GiB, "
        f"{seconds:.1f} s ({cpu:.1f} s CPU), exit {exit_code}, "
        f"pixels {'right' if right else 'WRONG'}: {verdict}",
        flush=True,
    )
    return verdict == "ok"


def measured(command: list[str]) -> tuple[int, float, float]:
    """Exit code, peak resident memory in GiB and CPU seconds of one child process."""
    script = (
        "import resource, subprocess, sys\n"
        "code = subprocess.call(sys.argv[1:])\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(code, used.ru_maxrss, used.ru_utime + used.ru_stime)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *command], stdout=subprocess.PIPE, text=True, check=True
    )
    code, peak, cpu = done.stdout.split()[-3:]
    unit = 1 if sys.platform == "darwin" else 1024
    return int(code), int(peak) * unit / 2**30, float(cpu)


def pattern(top: int, bottom: int, width: int) -> np.ndarray:
    """Rows of an RGB picture that differs from itself under any small shift."""
    y, x = np.mgrid[top:bottom, :width]
    return np.stack([x * 7 + y, y * 5 + x // 256, (x ^ y)], axis=-1).astype(np.uint8)


def write_source(path: Path, height: int, width: int) -> None:
    with path.open("wb") as stream:
        stream.write(b"P6\n%d %d\n255\n" % (width, height))
        for top in range(0, height, STRIP):
            stream.write(pattern(top, min(top + STRIP, height), width).tobytes())


def write_flow(path: Path, height: int, width: int) -> None:
    row = np.broadcast_to(np.array(SHIFT, "<f4"), (width, 2)).tobytes()
    with path.open("wb") as stream:
        stream.write(b"PIEH" + struct.pack("<ii", width, height))
        for _ in range(height):
            stream.write(row)


def is_shifted(source: Path, output: Path, height: int, width: int) -> bool:
    """Whether the output is the source moved by the shift, black outside, compared strip by strip."""
    header = b"P6\n%d %d\n255\n" % (width, height)
    if output.stat().st_size != len(header) + 3 * height * width:
        return False
    seen = np.memmap(output, np.uint8, "r", len(header), (height, width, 3))
    u, v = SHIFT
    for top in range(0, height, STRIP):
        bottom = min(top + STRIP, height)
        expected = np.zeros((bottom - top, width, 3), np.uint8)
        first = max(0, -(top + v))
        rows = pattern(max(0, top + v), bottom + v, width)
        expected[first : first + len(rows), : width - u] = rows[:, u:]
        if not np.array_equal(seen[top:bottom], expected):
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
