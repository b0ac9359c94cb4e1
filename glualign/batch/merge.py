"""All images of a batch with one target as one merged image."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from glualign.arrays import Array, Bytes, Floats
from glualign.batch.listing import BOOKKEEPING
from glualign.batch.manifest import MERGE_ASIDE, Record, done_records, output_of, read_output
from glualign.errors import BatchError
from glualign.images import Image, write_image

Merge = Literal["mean", "median", "min", "max"]
MERGED_KINDS = ("warped", "confidence")
"""The kinds of output that a merge reads."""
_DEPTHS = ("uint8", "uint16", "int16", "float32")
_STRIP_VALUES = 16_000_000
"""Values of all images that are merged at one time: 64 MB as float32."""


def merge_images(records: Sequence[Record], out: Path, how: Merge) -> Path:
    """Write ``merged.png`` (``.tif`` where the warped images are TIFF) into the output folder of a batch.

    Each band of a pixel is taken over the images that have data there: their mean, weighted by confidence
    and, for colours, by alpha; or their median, least or greatest value; no data, or 0, where none has.
    Depth and channels are those of the images, metadata those of the first. The images are kept on the disk
    and merged in strips, so that memory does not grow with their number. Pairs that failed are left out; of
    the others, ``out`` has the warped images and the confidences (`MERGED_KINDS`).

    Raises:
        BatchError: nothing to merge, or the pairs differ in target, depth or channels.
        ImageError, OutputError: a file cannot be read or written.
    """
    done = done_records(records, out)
    if len({record.target.path for record in done}) > 1:
        raise BatchError(f"{out}: only pairs with one target can be merged; give --target, or --onto first")
    first = read_output(done[0], out, "warped").as_colours()
    shape, kind = first.pixels.shape, first.pixels.dtype
    if kind.name not in _DEPTHS:
        raise BatchError(
            f"{done[0].source.path}: {kind} pixels cannot be merged; convert to 8 or 16 bit or float"
        )
    merged = np.zeros(shape, kind)
    with tempfile.TemporaryDirectory(dir=out / BOOKKEEPING, prefix=MERGE_ASIDE) as scratch:
        pixels = np.memmap(Path(scratch) / "pixels", kind, "w+", shape=(len(done), *shape))
        weights = np.memmap(Path(scratch) / "weights", np.uint8, "w+", shape=(len(done), *shape))
        for number, record in enumerate(done):
            image = read_output(record, out, "warped").as_colours()
            if (image.pixels.shape, image.pixels.dtype) != (shape, kind):
                raise BatchError(
                    f"{record.source.path}: differs from {done[0].source.path} in depth or channels; "
                    "only images of one kind can be merged"
                )
            pixels[number] = image.pixels
            weights[number] = _weights(image, read_output(record, out, "confidence").pixels)
        rows = max(1, _STRIP_VALUES // (len(done) * merged[:1].size))
        for top in range(0, shape[0], rows):
            strip = slice(top, top + rows)
            value = _merged(np.asarray(pixels[:, strip], np.float32), np.asarray(weights[:, strip]), how)
            value = np.where(np.isnan(value), first.blank, value)
            merged[strip] = value if kind.kind == "f" else np.rint(value)
        del pixels, weights  # Windows removes no file that is mapped
    is_tiff = output_of(done[0], out, "warped").suffix.lower() in (".tif", ".tiff")
    path = out / ("merged.tif" if is_tiff else "merged.png")
    write_image(path, first.replace(merged))
    return path


def _weights(image: Image, confidence: Array) -> Bytes:
    """Weights of the values of an image, of its shape: 0 where there is no data, or no colour to be seen."""
    weights = np.repeat(confidence[..., None], image.channels, axis=2).astype(np.uint8)
    if image.missing is not None:
        weights[image.missing] = 0
    if image.lacking is not None:
        weights[image.lacking] = 0
    if image.has_alpha:
        full = np.iinfo(image.pixels.dtype).max if image.pixels.dtype.kind in "iu" else 1.0
        alpha = np.clip(image.pixels[..., -1:] / full, 0, 1)
        weights[..., :-1] = np.ceil(weights[..., :-1] * alpha)
    return weights.reshape(image.pixels.shape)


def _merged(pixels: Floats, weights: Bytes, how: Merge) -> Floats:
    """One strip: ``(N, h, W[, C])`` values and weights to ``(h, W[, C])``, NaN where all are 0."""
    pixels = np.where(weights > 0, pixels, np.float32(np.nan))
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # of pixels that no image reaches
        if how == "mean":
            found = np.nansum(pixels * weights, axis=0) / weights.sum(axis=0, dtype=np.float32)
        elif how == "median":
            ordered = np.sort(pixels, axis=0)  # NaN comes last
            count = (weights > 0).sum(axis=0, keepdims=True)
            middle = [np.take_along_axis(ordered, at // 2, axis=0)[0] for at in ((count - 1).clip(0), count)]
            found = (middle[0] + middle[1]) / 2
        else:
            found = (np.nanmin if how == "min" else np.nanmax)(pixels, axis=0)
    return np.asarray(found, np.float32)
