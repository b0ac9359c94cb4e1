"""Flow files: the format from the extension; what is plain samples or arrays of NumPy is read here.

Readers give the field, channels last, and the source size where it is stored. Messages of what they raise
begin with what is wrong: the file's name is put in front here.
"""

from __future__ import annotations

import io
import os
import re
import struct
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

import numpy as np

from glualign.arrays import Array
from glualign.errors import FlowError, GlualignError
from glualign.files import atomic_path, reading
from glualign.flow import libraries
from glualign.flow.field import Flow
from glualign.flow.libraries import DIRECTION, CheckGrid, StoredFlow, check_direction
from glualign.geometry import strips
from glualign.images.decode import MAX_DEFLATE_RATIO, PNG_SIGNATURE, claimed_size, decode_png
from glualign.images.write import png_parts

MAX_FLOW_PIXELS = 300_000_000
# Middlebury's rule: a component beyond this marks the pixel as unknown.
_UNKNOWN_ABOVE = 1e9
_FLO_MAGIC = b"PIEH"  # the bytes of float32 202021.25
_FLO_UNKNOWN = np.float32(1e10)
_PFM_HEADER = re.compile(rb"PF\s+(\d{1,10})\s+(\d{1,10})\s+([-+]?[0-9.eE+-]{1,20})[ \t]*\r?\n")
_NOTHING_KNOWN = "holds no known flow; every pixel is NaN or marked unknown"
_LONGEST_DIRECTION = 4096  # bytes
_KITTI_SCALE, _KITTI_OFFSET = 64.0, 32768.0


def read_flow(path: str | os.PathLike[str], *, max_pixels: int | None = MAX_FLOW_PIXELS) -> Flow:
    """Read a flow file: ``.flo``, KITTI ``.png``, ``.pfm .npy .npz .flo5 .nrrd .mha``.

    Sizes are checked against the length of the file, and against ``max_pixels``, before anything is
    allocated. Pixels that are NaN, infinite, beyond 1e9 or marked unknown are NaN in the result.

    Raises:
        FlowError: the file is missing, empty, truncated, damaged, too large, or holds no known pixel.
        MissingExtraError: ``.flo5`` without h5py, ``.nrrd`` or ``.mha`` without SimpleITK.
    """
    location, check_grid = Path(path), partial(_check_grid, max_pixels)
    with reading(location, FlowError) as stream:
        reader, _ = _format(location)
        if stream.seek(0, 2) == 0:
            raise FlowError("the file is empty")
        stream.seek(0)
        values, source_size = reader(location, stream, check_grid)
        if source_size is not None:
            check_grid(source_size[1], source_size[0], "a source of ")
        with np.errstate(invalid="ignore", over="ignore"):
            data = np.asarray(values, np.float32)
            unknown = ~(np.abs(data) <= _UNKNOWN_ABOVE).all(axis=2, keepdims=True)
        if unknown.all():
            raise FlowError(_NOTHING_KNOWN)
        return Flow(np.where(unknown, np.float32(np.nan), data) if unknown.any() else data, source_size)


def write_flow(path: str | os.PathLike[str], flow: Flow | Array, *, max_pixels: int | None = None) -> None:
    """Write a flow atomically in the format of the extension; unknown pixels as the format marks them.

    `WITH_SOURCE_SIZE` also store the source size, where it is known, and the direction. KITTI
    ``.png`` rounds to 1/64 px. With ``max_pixels``, what `read_flow` would refuse at that limit is refused
    before it is written: larger sizes, and a field without a known pixel.

    Raises:
        FlowError: unknown extension, values that the format cannot hold, or what could not be read again.
        OutputError: the file cannot be written.
    """
    location = Path(path)
    _, writer = _format(location)
    field = flow if isinstance(flow, Flow) else Flow(flow)
    with atomic_path(location) as temporary:
        try:
            for what, (height, width) in (("", field.size), ("a source of ", field.source_frame)):
                _check_grid(max_pixels, width, height, what)
            if max_pixels is not None and not field.known.any():
                raise FlowError(_NOTHING_KNOWN)
            writer(temporary, field)
        except GlualignError as error:
            raise type(error)(f"{location}: {error}") from error


def _check_grid(limit: int | None, width: int, height: int, what: str = "") -> None:
    if width <= 0 or height <= 0:
        raise FlowError(f"the header claims {what}{width} x {height} pixels; the file is damaged")
    if limit is not None and width * height > limit:
        raise FlowError(
            f"{what}{width} x {height} pixels exceed the limit of {limit / 1e6:g} megapixels; "
            "read_flow(..., max_pixels=None) reads it if you trust the file"
        )


def _format(path: Path) -> tuple[_Reader, _Writer]:
    if (found := _FORMATS.get(path.suffix.lower())) is None:
        kind = path.suffix or "a name without extension"
        raise FlowError(f"{path}: {kind} is not a flow format; use one of {' '.join(FLOW_EXTENSIONS)}")
    return found


def _read_flo(path: Path, stream: BinaryIO, check_grid: CheckGrid) -> StoredFlow:
    """Middlebury's: "PIEH", int32 width and height, then float32 u, v row by row, little-endian.

    Unknown pixels have a component beyond 1e9, or NaN, which some tools write.
    """
    head = stream.read(12)
    if not head.startswith(_FLO_MAGIC):
        raise FlowError("is not a .flo file (it does not start with PIEH)")
    width, height = struct.unpack("<ii", head[4:])
    return _samples(stream, "<f4", (height, width, 2), check_grid), None


def _write_flo(path: Path, flow: Flow) -> None:
    with path.open("wb") as stream:
        stream.write(_FLO_MAGIC + struct.pack("<ii", flow.width, flow.height))
        for top, bottom in strips(flow.size):
            rows = flow.data[top:bottom]
            stream.write(np.where(np.isnan(rows), _FLO_UNKNOWN, rows).astype("<f4").tobytes())


def _read_pfm(path: Path, stream: BinaryIO, check_grid: CheckGrid) -> StoredFlow:
    """A portable float map: three channels u, v, 0, rows from bottom to top, NaN where unknown."""
    match = _PFM_HEADER.match(stream.read(256))
    if match is None:
        raise FlowError("is not a colour PFM (its header is not 'PF', width, height, scale)")
    stream.seek(match.end())
    order = "<f4" if float(match[3]) < 0 else ">f4"
    return _samples(stream, order, (int(match[2]), int(match[1]), 3), check_grid)[::-1, :, :2], None


def _write_pfm(path: Path, flow: Flow) -> None:
    values = np.zeros((*flow.size, 3), "<f4")
    values[..., :2] = flow.data[::-1]
    path.write_bytes(b"PF\n%d %d\n-1.0\n" % (flow.width, flow.height) + values.tobytes())


def _samples(stream: BinaryIO, kind: str, shape: tuple[int, int, int], check_grid: CheckGrid) -> Array:
    """The four-byte samples in the rest of a file, which has to hold just as many."""
    height, width, channels = shape
    check_grid(width, height)
    start, expected = stream.tell(), 4 * height * width * channels
    found = stream.seek(0, 2) - start
    if found != expected:
        problem = "is truncated" if found < expected else "has bytes left over"
        raise FlowError(f"{problem} (its values need {expected} bytes, the file holds {found})")
    stream.seek(start)
    values = np.frombuffer(bytearray(expected), np.uint8)
    stream.readinto(values)  # type: ignore[attr-defined]
    return values.view(kind).reshape(shape)


def _read_kitti(path: Path, stream: BinaryIO, check_grid: CheckGrid) -> StoredFlow:
    """KITTI's 16-bit PNG: red = u * 64 + 2^15, green = v * 64 + 2^15, blue not 0 where known.

    Blue is 1 where the flow is known; some tools write 255.
    """
    head = stream.read(24)
    if not head.startswith(PNG_SIGNATURE):
        raise FlowError("is no PNG, and so no KITTI flow")
    check_grid(*claimed_size(head))
    stream.seek(0)
    pixels = decode_png(stream, 0, None).pixels
    if pixels.dtype != np.uint16 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise FlowError("is a picture, not a KITTI flow (a flow is 16-bit RGB); use a .flo or .npy file")
    known = pixels[..., 2]
    if not ((known == 0) | (known == known.max())).all() or known.max() not in (0, 1, 255):
        raise FlowError("is a 16-bit picture, not a KITTI flow (its blue channel is not 0 or 1)")
    data = (pixels[..., :2].astype(np.float32) - _KITTI_OFFSET) / np.float32(_KITTI_SCALE)
    data[known == 0] = np.nan
    return data, None


def _write_kitti(path: Path, flow: Flow) -> None:
    """Rounded to 1/64 px; what lies beyond -512 to 511.98 px is refused."""
    known = flow.known
    values = np.rint(flow.data[known].astype(np.float64) * _KITTI_SCALE + _KITTI_OFFSET)
    if values.size and (values.min() < 0 or values.max() > 65535):
        largest = float(np.abs(flow.data[known]).max())
        raise FlowError(f"KITTI .png holds flow within 512 px, this one reaches {largest:.1f} px; use .flo")
    pixels = np.zeros((*flow.size, 3), np.uint16)
    pixels[known, :2] = values.astype(np.uint16)
    pixels[..., 2] = known
    path.write_bytes(b"".join(png_parts(pixels, text=f"Optical flow, {DIRECTION}")))


class _Stored(NamedTuple):
    """An array of NumPy: how to open it, its bytes, and the most that what is stored of it can inflate to."""

    open: Callable[[], IO[bytes]]
    size: int
    most: int

    def values(self) -> Array:
        with self.open() as stream:
            return np.asarray(np.lib.format.read_array(stream, allow_pickle=False))


def _read_npy(path: Path, stream: BinaryIO, check_grid: CheckGrid) -> StoredFlow:
    size = stream.seek(0, 2)
    return _from_arrays({"flow": _Stored(lambda: path.open("rb"), size, size)}, check_grid)


def _write_npy(path: Path, flow: Flow) -> None:
    with path.open("wb") as stream:
        np.save(stream, flow.data.astype("<f4", copy=False), allow_pickle=False)


def _read_npz(path: Path, stream: BinaryIO, check_grid: CheckGrid) -> StoredFlow:
    """An archive with ``flow`` (H, W, 2), ``u`` and ``v`` (H, W), or just one array; never unpickled.

    Channels may come first. ``valid`` (H, W) marks known pixels, and ``direction`` is ours, where they exist.
    """
    try:
        archive = zipfile.ZipFile(stream)
    except zipfile.BadZipFile as error:
        raise FlowError("is not an .npz archive, or is truncated") from error
    arrays = {}
    for info in archive.infolist():
        name, most = info.filename.removesuffix(".npy"), info.compress_size
        if name in arrays:
            raise FlowError(f"holds two arrays named {name}; it is damaged")
        if info.compress_type:  # deflate is the only compression that NumPy uses
            most = most * MAX_DEFLATE_RATIO + 1024 if info.compress_type == zipfile.ZIP_DEFLATED else 0
        arrays[name] = _Stored(partial(archive.open, info), info.file_size, most)
    return _from_arrays(arrays, check_grid)


def _write_npz(path: Path, flow: Flow) -> None:
    arrays: dict[str, Any] = {"flow": flow.data.astype("<f4", copy=False), "direction": np.array(DIRECTION)}
    if flow.source_size is not None:
        arrays["source_size"] = np.array(flow.source_size, np.int64)
    packed = io.BytesIO()  # of a full disk, older versions of NumPy leave an error behind in their archive
    np.savez_compressed(packed, **arrays)
    path.write_bytes(packed.getbuffer())


def _from_arrays(arrays: dict[str, _Stored], check_grid: CheckGrid) -> StoredFlow:
    """The field among arrays; the shape that each announces is checked before its values are read."""
    shapes = {
        name: _shape(name, arrays[name]) for name in ("u", "v", "valid", "source_size") if name in arrays
    }
    names, shape = ["u", "v"], (*shapes.get("u", ()), 2)
    if len(shape) == 1 or shapes["u"] != shapes.get("v"):
        names = list(arrays) if len(arrays) == 1 else ["flow"]
        if names[0] not in arrays:
            raise FlowError(f"has no array named flow (it holds {', '.join(sorted(arrays)[:8]) or 'none'})")
        shape = _shape(names[0], arrays[names[0]])
    if len(shape) != 3 or 2 not in (shape[0], shape[2]):
        raise FlowError(f"is an array of shape {shape}, not a flow (height, width, 2) of real numbers")
    height, width = shape[:2] if shape[2] == 2 else shape[1:]
    check_grid(width, height)
    if "direction" in arrays and names != ["direction"]:
        _shape("direction", arrays["direction"])
        short = arrays["direction"].size <= _LONGEST_DIRECTION
        check_direction(arrays["direction"].values().tolist() if short else "a long list")
    parts = [arrays[name].values() for name in names]
    data = np.stack(parts, axis=2) if len(parts) == 2 else parts[0]
    data = data if shape[2] == 2 else np.moveaxis(data, 0, 2)
    if shapes.get("valid") == (height, width):
        data = np.where(arrays["valid"].values().astype(bool)[..., None], data, np.nan)
    sized = shapes.get("source_size") == (2,)
    return data, arrays["source_size"].values().tolist() if sized else None


def _shape(name: str, stored: _Stored) -> tuple[int, ...]:
    """The shape that an array announces; empty when it holds no real numbers."""
    with stored.open() as stream:
        try:
            version = np.lib.format.read_magic(stream)
            readers = np.lib.format.read_array_header_1_0, np.lib.format.read_array_header_2_0
            shape, _, dtype = readers[version != (1, 0)](stream)
        except Exception as error:  # numpy parses the header as Python literals; anything may come of it.
            raise FlowError("has no valid .npy header; the file is damaged or of another kind") from error
        if dtype.hasobject:
            raise FlowError("holds Python objects, which are never loaded; save it as a float32 array")
        needed = int(np.prod(shape, dtype=object)) * dtype.itemsize + stream.tell()
    if needed != stored.size or needed > stored.most:
        raise FlowError(f"is truncated or damaged (its {name:.40} needs {needed} bytes)")
    return shape if dtype.kind in "biuf" and dtype.itemsize <= 8 else ()


_Reader = Callable[[Path, BinaryIO, CheckGrid], StoredFlow]
_Writer = Callable[[Path, Flow], Any]
_FORMATS: dict[str, tuple[_Reader, _Writer]] = {
    ".flo": (_read_flo, _write_flo),
    ".png": (_read_kitti, _write_kitti),
    ".pfm": (_read_pfm, _write_pfm),
    ".npy": (_read_npy, _write_npy),
    ".npz": (_read_npz, _write_npz),
    ".flo5": (libraries.read_flo5, libraries.write_flo5),
    ".nrrd": (libraries.read_itk, libraries.write_itk),
    ".mha": (libraries.read_itk, libraries.write_itk),
}
FLOW_EXTENSIONS = tuple(_FORMATS)
WITH_SOURCE_SIZE = (".npz", ".flo5", ".nrrd", ".mha")
"""Formats that store the size of the source."""
