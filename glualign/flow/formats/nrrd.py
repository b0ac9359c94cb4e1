"""ITK displacement field as NRRD: a two-component vector image whose header names its geometry.

ITK's direction is ours: the field on the fixed (target) image points into the moving (source) image.
Spacing 1 and origin 0 make ITK's physical units pixels; other geometry is refused rather than guessed.
Unknown pixels are NaN.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

from glualign.errors import FlowError
from glualign.flow.field import Flow
from glualign.flow.formats.checks import (
    DIRECTION,
    MAX_DEFLATE_RATIO,
    check_grid,
    check_length,
    unknown_to_nan,
)

if TYPE_CHECKING:
    from pathlib import Path

_HEADER_BYTES = 65536
_TYPES = {"float": "f4", "double": "f8"}


def read(path: Path, max_pixels: int | None) -> Flow:
    """Read an attached NRRD, raw or gzip.

    Raises:
        FlowError: no NRRD, not a 2-vector image with unit geometry, truncated, damaged or too large.
    """
    with path.open("rb") as stream:
        head = stream.read(_HEADER_BYTES)
        length = stream.seek(0, 2)
    fields, keys, offset = _header(head, path)
    try:
        sizes = [int(part) for part in fields.get("sizes", "").split()]
    except ValueError as error:
        raise FlowError(f"{path}: the NRRD header is damaged (sizes: {fields['sizes'][:40]})") from error
    if len(sizes) != 3 or sizes[0] != 2 or fields.get("type") not in _TYPES:
        raise FlowError(f"{path}: is no displacement field (expected float vectors, sizes: 2 width height)")
    if "data file" in fields or "datafile" in fields:
        raise FlowError(f"{path}: keeps its values in another file; save it as one attached .nrrd")
    _check_geometry(fields, path)
    _, width, height = sizes
    check_grid(path, width, height, max_pixels)
    kind = _TYPES[fields["type"]]
    needed = 2 * width * height * int(kind[1])
    order = ">" if fields.get("endian", "little") == "big" else "<"
    encoding = fields.get("encoding", "raw")
    if encoding == "raw":
        check_length(path, length - offset, needed, width, height)
        values = np.fromfile(path, order + kind, 2 * width * height, offset=offset)
    elif encoding in ("gzip", "gz"):
        if needed > (length - offset) * MAX_DEFLATE_RATIO + 1024:
            raise FlowError(f"{path}: is truncated (too little data for {width} x {height} pixels)")
        inflated = zlib.decompressobj(31).decompress(path.read_bytes()[offset:], needed + 1)
        check_length(path, len(inflated), needed, width, height)
        values = np.frombuffer(inflated, order + kind)
    else:
        raise FlowError(f"{path}: NRRD encoding {encoding} is not supported; save it as raw or gzip")
    return Flow(
        unknown_to_nan(values.reshape(height, width, 2)), _source_size(keys.get("glualign_source_size"))
    )


def write(path: Path, flow: Flow) -> None:
    """Write a gzip NRRD."""
    height, width = flow.source_frame
    header = (
        "NRRD0005\n"
        "# Displacement field, in pixels\n"
        "type: float\ndimension: 3\nspace dimension: 2\n"
        f"sizes: 2 {flow.width} {flow.height}\n"
        "space directions: none (1,0) (0,1)\nkinds: vector domain domain\n"
        "endian: little\nencoding: gzip\nspace origin: (0,0)\n"
        f"glualign_direction:={DIRECTION}\n"
        f"glualign_source_size:={height} {width}\n\n"
    )
    deflate = zlib.compressobj(6, zlib.DEFLATED, 31)
    body = deflate.compress(flow.data.astype("<f4", copy=False).tobytes()) + deflate.flush()
    path.write_bytes(header.encode("ascii") + body)


def _header(head: bytes, path: Path) -> tuple[dict[str, str], dict[str, str], int]:
    """``(fields, key/value pairs, offset of the values)``."""
    ends = [(head.find(gap), len(gap)) for gap in (b"\n\n", b"\r\n\r\n") if gap in head]
    end, gap_bytes = min(ends, default=(-1, 0))
    if not head.startswith(b"NRRD000") or end < 0:
        raise FlowError(f"{path}: is not an NRRD file, or its header is damaged")
    fields: dict[str, str] = {}
    keys: dict[str, str] = {}
    for line in head[:end].decode("utf-8", "replace").splitlines()[1:]:
        if ":=" in line:
            key, _, value = line.partition(":=")
            keys[key] = value
        elif not line.startswith("#"):
            key, _, value = line.partition(":")
            fields[key.strip().lower()] = value.strip()
    return fields, keys, end + gap_bytes


def _check_geometry(fields: dict[str, str], path: Path) -> None:
    directions = "".join(fields.get("space directions", "none (1,0) (0,1)").split())
    origin = "".join(fields.get("space origin", "(0,0)").split())
    if _numbers(directions.replace("none", "")) != [1, 0, 0, 1] or _numbers(origin) != [0, 0]:
        raise FlowError(
            f"{path}: its spacing, origin or direction is not that of a plain pixel grid; "
            "resample it to spacing 1 and origin 0 first"
        )


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.replace("(", ",").replace(")", ",").split(",") if part]
    except ValueError:
        return []


def _source_size(text: str | None) -> tuple[int, int] | None:
    parts = (text or "").split()
    if len(parts) == 2 and all(part.isdigit() and len(part) < 10 for part in parts):
        return int(parts[0]), int(parts[1])
    return None
