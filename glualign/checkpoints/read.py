"""Reading a file of weights of any supported layout into one plain state dict.

Safetensors files, and ``.pth``/``.pth.tar`` files in torch's zip or older format: a bare state dict, or a
training container that holds one; keys with or without the prefix that ``DataParallel`` adds. Of the
state of a run of ``glualign train`` the averaged weights are read. What a file claims of types, sizes and
configuration is checked before anything is allocated for it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

import torch
from torch import Tensor

from glualign.checkpoints.detect import detect_config
from glualign.checkpoints.registry import Weights
from glualign.checkpoints.restricted import MAX_BYTES, StoredTensor, TorchFile
from glualign.errors import CheckpointError
from glualign.files import reading
from glualign.network.config import GLUNetConfig

CONFIG_KEY = "glualign.config"
"""Key of a safetensors file's metadata that holds the network's configuration as JSON."""

# Where training containers keep the state dict, the most specific name first.
_CONTAINER_KEYS = ("state_dict", "model_state_dict", "model", "net")
# What `glualign train` keeps to resume from.
_TRAINING_KEYS = {"recipe", "progress", "average"}
_PREFIX = "module."
# An expanded tensor claims any size with one number in the file. The largest member has 1.4 x 10^7 values.
_MAX_VALUES = 1 << 26
_DTYPES = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int32, torch.int64}
# Objects that refer to each other multiply when they are written out. A recipe with its progress takes 10^4.
_MAX_TEXT = 2_000_000
_MAX_DEPTH = 50


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A file of weights, read but not yet put into a network.

    Attributes:
        path: the file.
        kind: how it is stored.
        state: tensors by the official keys, without prefix, on the CPU, as stored.
        config: the architecture, from the file's metadata or detected from the shapes.
        metadata: what the file says about itself.
    """

    path: Path
    kind: Literal["safetensors", "torch"]
    state: dict[str, Tensor]
    config: GLUNetConfig
    metadata: dict[str, str]

    @property
    def parameters(self) -> int:
        """Number of floating-point values, running statistics included."""
        return sum(tensor.numel() for tensor in self.state.values() if tensor.is_floating_point())


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a file of weights; its pickle, if it has one, is never executed.

    Raises:
        CheckpointError: missing, empty, damaged, unsafe, no weights at all, or an unsupported network.
    """
    file = Path(path)
    with reading(file, CheckpointError) as stream:
        head = stream.read(1024)
        stream.seek(0)
        # Eight bytes of header length, then JSON. A torch file starts with PK or the protocol mark.
        if head[8:9] == b"{" and not head.startswith((b"PK\x03\x04", b"\x80\x02")):
            return _read_safetensors(file, stream)
        _refuse_other_files(head)
        return _read_torch(file, stream)


def read_weights(weights: Weights) -> Checkpoint:
    """As `read_checkpoint`, completed by what the registry knows of the file.

    Raises:
        CheckpointError: as `read_checkpoint`, or the file holds another architecture than its entry.
    """
    checkpoint = read_checkpoint(weights.path)
    if (entry := weights.entry) is None:
        return checkpoint
    metadata = {**entry.metadata(), **checkpoint.metadata}
    return replace(checkpoint, config=entry.configure(checkpoint.config), metadata=metadata)


def _refuse_other_files(head: bytes) -> None:
    """Name the usual wrong files for what they are, before any parser meets them."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        raise CheckpointError("is empty; fetch or copy it again")
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml", b"<script", b"<body")):
        raise CheckpointError("is a web page, not weights: a refused download; fetch it again")
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError("is a Git LFS pointer, not the weights; run `git lfs pull`")
    if not head.startswith((b"PK\x03\x04", b"\x80")):
        raise CheckpointError("is neither safetensors nor a torch file (.pth, .pth.tar)")


def _read_safetensors(file: Path, stream: BinaryIO) -> Checkpoint:
    from safetensors.torch import load

    # Read, not mapped into memory: a mapped file that is overwritten changes the weights of a live network.
    data = stream.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise CheckpointError("has more than 512 MiB, more than any network of the family")
    state = load(data)
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    metadata = {str(key): str(value) for key, value in header.get("__metadata__", {}).items()}
    _check_tensors({key: (tensor.dtype, tuple(tensor.shape)) for key, tensor in state.items()})
    config = _config(state := _without_prefix(state), metadata.get(CONFIG_KEY))
    return Checkpoint(file, "safetensors", state, config, metadata)


def _read_torch(file: Path, stream: BinaryIO) -> Checkpoint:
    opened = TorchFile(stream)
    content = opened.content
    if not isinstance(content, dict):
        raise CheckpointError("holds no state dict (a mapping of names to tensors)")
    if _TRAINING_KEYS.issubset(content):
        # A run of this project: the averaged weights, with its recipe and its progress.
        if content.get("pyramid") is not None:
            raise CheckpointError("the run is still in a features stage; its network is not whole yet")
        recipe, stored = content["recipe"], content["average"]
        if not all(isinstance(content[key], dict) for key in _TRAINING_KEYS):
            raise CheckpointError("damaged training state")
        metadata = {key: json.dumps(_json_values(content[key])) for key in ("recipe", "progress")}
        config = recipe.get("model")
    else:
        stored = _state_dict(content)
        facts = _json_values(content.get("metadata"))
        metadata = {key: str(value) for key, value in facts.items()} if isinstance(facts, dict) else {}
        config = content.get("config")
    for key, value in stored.items():
        if not isinstance(key, str):
            raise CheckpointError(f"its state dict has a key of type {type(key).__name__}")
        if not isinstance(value, StoredTensor):
            raise CheckpointError(f"entry {key!r:.80} of its state dict is not a tensor")
    _check_tensors({key: (tensor.dtype, tensor.shape) for key, tensor in stored.items()})
    state = _without_prefix(opened.tensors(stored))
    return Checkpoint(file, "torch", state, _config(state, config), metadata)


def _state_dict(content: dict[Any, Any]) -> dict[Any, Any]:
    # Containers first: beside the state dict they may hold a lone tensor, such as the best loss.
    for candidate in (*(content.get(key) for key in _CONTAINER_KEYS), content):
        if isinstance(candidate, dict) and any(isinstance(v, StoredTensor) for v in candidate.values()):
            return candidate
    raise CheckpointError("holds no state dict (a mapping of names to tensors)")


def _without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    prefixed = all(key.startswith(_PREFIX) for key in state)
    return {key[len(_PREFIX) :]: tensor for key, tensor in state.items()} if prefixed else state


def _check_tensors(tensors: Mapping[str, tuple[torch.dtype | None, tuple[int, ...]]]) -> None:
    """Refuse types and shapes that no weights have: quantised, complex, or too many values."""
    total = 0
    for key, (dtype, shape) in tensors.items():
        if dtype not in _DTYPES:
            raise CheckpointError(f"{key:.80} is a tensor of a kind that no weights have")
        total += math.prod(shape)
        if total > _MAX_VALUES:
            raise CheckpointError(f"claims more than {_MAX_VALUES:,} values; it is damaged or no GLU-Net")


def _json_values(value: Any) -> Any:
    """Metadata as JSON values; what has no such form (a tensor, a date ...) becomes the name of its type.

    Raises:
        CheckpointError: too deep or too much of it.
    """
    written = 0

    def convert(value: Any, depth: int) -> Any:
        nonlocal written
        written += len(value) + 8 if isinstance(value, str) else 8
        if written > _MAX_TEXT or depth > _MAX_DEPTH:
            raise CheckpointError("its metadata is nested or repeated beyond reason; it is damaged")
        if isinstance(value, Mapping):
            return {str(convert(k, depth + 1)): convert(v, depth + 1) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [convert(v, depth + 1) for v in value]
        return value if value is None or isinstance(value, (str, int, float)) else str(value)

    return convert(value, 0)


def _config(state: Mapping[str, Tensor], stored: Any) -> GLUNetConfig:
    """The configuration that a file carries, as JSON text or a mapping, or that its shapes show.

    Raises:
        CheckpointError: not JSON, an unknown key, or a value of the wrong type.
    """
    if stored is None:
        return detect_config({key: tuple(tensor.shape) for key, tensor in state.items()})
    try:
        values = _json_values(json.loads(stored) if isinstance(stored, str) else stored)
        if not isinstance(values, Mapping):
            raise TypeError("not a mapping of names to values")
        config = GLUNetConfig.from_dict(values)
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise CheckpointError(f"its stored configuration is unusable ({error})") from error
    for field in fields(config):
        value, usual = getattr(config, field.name), field.default
        sound = type(value) is type(usual) or (isinstance(usual, float) and type(value) is int)
        if not sound or (isinstance(usual, float) and not math.isfinite(value)):
            raise CheckpointError(f"its stored configuration is unusable ({field.name} is {value!r:.40})")
    return config
