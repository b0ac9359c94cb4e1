"""Reading files that ``torch.save`` wrote, without ever executing what they contain.

The pickle inside a ``.pth`` file is a program. It is run only by torch's own restricted unpickler
(``weights_only=True``), which rebuilds tensors and plain containers and refuses the rest. Training
containers of DenseMatching hold objects of classes that are not installed here; for the time of reading, each
such name is bound to an inert stand-in: its instances can be made and filled, which does nothing, but it
cannot be called.
"""

from __future__ import annotations

import _compat_pickle
import pickle
import pickletools
import threading
import warnings
import zipfile
from pathlib import Path
from typing import IO, Any

import torch

from glualign.errors import CheckpointError

# A file of the old format is a run of pickles: magic number, protocol, system, the object, storage keys.
_LEGACY_PICKLES = 5
# Far above any member of the family (an optimiser's state included), far below what would exhaust a machine.
_MAX_UNPACKED_BYTES = 4 << 30
_MAX_PICKLE_BYTES = 64 << 20

# Numbers and small containers that a trainer's statistics may hold. They are called when read; what they make
# is not used, so the call goes to a stand-in as well.
_CALLED_HARMLESSLY = {
    "builtins.frozenset",
    "builtins.slice",
    "collections.defaultdict",
    "collections.deque",
    "datetime.datetime",
    "datetime.timedelta",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
}
# torch refuses these modules before it looks for stand-ins.
_BLOCKED_BY_TORCH = ("os", "posix", "nt", "sys")


# The table that torch looks stand-ins up in belongs to the whole process.
_READING = threading.Lock()


class _RefusedError(Exception):
    """What a file wants to do that no file of weights needs."""


class _Uncallable(type):
    """A class that can be instantiated by the pickle's object opcode, but not called as a function."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        raise _RefusedError(f"wants to call {cls.__module__}.{cls.__qualname__} when read")


class _StandIn(metaclass=_Uncallable):
    """In the place of a class that this program does not have: takes any content, keeps none."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return object.__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass


class _CallableStandIn:
    """A stand-in that may also be called."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def read_torch_file(path: Path) -> Any:
    """The object in a ``.pth`` file, tensors on the CPU; instances of unknown classes are empty stand-ins.

    Both the zip format and the older one are read.

    Raises:
        CheckpointError: the file is damaged, or would run code.
    """
    names: set[str] = set()
    try:
        names = _global_names(path)
        stand_ins = [_stand_in(name) for name in names]
        with _READING, warnings.catch_warnings(), torch.serialization.safe_globals(stand_ins):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except _RefusedError as error:
        raise CheckpointError(f"{path}: refused, it {error}; weights never need that") from error
    except pickle.UnpicklingError as error:
        blocked = sorted(name for name in names if name.split(".")[0] in _BLOCKED_BY_TORCH)
        if blocked:
            raise CheckpointError(
                f"{path}: refused, it wants to use {blocked[0]} when read; weights never need that"
            ) from error
        raise CheckpointError(f"{path}: damaged, or more than weights; nothing of it was run") from error
    except MemoryError as error:
        raise CheckpointError(f"{path}: damaged, or larger than the memory of this machine") from error
    except Exception as error:
        # Damage surfaces as almost any exception (struct, Unicode, key, index, runtime ...), hence the width.
        raise CheckpointError(f"{path}: damaged or incomplete; fetch or copy it again") from error


def _stand_in(full_name: str) -> Any:
    """An inert class under the given name, which is how torch finds it."""
    module, _, name = full_name.rpartition(".")
    body = {"__module__": module, "__qualname__": name}
    if full_name in _CALLED_HARMLESSLY:
        return type(name, (_CallableStandIn,), body)
    return _Uncallable(name, (_StandIn,), body)


def _global_names(path: Path) -> set[str]:
    """Every global name in the file's pickles, found by reading the opcodes without executing them.

    Names that torch knows are among them: torch looks there first, so a stand-in never takes their place.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > _MAX_UNPACKED_BYTES:
                raise _RefusedError("unpacks to more than 4 GiB")
            pickles = [member for member in archive.infolist() if member.filename.endswith("/data.pkl")]
            names: set[str] = set()
            for member in pickles:
                if member.file_size > _MAX_PICKLE_BYTES:
                    raise _RefusedError("holds a pickle of more than 64 MiB")
                with archive.open(member) as stream:
                    names |= _names_in_pickle(stream)
            return names
    with path.open("rb") as stream:
        return set().union(*(_names_in_pickle(stream) for _ in range(_LEGACY_PICKLES)))


def _names_in_pickle(stream: IO[bytes]) -> set[str]:
    """Names that one pickle of ``stream`` refers to; the stream is left behind it."""
    names = set()
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name == "GLOBAL":
            module, name = str(argument).split(" ", 1)
            names.add(f"{module}.{name}")
            # Protocol 2 spells some names as Python 2 did; torch translates a part of them.
            module, name = _compat_pickle.NAME_MAPPING.get(
                (module, name), (_compat_pickle.IMPORT_MAPPING.get(module, module), name)
            )
            names.add(f"{module}.{name}")
    return names
