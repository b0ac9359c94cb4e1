"""Reading the files that ``torch.save`` writes as data, never as a program.

The pickle inside a ``.pth`` file is a program for a stack machine. This module runs the few opcodes that
weights need, on values of its own: plain containers, numbers, texts, descriptions of tensors, and `Opaque` in
the place of everything else. Nothing is imported or called, and opcodes, bytes and keys are bounded: a small
file cannot take long or need much memory. Both of torch's formats are read: the zip archive, and the older
run of five pickles with the storages behind them.
"""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch
from torch import Tensor

from glualign.errors import CheckpointError

MAX_BYTES = 1 << 29
"""Of the tensors that are read; the largest network of the family has 55 MB in fp32."""
# A training state with its optimiser has 58,000 opcodes in 0.2 MB.
_MAX_PICKLE_BYTES = 16 << 20
_MAX_OPCODES = 400_000
_MAX_DIMENSIONS = 8
_BIG_ENDIAN = "was written on a big-endian machine, which is not supported"

_KINDS = {"Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16, "Double": torch.float64}
_KINDS |= {"Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8}
_KINDS |= {"Byte": torch.uint8, "Bool": torch.bool}
_DTYPES = {f"torch.{name}Storage": dtype for name, dtype in _KINDS.items()}
# Calls that a trainer's statistics need. Of the values they make only the name is kept.
_HARMLESS_CALLS = re.compile(
    r"_codecs\.encode|builtins\.(complex|frozenset|set|slice)|collections\.(Counter|defaultdict|deque)|"
    r"datetime\.(datetime|timedelta)|numpy\.(_?core\.multiarray\.(_reconstruct|scalar)|dtype)|"
    r"pathlib\.(Posix|Windows)Path|torch\.(Size|device)"
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_CONTAINERS = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": list}
_TAKES = dict.fromkeys(("TUPLE1", "APPEND", "BUILD", "BINPERSID"), 1)
_TAKES |= {"TUPLE2": 2, "SETITEM": 2, "REDUCE": 2, "NEWOBJ": 2, "TUPLE3": 3}
_TAKES_TO_MARK = {"TUPLE", "APPENDS", "SETITEMS"}
_VALUES = {"BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING", "LONG1"}


@dataclass(frozen=True, eq=False)
class Opaque:
    """A class, function or object that the file names; its content is dropped."""

    name: str

    def __str__(self) -> str:
        return self.name.rpartition(".")[2]


@dataclass(frozen=True, eq=False)
class _Storage:
    kind: str
    key: str
    values: int


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """A tensor in the file, not read yet: a view of a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def __str__(self) -> str:
        return "Tensor"

    @property
    def dtype(self) -> torch.dtype | None:
        """None for kinds of values that no weights have."""
        return _DTYPES.get(self.storage.kind)


class TorchFile:
    """An opened ``.pth`` file: ``content`` is what was saved, with `StoredTensor` and `Opaque` for objects.

    Raises:
        CheckpointError: the file would run code, is no file of weights, or exceeds the limits.
        Exception: of almost any kind, where the file is damaged.
    """

    def __init__(self, stream: BinaryIO) -> None:
        open_ = _open_zip if zipfile.is_zipfile(stream) else _open_legacy
        self.content, self._read = open_(stream)

    def tensors(self, state: Mapping[str, Any]) -> dict[str, Tensor]:
        """The tensors of a mapping to `StoredTensor`, read from the file; each storage is read once."""
        storages = {tensor.storage.key: tensor.storage for tensor in state.values()}
        sizes = {key: storage.values * _DTYPES[storage.kind].itemsize for key, storage in storages.items()}
        if sum(sizes.values()) > MAX_BYTES:
            raise CheckpointError("claims more than 512 MiB of weights; it is damaged or no GLU-Net")
        buffers: dict[str, Tensor] = {}
        for key, storage in storages.items():
            data, dtype = bytearray(self._read(storage, sizes[key])), _DTYPES[storage.kind]
            buffers[key] = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        return {
            key: buffers[tensor.storage.key].as_strided(tensor.shape, tensor.stride, tensor.offset)
            for key, tensor in state.items()
        }


_Reader = Callable[[_Storage, int], bytes]
"""Gives so many bytes of a storage."""


def _open_zip(stream: BinaryIO) -> tuple[Any, _Reader]:
    archive = zipfile.ZipFile(stream)
    pickles = [info for info in archive.infolist() if info.filename.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise CheckpointError("is a zip archive, but not one of torch; import it instead")
    folder = pickles[0].filename.removesuffix("data.pkl")

    def read(name: str, size: int | None = None) -> bytes:
        info = archive.getinfo(folder + name)
        if info.compress_type != zipfile.ZIP_STORED:
            raise CheckpointError("is a compressed archive, which torch never writes; unpack it first")
        if info.file_size > _MAX_PICKLE_BYTES if size is None else info.file_size != size:
            raise CheckpointError(f"claims {info.file_size:,} bytes for {name}; it is damaged")
        return archive.read(info)

    if folder + "byteorder" in archive.NameToInfo and read("byteorder") != b"little":
        raise CheckpointError(_BIG_ENDIAN)
    content = _unpickle(io.BytesIO(read("data.pkl")), {})
    return content, lambda storage, size: read(f"data/{storage.key}", size)


def _open_legacy(stream: BinaryIO) -> tuple[Any, _Reader]:
    stream.seek(0)
    pickles = io.BytesIO(stream.read(_MAX_PICKLE_BYTES))
    magic, version, system = (_unpickle(pickles, {}) for _ in range(3))
    if magic != 0x1950A86A20F9469CFC6C or version != 1001:
        raise CheckpointError("is a pickle, but not one of torch's; nothing of it was run")
    if isinstance(system, dict) and system.get("little_endian") is False:
        raise CheckpointError(_BIG_ENDIAN)
    storages: dict[str, _Storage] = {}
    content, places = _unpickle(pickles, storages), {}
    keys, offset = _unpickle(pickles, {}), pickles.tell()
    for key in keys:
        places[key] = offset
        offset += 8 + storages[key].values * _DTYPES[storages[key].kind].itemsize

    def read(storage: _Storage, size: int) -> bytes:
        stream.seek(places[storage.key])
        if int.from_bytes(stream.read(8), "little") != storage.values:
            raise ValueError("a storage is not where it should be")
        data = stream.read(size)
        if len(data) != size:
            raise EOFError("the file is truncated")
        return data

    return content, read


def _unpickle(stream: io.BytesIO, storages: dict[str, _Storage]) -> Any:
    """The value of the next pickle in ``stream``; the storages it refers to are added to ``storages``."""
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[Any, Any] = {}
    count = 0
    for opcode, argument, _ in pickletools.genops(stream):
        name = opcode.name
        count += 20 if name == "GLOBAL" else 1  # a name takes twenty times as long as other opcodes
        if count > _MAX_OPCODES:
            raise CheckpointError(f"refused, it has more than {_MAX_OPCODES:,} opcodes; weights have fewer")
        start = marks.pop() if name in _TAKES_TO_MARK else len(stack) - _TAKES.get(name, 0)
        if not 0 <= start <= len(stack):
            raise IndexError("the stack is empty")
        values = stack[start:]
        del stack[start:]
        if name in ("BINPUT", "LONG_BINPUT"):
            memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(memo[argument])
        elif name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _CONTAINERS:
            stack.append(_CONTAINERS[name]())
        elif name == "GLOBAL":
            stack.append(Opaque(str(argument).replace(" ", ".", 1).replace("__builtin__.", "builtins.")))
        elif name == "MARK":
            marks.append(len(stack))
        elif name.startswith("TUPLE"):
            stack.append(tuple(values))
        elif name.startswith("APPEND"):
            if isinstance(stack[-1], list):
                stack[-1].extend(values)
        elif name.startswith("SETITEM"):
            for key, value in zip(values[::2], values[1::2], strict=True):
                # The hash of other types is not random, or follows references without end.
                if not isinstance(key, str) and not (isinstance(key, int) and abs(key) < 1 << 63):
                    raise CheckpointError("refused, it has keys that are no names; weights never need that")
                if isinstance(stack[-1], dict):
                    stack[-1][key] = value
        elif name == "REDUCE":
            stack.append(_called(*values))
        elif name == "NEWOBJ":
            stack.append(Opaque(values[0].name))
        elif name == "BINPERSID":
            storage = _storage(values[0])
            if storages.setdefault(storage.key, storage).kind != storage.kind:
                raise ValueError("one storage of two types")
            stack.append(storage)
        elif name == "STOP":
            return stack.pop()
        elif name not in ("PROTO", "BUILD"):  # BUILD: attributes of an object, of which only the name is kept
            raise CheckpointError(f"refused as damaged: it uses the opcode {name}, which weights never need")
    raise EOFError("the pickle has no end")


def _called(function: Any, arguments: tuple[Any, ...]) -> Any:
    """What stands for the result of a call."""
    name = function.name
    if name in ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor"):
        return _tensor(*arguments[:4])
    if name == "torch._utils._rebuild_parameter":
        return arguments[0]
    if name == "collections.OrderedDict" and not arguments:
        return {}
    if not _HARMLESS_CALLS.fullmatch(name):
        raise CheckpointError(f"refused, it wants to call {name} when read; weights never need that")
    return Opaque(name)


def _tensor(storage: Any, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> StoredTensor:
    if not isinstance(storage, _Storage) or not len(shape) == len(stride) <= _MAX_DIMENSIONS:
        raise ValueError("a tensor without storage or of impossible shape")
    last = offset + sum((length - 1) * step for length, step in zip(shape, stride, strict=True))
    if min((offset, *shape, *stride)) < 0 or (0 not in shape and last >= storage.values):
        raise ValueError("a tensor beyond its storage")
    return StoredTensor(storage, offset, shape, stride)


def _storage(identifier: tuple[Any, ...]) -> _Storage:
    """The storage that a persistent id names: ``("storage", type, key, device, number of values)``."""
    if len(identifier) not in (5, 6) or identifier[0] != "storage" or identifier[5:] not in ((), (None,)):
        raise CheckpointError("refused, it refers to more than storages; weights never need that")
    _, kind, key, _, values = identifier[:5]
    if not isinstance(key, str) or not isinstance(values, int) or values < 0:
        raise ValueError("a storage without key or size")
    return _Storage(kind.name, key, values)
