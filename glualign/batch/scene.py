"""The matches of all pairs of a batch as one scene, whose images have one set of key points each."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from glualign.arrays import Doubles, Floats
from glualign.batch.manifest import Record, done_records, output_of, read_output
from glualign.errors import BatchError
from glualign.flow import read_flow, to_source
from glualign.geometry import nearest_pixels, size_of
from glualign.matches import LEAST_CONFIDENCE, MOST, Scene, spread

JOINED_KINDS = ("flow", "mask", "confidence")
"""The kinds of output that a scene is made from."""
SAME = 1.0
"""Pixels below which two positions in an image are one key point."""
_MATCHED = 1 << 17
"""Points among which OpenCV finds the nearest at one time; it takes no more than twice as many."""


def join_matches(records: Sequence[Record], out: Path, flow_extension: str) -> Scene:
    """Matches of all pairs that are done, of which those that meet in an image share its key points.

    The key points that a target has by now are matched first; further ones are spread over what they leave
    free. So an image that is the target of many pairs has one set of key points, and along a sequence they
    are followed from frame to frame. Images are named by their path below the folder that holds them all.
    ``out`` is the output folder, with the outputs (`JOINED_KINDS`) of the pairs.

    Raises:
        BatchError: no pair is done, or outputs are missing.
        FlowError, ImageError: a file cannot be read.
    """
    done = done_records(records, out)
    names = names_in_scene({path for record in done for path in (record.source.path, record.target.path)})
    images = {path: _KeyPoints() for path in names}
    pairs = {}
    for record in done:
        flow = read_flow(output_of(record, out, "flow", flow_extension), max_pixels=None)
        confidence = np.asarray(read_output(record, out, "confidence").pixels, np.float32) / 255
        trusted = read_output(record, out, "mask").pixels > 0
        eligible = np.where(trusted & (confidence >= LEAST_CONFIDENCE), confidence, np.float32(-1))
        source, target = images[record.source.path], images[record.target.path]
        points = target.chosen(eligible)
        values = eligible[nearest_pixels(size_of(eligible), *points.T)]
        at = np.asarray(to_source(flow, points), np.float64)
        kept = (values >= 0) & np.isfinite(at).all(axis=1)
        first, second = source.indices(at[kept]), target.indices(points[kept])
        indices, confident = np.stack([first, second], axis=1), values[kept]
        for column in (0, 1):  # where two became one key point, the more confident match stays
            order = np.argsort(-confident, kind="stable")
            _, best = np.unique(indices[order, column], return_index=True)
            chosen = np.sort(order[best])
            indices, confident = indices[chosen], confident[chosen]
        pairs[names[record.source.path], names[record.target.path]] = indices, confident
    return Scene({names[path]: points.positions for path, points in images.items()}, pairs)


def names_in_scene(paths: Collection[str]) -> dict[str, str]:
    """Names of images by their absolute paths, in the order of these: below the folder that holds them all.

    A `BatchError` says that there is no such folder.
    """
    try:
        folder = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
    except ValueError as error:
        raise BatchError("images on several drives are no scene; copy them below one folder") from error
    return {path: Path(os.path.relpath(path, folder)).as_posix() for path in sorted(paths)}


class _KeyPoints:
    """Key points of one image; a position within `SAME` of one of them is that one."""

    def __init__(self) -> None:
        self.positions: Doubles = np.empty((0, 2))

    def chosen(self, eligible: Floats) -> Doubles:
        """Those known, and more where ``eligible`` is at least 0 and they leave room, about `MOST` in all."""
        known = self.positions
        step = max(1.0, float(np.sqrt((eligible >= 0).sum() / MOST)))
        taken = np.zeros(tuple(int(side / step) + 1 for side in eligible.shape), np.bool_)
        rows, columns = nearest_pixels(size_of(eligible), *known.T)
        taken[(rows / step).astype(int), (columns / step).astype(int)] = True
        y, x = (np.arange(side) / step for side in eligible.shape)
        free = ~taken[y.astype(int)[:, None], x.astype(int)[None]]
        there = int((eligible[rows, columns] >= 0).sum())
        return np.concatenate([known, spread(np.where(free, eligible, -1), max(1, MOST - there))])

    def indices(self, positions: Doubles) -> npt.NDArray[np.int64]:
        """Index of each position ``(N, 2)``; one that is far from all key points becomes one."""
        found = np.full(len(positions), -1, np.int64)
        for start in range(0, len(self.positions) if len(positions) else 0, _MATCHED):
            known = self.positions[start : start + _MATCHED]
            for near in cv2.BFMatcher().match(positions.astype(np.float32), known.astype(np.float32)):
                if near.distance < SAME:
                    found[near.queryIdx] = start + near.trainIdx
        new = positions[found < 0]
        _, first, place = np.unique(np.rint(new / SAME), axis=0, return_index=True, return_inverse=True)
        found[found < 0] = len(self.positions) + place.ravel()
        self.positions = np.concatenate([self.positions, new[first]])
        return found
