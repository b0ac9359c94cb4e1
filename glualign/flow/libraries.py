"""Flow in formats of other libraries: Spring's ``.flo5`` (h5py), ITK's ``.nrrd`` and ``.mha`` (SimpleITK).

ITK's direction is ours: the field on the fixed (target) image points into the moving (source) image. Its
vectors are in physical units and are divided by the spacing, which both images are taken to share. An origin
or an orientation has no meaning without the images, and is refused. Unknown pixels are NaN.
"""

from __future__ import annotations

import math
import os
import re
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from glualign.arrays import Array
from glualign.errors import FlowError, import_extra
from glualign.flow.field import Flow
from glualign.images.decode import MAX_DEFLATE_RATIO

CheckGrid = Callable[..., None]
"""Called with width and height; refuses what is not positive or exceeds the limit."""
StoredFlow = tuple[Array, Any]
"""``(H, W, 2)`` real numbers, and the size of the source as two integers, or None where it is not stored."""
DIRECTION = "target -> source: target pixel (x, y) shows source position (x + u, y + v), in pixels"

# HDF5's numbers of the filters deflate, shuffle, Fletcher's checksum and LZF; others are plugins or rare.
_FILTERS = (1, 2, 3, 32000)
_HEADER_BYTES = 65536
_DIRECTION_KEY, _SIZE_KEY = "glualign_direction", "glualign_source_size"
_SILENCE = threading.Lock()


def check_direction(stated: Any) -> None:
    """Refuse a field that is said to lead another way than `DIRECTION`; nothing said is ours."""
    text = stated.decode("utf-8", "replace") if isinstance(stated, bytes) else str(stated)
    if not re.match(r"(?i)\s*(target[\s_]*(->|→|to)[\s_]*source|$)", text):
        raise FlowError(
            f"says that its direction is {text:.40}, where target -> source is read; save it without that, "
            "and turn it with `glualign invert`"
        )


def read_flo5(path: Path, stream: BinaryIO, check_grid: CheckGrid) -> StoredFlow:
    """Read a ``.flo5`` whose values lie in the file itself."""
    h5py = import_extra("h5py", "hdf5", "this format needs h5py; install it with")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise FlowError("is not an HDF5 file, or is truncated") from error
    with file:
        # Any other link, external storage and virtual data sets lead to other files of the user.
        link = file.get("flow", getlink=True) if "flow" in file.id else None
        if link is not None and not isinstance(link, h5py.HardLink):
            raise FlowError("its flow is a link to another place, which is not followed")
        data = file.get("flow")
        plain = isinstance(data, h5py.Dataset) and data.dtype.kind == "f"
        if not plain or len(data.shape or ()) != 3 or data.shape[2] != 2:
            raise FlowError("has no data set 'flow' of numbers (height, width, 2)")
        if data.external or data.is_virtual:
            raise FlowError("keeps its flow in another file, which is not followed")
        check_grid(data.shape[1], data.shape[0])
        _check_storage(path, data)
        check_direction(file.attrs.get("direction", ""))
        stored = file.attrs.get_id("source_size") if "source_size" in file.attrs else None
        sized = stored is not None and stored.shape == (2,) and stored.dtype.kind in "iu"
        return np.asarray(data), file.attrs["source_size"].tolist() if sized else None


def write_flo5(path: Path, flow: Flow) -> None:
    """Write a compressed ``.flo5`` with source size and direction as attributes."""
    h5py = import_extra("h5py", "hdf5", "this format needs h5py; install it with")
    # In memory: HDF5 crashes where the disk is full.
    with h5py.File(path, "w", driver="core", backing_store=False) as file:
        file.create_dataset("flow", data=flow.data, compression="gzip", compression_opts=5, shuffle=True)
        if flow.source_size is not None:
            file.attrs["source_size"] = flow.source_size
        file.attrs["direction"] = DIRECTION
        file.flush()
        data = file.id.get_file_image()
    path.write_bytes(data)


def _check_storage(path: Path, data: Any) -> None:
    """Refuse a data set that has fewer bytes in the file than it needs."""
    properties = data.id.get_create_plist()
    filters = [properties.get_filter(index)[0] for index in range(properties.get_nfilters())]
    if len(set(filters)) != len(filters) or not set(filters) <= set(_FILTERS):
        raise FlowError("uses HDF5 filters that are not supported; save it with gzip")
    held = min(data.id.get_storage_size(), path.stat().st_size)
    missing = data.size * data.dtype.itemsize > held * (MAX_DEFLATE_RATIO if filters else 1)
    if data.chunks:
        chunks = list(zip(data.shape, data.chunks, strict=True))
        missing |= any(step > side for side, step in chunks)
        missing |= data.id.get_num_chunks() != math.prod(-(-side // step) for side, step in chunks)
    if missing:
        raise FlowError("is truncated or was never written (it claims more values than it holds)")


def read_itk(path: Path, stream: BinaryIO, check_grid: CheckGrid) -> StoredFlow:
    """Read a displacement field; one in 3-D is read when it has one slice and no motion across it."""
    itk = import_extra("SimpleITK", "itk", "this format needs SimpleITK; install it with")
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
            check_grid(width, height)
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
    check_direction(image.GetMetaData(_DIRECTION_KEY) if image.HasMetaDataKey(_DIRECTION_KEY) else "")
    stored = image.GetMetaData(_SIZE_KEY) if image.HasMetaDataKey(_SIZE_KEY) else ""
    source_size = [int(side) for side in re.findall(r"\d{1,18}", stored)]
    with np.errstate(invalid="ignore", over="ignore"):
        return values[..., :2] / np.float32(spacing), source_size if len(source_size) == 2 else None


def write_itk(path: Path, flow: Flow) -> None:
    """Write a compressed displacement field of spacing 1, with source size and direction."""
    itk = import_extra("SimpleITK", "itk", "this format needs SimpleITK; install it with")
    image = itk.GetImageFromArray(flow.data, isVector=True)
    image.SetMetaData(_DIRECTION_KEY, DIRECTION)
    if flow.source_size is not None:
        image.SetMetaData(_SIZE_KEY, "{} {}".format(*flow.source_size))
    try:
        with _silence():
            itk.WriteImage(image, str(path), useCompression=True)
        with path.open("rb") as stream:  # NRRD's writer overlooks that the last bytes did not fit
            whole = _inflates_to(stream, _check_header(path, stream), flow.data.nbytes)
    except (RuntimeError, FlowError):
        whole = False
    if not whole:
        raise FlowError("cannot be written whole by ITK; make room on the disk, or write .npz")


def _check_header(path: Path, stream: BinaryIO) -> int:
    """The offset of the values if they are deflated, else 0; refuses what ITK must not see.

    That is values in another file, and dimensions at which MetaIO crashes: it (SimpleITK 2.5) writes past its
    arrays when NDims is more than 10 or comes late.
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
