"""ITK displacement fields, ``.nrrd`` and ``.mha``, read and written by SimpleITK.

ITK's direction is ours: the field on the fixed (target) image points into the moving (source) image. Its
vectors are in physical units and are divided by the spacing, which both images are taken to share. An origin
or an orientation has no meaning without the images, and is refused. Unknown pixels are NaN.
"""

from __future__ import annotations

import os
import re
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from glualign.errors import FlowError
from glualign.flow.field import Flow
from glualign.flow.raw import DIRECTION, MAX_DEFLATE_RATIO, check_grid, import_extra, unknown_to_nan

_HEADER_BYTES = 65536
_DIRECTION_KEY, _SIZE_KEY = "glualign_direction", "glualign_source_size"
_SILENCE = threading.Lock()


def read(path: Path, stream: BinaryIO, max_pixels: int | None) -> Flow:
    """Read a displacement field; one in 3-D is read when it has one slice and no motion across it."""
    itk = import_extra("SimpleITK", "itk")
    packed_from = _check_header(path, stream)
    reader = itk.ImageFileReader()
    reader.SetImageIO("MetaImageIO" if path.suffix.lower() == ".mha" else "NrrdImageIO")
    reader.SetFileName(str(path))
    try:
        with _silence():
            reader.ReadImageInformation()
            width, height, *rest = reader.GetSize()
            axes = 2 + len(rest)
            if reader.GetNumberOfComponents() != axes or any(side != 1 for side in rest):
                raise FlowError(
                    "is no displacement field in 2-D: ITK sees no vectors in its pixels (an NRRD says "
                    "`kinds: vector domain domain`)"
                )
            check_grid(width, height, max_pixels)
            if 4 * axes * width * height > path.stat().st_size * MAX_DEFLATE_RATIO:
                raise FlowError(f"is truncated (too little data for {width} x {height} pixels)")
            spacing, origin = reader.GetSpacing()[:2], reader.GetOrigin()
            turned = reader.GetDirection() != tuple(np.eye(axes).ravel())
            if turned or any(origin) or not all(1e-6 < step < 1e6 for step in spacing):
                what = "an orientation" if turned else f"the origin {origin}"
                raise FlowError(
                    f"has {what} of its own, or no spacing; resample it to origin 0 and identity direction"
                )
            image = reader.Execute()
    except RuntimeError as error:
        raise FlowError("cannot be read by ITK; it is damaged or truncated") from error
    values = itk.GetArrayViewFromImage(image).reshape(height, width, axes)
    if packed_from and not _inflates_to(stream, packed_from, values.nbytes):
        raise FlowError("its compressed values are damaged or truncated")
    if axes == 3 and values[..., 2].any():
        raise FlowError("moves pixels out of the plane; a flow is in two dimensions")
    stored = image.GetMetaData(_SIZE_KEY) if image.HasMetaDataKey(_SIZE_KEY) else ""
    match = re.fullmatch(r"(\d{1,18}) (\d{1,18})", stored)
    source_size = (int(match[1]), int(match[2])) if match else None
    with np.errstate(invalid="ignore", over="ignore"):
        data = values[..., :2] / np.float32(spacing)
    return Flow(unknown_to_nan(data), source_size)


def write(path: Path, flow: Flow) -> None:
    """Write a compressed displacement field of spacing 1, with source size and direction."""
    itk = import_extra("SimpleITK", "itk")
    image = itk.GetImageFromArray(flow.data, isVector=True)
    image.SetMetaData(_DIRECTION_KEY, DIRECTION)
    image.SetMetaData(_SIZE_KEY, "{} {}".format(*flow.source_frame))
    itk.WriteImage(image, str(path), useCompression=True)


def _check_header(path: Path, stream: BinaryIO) -> int:
    """Refuse what ITK must not see: values in another file, and dimensions at which MetaIO crashes.

    MetaIO (SimpleITK 2.5) writes past its arrays when NDims is more than 10 or comes late.

    Returns:
        Offset of the values if they are deflated, else 0.
    """
    head = stream.read(_HEADER_BYTES)
    if path.suffix.lower() == ".mha":
        text, _, rest = head.partition(b"ElementDataFile")
        start = head.find(b"\n", len(text)) + 1
        packed = bool(re.search(rb"(?i)CompressedData\s*=\s*True", text))
        dimensions = re.findall(rb"(?i)NDims([^\r\n]*)", text)
        local = re.match(rb"\s*[=:]\s*LOCAL\r?\n", rest) and b"ElementDataFile" not in rest
        sound = local and len(dimensions) == 1 and re.fullmatch(rb"\s*=\s*[23]\s*", dimensions[0])
    else:
        end = re.search(rb"\n\r?\n", head)
        text, start = (head[: end.start() + 1], end.end()) if end else (b"", 0)
        encoding = re.search(rb"(?im)^encoding:\s*(raw|gz|gzip)\s*$", text)
        packed = bool(encoding and encoding[1].lower() != b"raw")
        elsewhere = re.search(rb"(?im)^\s*(data\s*file|\w+ ?skip)", text)
        sound = encoding if text.startswith(b"NRRD000") and not elsewhere else None
    if not sound:
        raise FlowError(f"is no {path.suffix} file, is damaged, or keeps its values in another file")
    return start if packed else 0


def _inflates_to(stream: BinaryIO, start: int, expected: int) -> bool:
    """Whether the deflated values are sound and of the expected length; MetaIO overlooks it."""
    inflate, length = zlib.decompressobj(wbits=47), 0
    stream.seek(start)
    while not inflate.eof and length <= expected and (data := stream.read(1 << 16)):
        try:
            length += len(inflate.decompress(data))
        except zlib.error:
            return False
    return inflate.eof and length == expected


@contextmanager
def _silence() -> Iterator[None]:
    """Keep from the terminal what ITK's readers print of damaged files; their exceptions say it again."""
    with _SILENCE, open(os.devnull, "wb") as nowhere:
        try:
            terminal = os.dup(2)
        except OSError:  # standard error is closed
            yield
            return
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
