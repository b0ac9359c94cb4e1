"""ITK displacement field as NRRD: a two-component vector image whose header names its geometry; see `itk`."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

from glualign.errors import FlowError
from glualign.flow.field import Flow
from glualign.flow.formats.checks import DIRECTION
from glualign.flow.formats.itk import HEADER_BYTES, Body, source_frame

if TYPE_CHECKING:
    from pathlib import Path

_TYPES = {"float": "f4", "double": "f8"}
_WINDOWS = {"raw": None, "gzip": 31, "gz": 31}


def read(path: Path, max_pixels: int | None) -> Flow:
    """Read an attached NRRD, raw or gzip.

    Raises:
        FlowError: no NRRD, not a 2-vector image with unit geometry, truncated, damaged or too large.
    """
    with path.open("rb") as stream:
        head = stream.read(HEADER_BYTES)
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
    encoding = fields.get("encoding", "raw")
    if encoding not in _WINDOWS:
        raise FlowError(f"{path}: NRRD encoding {encoding} is not supported; save it as raw or gzip")
    order = ">" if fields.get("endian", "little") == "big" else "<"
    dtype = np.dtype(order + _TYPES[fields["type"]])
    body = Body(width, height, dtype, offset, _WINDOWS[encoding])
    return Flow(body.read(path, max_pixels), source_frame(keys.get("glualign_source_size")))


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
