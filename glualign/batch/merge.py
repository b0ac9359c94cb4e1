"""One image of many: the sources of a batch, aligned onto one target, merged pixel by pixel."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from glualign.arrays import Array, Bytes, Floats
from glualign.batch.manifest import Record
from glualign.batch.pairs import BOOKKEEPING
from glualign.errors import BatchError
from glualign.images import read_image, write_image

Merge = Literal["mean", "median", "min", "max"]
NEEDED = ("warped", "confidence")
"""The kinds of output that a merge reads."""
_KINDS = ("uint8", "uint16", "int16", "float32")
_STRIP_VALUES = 16_000_000
"""Values of all images that are merged at one time: 64 MB as float32."""


def merge(records: Sequence[Record], out: Path, how: Merge) -> Path:
    """Write ``merged.png`` (``.tif`` where PNG cannot hold it) into the output folder of a batch.

    A pixel's value is taken over the images that reach it: their mean, weighted by confidence, or their
    median, least or greatest value; no data, or 0, where none does. Depth and channels are those of the
    images, metadata those of the first. The images are kept on the disk and merged in strips, so that memory
    does not grow with their number.

    Args:
        records: of pairs with one target; those that failed are left out.
        out: the output folder, with the warped images and the confidences (`NEEDED`) of the pairs.
        how: ``mean``, ``median``, ``min`` or ``max``.

    Returns:
        The file.

    Raises:
        BatchError: nothing to merge, or the pairs differ in target, size, depth or channels.
        ImageError, OutputError: a file cannot be read or written.
    """
    done = [record for record in records if record.status == "done"]
    if not done:
        raise BatchError(f"{out}: nothing to merge, no pair is done")
    if len({record.target.path for record in done}) > 1:
        raise BatchError(f"{out}: only pairs with one target can be merged; give --target, or --onto first")
    first = read_image(output_of(done[0], out, "warped")).as_colours()
    shape, kind = first.pixels.shape, first.pixels.dtype
    if kind.name not in _KINDS:
        raise BatchError(
            f"{done[0].source.path}: {kind} pixels cannot be merged; convert to 8 or 16 bit or float"
        )
    merged = np.zeros(shape, kind)
    with tempfile.TemporaryDirectory(dir=out / BOOKKEEPING, prefix="merge-") as scratch:
        pixels = np.memmap(Path(scratch) / "pixels", kind, "w+", shape=(len(done), *shape))
        weights = np.memmap(Path(scratch) / "weights", np.uint8, "w+", shape=(len(done), *shape[:2]))
        for number, record in enumerate(done):
            image = read_image(output_of(record, out, "warped")).as_colours()
            if (image.pixels.shape, image.pixels.dtype) != (shape, kind):
                raise BatchError(
                    f"{record.source.path}: differs from {done[0].source.path} in size, depth or channels; "
                    "only images of one kind can be merged"
                )
            pixels[number] = image.pixels
            weights[number] = read_image(output_of(record, out, "confidence")).pixels
            if (missing := image.missing()) is not None:
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
    known = weights > 0
    count = known.sum(axis=0)
    if how == "mean":
        total = (np.where(known, pixels, 0) * weights).sum(axis=0, dtype=np.float32)
        value: Array = total / np.maximum(weights.sum(axis=0, dtype=np.float32), 1)
    elif how == "max":
        value = np.where(known, pixels, -np.inf).max(axis=0)
    else:
        ordered = np.sort(np.where(known, pixels, np.inf), axis=0)  # what is not known comes last
        low, high = (0, 0) if how == "min" else (np.maximum(count - 1, 0) // 2, count // 2)
        value = (_at(ordered, low) + _at(ordered, high)) / 2
    return np.where(count > 0, value, np.nan).astype(np.float32)


def _at(ordered: Floats, places: Any) -> Floats:
    index = np.broadcast_to(np.minimum(places, len(ordered) - 1), ordered.shape[1:])
    found: Floats = np.take_along_axis(ordered, index[None], axis=0)[0]
    return found


def output_of(record: Record, out: Path, kind: str, extension: str = "") -> Path:
    """The file of one kind, and of one extension where a kind has several, that a pair's record names.

    Raises:
        BatchError: there is none.
    """
    for name in record.outputs:
        if Path(name).stem.endswith(f"_{kind}") and name.endswith(extension):
            return out / name
    raise BatchError(f"{out}: no {kind} of {record.key}; give --overwrite to have it written")
