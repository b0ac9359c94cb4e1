"""Middlebury optical flow: the eight sequences with public ground truth."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from glualign.evaluation.datasets import base

HOW = (
    "download other-color-twoframes and other-gt-flow (https://vision.middlebury.edu/flow/data/); ROOT holds "
    "other-data/ and other-gt-flow/"
)


def middlebury(root: Path) -> base.Dataset:
    """Target = frame 10, source = frame 11."""
    flows = base.require_folder(root, ["other-gt-flow"], HOW)
    images = base.require_folder(root, ["other-data"], HOW)
    pairs = base.require_pairs(_pairs(flows, images), flows, HOW)
    return base.Dataset("middlebury", "Middlebury optical flow", pairs)


def _pairs(flows: Path, images: Path) -> Iterator[base.EvalPair]:
    for folder in sorted(path for path in flows.iterdir() if path.is_dir()):
        yield base.EvalPair(folder.name, partial(_load, folder / "flow10.flo", images / folder.name))


def _load(truth_path: Path, images: Path) -> base.Sample:
    target, source = base.load_rgb(images / "frame10.png"), base.load_rgb(images / "frame11.png")
    truth = base.load_flow(truth_path, target.shape[:2])
    return base.Sample(source, target, truth, base.longer_side(source))
