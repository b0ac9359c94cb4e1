"""ITK displacement field as MetaImage ``.mha``; geometry and direction as `itk` says."""

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

_TYPES = {"MET_FLOAT": "f4", "MET_DOUBLE": "f8"}
_LAST_KEY = b"ElementDataFile"
_SIZE_NOTE = "source size (height width): "


def read(path: Path, max_pixels: int | None) -> Flow:
    """Read an ``.mha``, raw or compressed.

    Raises:
        FlowError: no MetaImage, not a 2-vector image with unit geometry, truncated, damaged or too large.
    """
    with path.open("rb") as stream:
        head = stream.read(HEADER_BYTES)
    fields, offset = _header(head, path)
    sizes = fields.get("DimSize", "").split()
    kind = _TYPES.get(fields.get("ElementType", ""))
    vectors = fields.get("ElementNumberOfChannels") == "2"
    if (
        len(sizes) != 2
        or not all(part.isdigit() and len(part) < 12 for part in sizes)
        or not kind
        or not vectors
    ):
        raise FlowError(f"{path}: is no displacement field (expected two-component float vectors in 2-D)")
    if fields[_LAST_KEY.decode()] != "LOCAL":
        raise FlowError(f"{path}: keeps its values in another file; save it as one .mha")
    _check_geometry(fields, path)
    order = ">" if fields.get("BinaryDataByteOrderMSB", "False").lower() == "true" else "<"
    deflated = fields.get("CompressedData", "False").lower() == "true"
    body = Body(int(sizes[0]), int(sizes[1]), np.dtype(order + kind), offset, 15 if deflated else None)
    frame = source_frame(fields.get("Comment", "").partition(_SIZE_NOTE)[2])
    return Flow(body.read(path, max_pixels), frame)


def write(path: Path, flow: Flow) -> None:
    """Write a compressed ``.mha``."""
    body = zlib.compress(flow.data.astype("<f4", copy=False).tobytes())
    height, width = flow.source_frame
    header = (
        "ObjectType = Image\nNDims = 2\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        f"CompressedData = True\nCompressedDataSize = {len(body)}\n"
        f"Comment = {DIRECTION}; {_SIZE_NOTE}{height} {width}\n"
        "TransformMatrix = 1 0 0 1\nOffset = 0 0\nCenterOfRotation = 0 0\nElementSpacing = 1 1\n"
        f"DimSize = {flow.width} {flow.height}\n"
        "ElementNumberOfChannels = 2\nElementType = MET_FLOAT\nElementDataFile = LOCAL\n"
    )
    path.write_bytes(header.encode("ascii") + body)


def _header(head: bytes, path: Path) -> tuple[dict[str, str], int]:
    """``(fields, offset of the values)``; the values follow the line that names their file."""
    last = head.find(_LAST_KEY)
    end = head.find(b"\n", last) if last >= 0 else -1
    if end < 0:
        raise FlowError(f"{path}: is not a MetaImage, or its header is damaged")
    fields = {}
    for line in head[:end].decode("utf-8", "replace").splitlines():
        key, _, value = line.partition("=")
        fields[key.strip()] = value.strip()
    if fields.get("ObjectType") != "Image" or _LAST_KEY.decode() not in fields:
        raise FlowError(f"{path}: is not a MetaImage, or its header is damaged")
    return fields, end + 1


def _check_geometry(fields: dict[str, str], path: Path) -> None:
    for key, plain in (("TransformMatrix", "1 0 0 1"), ("Offset", "0 0"), ("ElementSpacing", "1 1")):
        try:
            numbers = [float(part) for part in fields.get(key, plain).split()]
        except ValueError:
            numbers = []
        if numbers != [float(part) for part in plain.split()]:
            raise FlowError(
                f"{path}: its {key} is not that of a plain pixel grid; "
                "resample it to spacing 1 and origin 0 first"
            )
