"""The results of a batch, read again for what is made of all pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from glualign.batch.manifest import Record
from glualign.errors import BatchError
from glualign.images import Image, read_image


def done_records(records: Sequence[Record], out: Path) -> list[Record]:
    """The records of the pairs that are done; a `BatchError` says that there is none."""
    done = [record for record in records if record.status == "done"]
    if not done:
        raise BatchError(f"{out}: nothing to put together, no pair is done")
    return done


def output_of(record: Record, out: Path, kind: str, extension: str = "") -> Path:
    """The file of one kind, and of one extension where a kind has several, that a pair's record names."""
    for name in record.outputs:
        if Path(name).stem.endswith(f"_{kind}") and name.endswith(extension):
            return out / name
    raise BatchError(f"{out}: no {kind} of {record.key}; give --overwrite to have it written")


def read_output(record: Record, out: Path, kind: str) -> Image:
    """An image that the batch wrote, on the pixel grid of the target whatever its EXIF says."""
    return read_image(output_of(record, out, kind), apply_orientation=False, max_pixels=None)
