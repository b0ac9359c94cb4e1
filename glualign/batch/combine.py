"""What is made of all pairs of a batch: one merged image, or the matches of all as one scene."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from glualign.arrays import Bytes, Doubles, Floats
from glualign.batch.listing import BOOKKEEPING
from glualign.batch.manifest import MERGE_ASIDE, Record
from glualign.errors import BatchError
from glualign.flow import read_flow, to_source
from glualign.images import Image, read_image, write_image
from glualign.matches import LEAST_CONFIDENCE, MOST, Scene, pixels_at, spread

Merge = Literal["mean", "median", "min", "max"]
MERGED_KINDS = ("warped", "confidence")
"""The kinds of output that a merge reads."""
JOINED_KINDS = ("flow", "mask", "confidence")
"""The kinds of output that a scene is made from."""
SAME = 1.0
"""Pixels below which two positions in an image are one key point."""
_MATCHED = 1 << 17
"""Points among which OpenCV finds the nearest at one time; it takes no more than twice as many."""
_DEPTHS = ("uint8", "uint16", "int16", "float32")
_STRIP_VALUES = 16_000_000
"""Values of all images that are merged at one time: 64 MB as float32."""


def merge_images(records: Sequence[Record], out: Path, how: Merge) -> Path:
    """Write ``merged.png`` (``.tif`` where PNG cannot hold it) into the output folder of a batch.

    A pixel's value is taken over the images that reach it: their mean, weighted by confidence, or their
    median, least or greatest value; no data, or 0, where none does. Depth and channels are those of the
    images, metadata those of the first. The images are kept on the disk and merged in strips, so that memory
    does not grow with their number. Pairs that failed are left out; of the others, ``out`` has the warped
    images and the confidences (`MERGED_KINDS`).

    Raises:
        BatchError: nothing to merge, or the pairs differ in target, size, depth or channels.
        ImageError, OutputError: a file cannot be read or written.
    """
    done = _done(records, out)
    if len({record.target.path for record in done}) > 1:
        raise BatchError(f"{out}: only pairs with one target can be merged; give --target, or --onto first")
    first = _read_output(done[0], out, "warped").as_colours()
    shape, kind = first.pixels.shape, first.pixels.dtype
    if kind.name not in _DEPTHS:
        raise BatchError(
            f"{done[0].source.path}: {kind} pixels cannot be merged; convert to 8 or 16 bit or float"
        )
    merged = np.zeros(shape, kind)
    with tempfile.TemporaryDirectory(dir=out / BOOKKEEPING, prefix=MERGE_ASIDE) as scratch:
        pixels = np.memmap(Path(scratch) / "pixels", kind, "w+", shape=(len(done), *shape))
        weights = np.memmap(Path(scratch) / "weights", np.uint8, "w+", shape=(len(done), *shape[:2]))
        for number, record in enumerate(done):
            image = _read_output(record, out, "warped").as_colours()
            if (image.pixels.shape, image.pixels.dtype) != (shape, kind):
                raise BatchError(
                    f"{record.source.path}: differs from {done[0].source.path} in size, depth or channels; "
                    "only images of one kind can be merged"
                )
            pixels[number] = image.pixels
            weights[number] = _read_output(record, out, "confidence").pixels
            if (missing := image.missing) is not None:
                weights[number][missing] = 0
        rows = max(1, _STRIP_VALUES // (len(done) * merged[:1].size))
        for top in range(0, shape[0], rows):
            strip = slice(top, top + rows)
            value = _merged(np.asarray(pixels[:, strip], np.float32), np.asarray(weights[:, strip]), how)
            value = np.where(np.isnan(value), first.blank, value)
            merged[strip] = value if kind.kind == "f" else np.rint(value)
        del pixels, weights  # Windows removes no file that is mapped
    path = out / ("merged.png" if kind.name in ("uint8", "uint16") else "merged.tif")
    write_image(path, first.replace(merged))
    return path


def _merged(pixels: Floats, weights: Bytes, how: Merge) -> Floats:
    """One strip: ``(N, h, W[, C])`` values, ``(N, h, W)`` weights to ``(h, W[, C])``, NaN where all are 0."""
    weights = weights.reshape(weights.shape + (1,) * (pixels.ndim - weights.ndim))
    pixels = np.where(weights > 0, pixels, np.float32(np.nan))
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # of pixels that no image reaches
        if how == "mean":
            found = np.nansum(pixels * weights, axis=0) / weights.sum(axis=0, dtype=np.float32)
        elif how == "median":
            ordered = np.sort(pixels, axis=0)  # NaN comes last
            count = np.broadcast_to((weights > 0).sum(axis=0, keepdims=True), (1, *pixels.shape[1:]))
            middle = [np.take_along_axis(ordered, at // 2, axis=0)[0] for at in ((count - 1).clip(0), count)]
            found = (middle[0] + middle[1]) / 2
        else:
            found = (np.nanmin if how == "min" else np.nanmax)(pixels, axis=0)
    return np.asarray(found, np.float32)


def _done(records: Sequence[Record], out: Path) -> list[Record]:
    done = [record for record in records if record.status == "done"]
    if not done:
        raise BatchError(f"{out}: nothing to put together, no pair is done")
    return done


def _output_of(record: Record, out: Path, kind: str, extension: str = "") -> Path:
    """The file of one kind, and of one extension where a kind has several, that a pair's record names."""
    for name in record.outputs:
        if Path(name).stem.endswith(f"_{kind}") and name.endswith(extension):
            return out / name
    raise BatchError(f"{out}: no {kind} of {record.key}; give --overwrite to have it written")


def _read_output(record: Record, out: Path, kind: str) -> Image:
    """An image that the batch wrote, on the pixel grid of the target whatever its EXIF says."""
    return read_image(_output_of(record, out, kind), apply_orientation=False, max_pixels=None)


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
    done = _done(records, out)
    names = names_in_scene({path for record in done for path in (record.source.path, record.target.path)})
    images = {path: _KeyPoints() for path in names}
    pairs = {}
    for record in done:
        flow = read_flow(_output_of(record, out, "flow", flow_extension), max_pixels=None)
        confidence = np.asarray(_read_output(record, out, "confidence").pixels, np.float32) / 255
        trusted = _read_output(record, out, "mask").pixels > 0
        eligible = np.where(trusted & (confidence >= LEAST_CONFIDENCE), confidence, np.float32(-1))
        source, target = images[record.source.path], images[record.target.path]
        points = target.chosen(eligible)
        values = eligible[pixels_at(points, eligible.shape)]
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
        rows, columns = pixels_at(known, eligible.shape)
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
