"""MPI-Sintel (training split): rendered films with large motion, in a clean and a final pass."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal

from glualign.evaluation.datasets import base
from glualign.evaluation.truth import DenseTruth

HOW = (
    "download MPI-Sintel-complete (http://sintel.is.tue.mpg.de); ROOT or ROOT/training holds clean/, final/, "
    "flow/ and invalid/"
)


def sintel(root: Path, *, rendering: Literal["clean", "final"]) -> base.Dataset:
    """Target = frame n, source = frame n + 1; pixels marked in ``invalid/`` do not count."""
    folder = root / "training" if (root / "training").is_dir() else root
    flows = base.require_folder(folder, ["flow"], HOW)
    base.require_folder(folder, [rendering], HOW)
    pairs = base.require_pairs(_pairs(folder, flows, rendering), flows, HOW)
    return base.Dataset(f"sintel-{rendering}", f"MPI-Sintel training, {rendering} pass", pairs)


def _pairs(folder: Path, flows: Path, rendering: str) -> Iterator[base.EvalPair]:
    for path in sorted(flows.glob("*/frame_*.flo")):
        scene = path.parent.name
        yield base.EvalPair(f"{scene}/{path.stem}", partial(_load, folder, path, scene, rendering))


def _load(folder: Path, truth_path: Path, scene: str, rendering: str) -> base.Sample:
    number = int(truth_path.stem.removeprefix("frame_"))
    target = base.load_rgb(folder / rendering / scene / f"frame_{number:04d}.png")
    source = base.load_rgb(folder / rendering / scene / f"frame_{number + 1:04d}.png")
    truth = base.load_flow(truth_path, target.shape[:2])
    mask = truth.mask
    if (folder / "invalid").is_dir():
        invalid = base.load_mask(folder / "invalid" / scene / f"frame_{number:04d}.png", target.shape[:2])
        mask = mask & (invalid == 0)
    return base.Sample(source, target, DenseTruth(truth.flow, mask), base.longer_side(source))
