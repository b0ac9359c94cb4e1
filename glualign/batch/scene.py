"""The matches of all pairs of a batch as one scene, with key points that the pairs of an image share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from glualign.batch.manifest import Record
from glualign.batch.merge import output_of
from glualign.errors import BatchError
from glualign.flow import read_flow, to_source
from glualign.images import read_image
from glualign.matches import LEAST_CONFIDENCE, MOST, spread
from glualign.scene import Scene

NEEDED = ("flow", "mask", "confidence")
"""The kinds of output that a scene is made from."""
SAME = 1.0
"""Pixels below which two positions in an image are one key point."""


def join_matches(records: Sequence[Record], out: Path, flow_extension: str) -> Scene:
    """Matches of all pairs that are done, of which those that meet in an image share its key points.

    The key points that a target has by now are matched first; further ones are spread over what they leave
    free. So an image that is the target of many pairs has one set of key points, and along a sequence they
    are followed from frame to frame. Images are named by their path below the folder that holds them all.

    Args:
        records: of the batch; those that failed are left out.
        out: the output folder, with the outputs (`NEEDED`) of the pairs.
        flow_extension: of the flow files.

    Raises:
        BatchError: no pair is done, or outputs are missing.
        FlowError, ImageError: a file cannot be read.
    """
    done = [record for record in records if record.status == "done"]
    if not done:
        raise BatchError(f"{out}: no matches to join, no pair is done")
    paths = {path for record in done for path in (record.source.path, record.target.path)}
    folder = os.path.commonpath([os.path.dirname(path) for path in paths])
    images = {path: _KeyPoints() for path in sorted(paths)}
    names = {path: Path(os.path.relpath(path, folder)).as_posix() for path in images}
    pairs = {}
    for record in done:
        flow = read_flow(output_of(record, out, "flow", flow_extension))
        confidence = np.asarray(read_image(output_of(record, out, "confidence")).pixels, np.float32) / 255
        trusted = read_image(output_of(record, out, "mask")).pixels > 0
        eligible = np.where(trusted & (confidence >= LEAST_CONFIDENCE), confidence, np.float32(-1))
        source, target = images[record.source.path], images[record.target.path]
        points = target.chosen(eligible)
        values = eligible[_rows_and_columns(points, eligible.shape)]
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
    return Scene({names[path]: points.array() for path, points in images.items()}, pairs)


class _KeyPoints:
    """Key points of one image; a position within `SAME` of one of them is that one."""

    def __init__(self) -> None:
        self._positions: list[tuple[float, float]] = []
        self._cells: dict[tuple[int, int], int] = {}

    def array(self) -> npt.NDArray[np.float64]:
        return np.asarray(self._positions, np.float64).reshape(-1, 2)

    def chosen(self, eligible: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Those there are by now, and more where they leave room, about `MOST` together.

        Args:
            eligible: ``(H, W)`` confidence of this image's pixels as a target; below 0 where it has no match.
        """
        known = self.array()
        step = max(1.0, float(np.sqrt((eligible >= 0).sum() / MOST)))
        taken = np.zeros(tuple(int(side / step) + 1 for side in eligible.shape), np.bool_)
        rows, columns = _rows_and_columns(known, eligible.shape)
        taken[(rows / step).astype(int), (columns / step).astype(int)] = True
        y, x = (np.arange(side) / step for side in eligible.shape)
        free = ~taken[y.astype(int)[:, None], x.astype(int)[None]]
        there = int((eligible[rows, columns] >= 0).sum())
        return np.concatenate([known, spread(np.where(free, eligible, -1), max(1, MOST - there))])

    def indices(self, positions: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Index of each position ``(N, 2)``; one that is far from all key points becomes one."""
        found = []
        for x, y in positions.tolist():
            column, row = round(x), round(y)
            near = (self._cells.get((column + i, row + j)) for j in (0, -1, 1) for i in (0, -1, 1))
            index = next((k for k in near if k is not None and self._distance(k, x, y) < SAME), None)
            if index is None:
                index = len(self._positions)
                self._positions.append((x, y))
                self._cells[column, row] = index
            found.append(index)
        return np.asarray(found, np.int64)

    def _distance(self, index: int, x: float, y: float) -> float:
        u, v = self._positions[index]
        return float(np.hypot(u - x, v - y))


def _rows_and_columns(
    points: npt.NDArray[np.float64], size: tuple[int, ...]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The pixels of a picture of ``size`` that points fall on."""
    columns, rows = np.clip(np.rint(points), 0, np.array(size[::-1]) - 1).astype(np.int64).T
    return rows, columns
