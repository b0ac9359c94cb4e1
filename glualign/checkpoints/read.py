"""Reading a file of weights of any supported layout into one plain state dict.

Safetensors files, and ``.pth``/``.pth.tar`` files in torch's zip or older format: a bare state dict, or a
training container that holds one; keys with or without the prefix that ``DataParallel`` adds. Of the
state of a run of ``glualign train`` the averaged weights are read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from glualign.checkpoints.detect import detect_config
from glualign.checkpoints.restricted import read_torch_file
from glualign.checkpoints.untrusted import check_tensors, plain, stored_config
from glualign.errors import CheckpointError
from glualign.network.config import GLUNetConfig

CONFIG_KEY = "glualign.config"
"""Key of a safetensors file's metadata that holds the network's configuration as JSON."""

# Where training containers keep the state dict, the most specific name first.
_CONTAINER_KEYS = ("state_dict", "model_state_dict", "model", "net")
# What `glualign train` keeps to resume from.
_TRAINING_KEYS = {"recipe", "progress", "average"}
_PREFIX = "module."
_HEAD_BYTES = 1024


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
    _refuse_what_is_no_checkpoint(file)
    if _is_safetensors(file):
        state, metadata = _read_safetensors(file)
        return Checkpoint(
            file, "safetensors", state, _config(file, state, metadata.get(CONFIG_KEY)), metadata
        )
    container = read_torch_file(file)
    if not isinstance(container, Mapping):
        raise CheckpointError(f"{file}: holds no state dict (a mapping of names to tensors)")
    if _TRAINING_KEYS.issubset(container):
        return _read_training_state(file, container)
    state = _state_dict(file, container)
    facts = container.get("metadata")
    metadata = {k: str(v) for k, v in _plain(file, facts).items()} if isinstance(facts, Mapping) else {}
    return Checkpoint(file, "torch", state, _config(file, state, container.get("config")), metadata)


def _refuse_what_is_no_checkpoint(path: Path) -> None:
    """Name the usual wrong files for what they are, before any parser meets them."""
    try:
        if path.is_dir():
            raise CheckpointError(f"{path}: is a folder; give a file of weights")
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error})") from error
    if size == 0:
        raise CheckpointError(f"{path}: is empty; fetch or copy it again")
    if looks_like_html(head):
        raise CheckpointError(f"{path}: is a web page, not weights: a refused download; fetch it again")
    if head.startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path}: is a Git LFS pointer, not the weights; run `git lfs pull`")
    if not (_is_safetensors(path) or head.startswith((b"PK\x03\x04", b"\x80"))):
        raise CheckpointError(f"{path}: is neither safetensors nor a torch file (.pth, .pth.tar)")


def looks_like_html(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a web page."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return text.startswith((b"<!doctype html", b"<html", b"<head", b"<?xml", b"<script", b"<body"))


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as stream:
        head = stream.read(9)
    # Eight bytes of header length, then JSON. A torch file starts with PK or the pickle's protocol mark.
    return len(head) == 9 and head[8:9] == b"{" and not head.startswith((b"PK\x03\x04", b"\x80\x02"))


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = dict(file.metadata() or {})
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged or incomplete safetensors; fetch or copy it again") from error
    return _without_prefix(state), metadata


def _config(path: Path, state: Mapping[str, Tensor], stored: Any) -> GLUNetConfig:
    try:
        check_tensors(state)
        if stored is None:
            return detect_config({key: tuple(tensor.shape) for key, tensor in state.items()})
        return stored_config(stored)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def _plain(path: Path, facts: Mapping[Any, Any]) -> dict[str, Any]:
    try:
        return dict(plain(facts))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def _read_training_state(path: Path, container: Mapping[Any, Any]) -> Checkpoint:
    """The averaged weights of a run of this project, with its recipe and its progress."""
    if container.get("pyramid") is not None:
        raise CheckpointError(f"{path}: the run is still in a features stage; its network is not whole yet")
    recipe, progress, average = (container[key] for key in ("recipe", "progress", "average"))
    if not all(isinstance(part, Mapping) for part in (recipe, progress, average)):
        raise CheckpointError(f"{path}: damaged training state")
    state = _tensors(path, average)
    metadata = {
        "recipe": json.dumps(_plain(path, recipe)),
        "progress": json.dumps(_plain(path, progress)),
    }
    return Checkpoint(path, "torch", state, _config(path, state, recipe.get("model")), metadata)


def _state_dict(path: Path, container: Mapping[Any, Any]) -> dict[str, Tensor]:
    # Containers first: beside the state dict they may hold a lone tensor, such as the best loss.
    for candidate in (*(container.get(key) for key in _CONTAINER_KEYS), container):
        if isinstance(candidate, Mapping) and any(isinstance(v, Tensor) for v in candidate.values()):
            return _without_prefix(_tensors(path, candidate))
    raise CheckpointError(f"{path}: holds no state dict (a mapping of names to tensors)")


def _tensors(path: Path, candidate: Mapping[Any, Any]) -> dict[str, Tensor]:
    for key, value in candidate.items():
        if not isinstance(key, str):
            raise CheckpointError(f"{path}: its state dict has a key of type {type(key).__name__}")
        if not isinstance(value, Tensor):
            raise CheckpointError(f"{path}: entry {key!r} of its state dict is not a tensor")
    return {key: value.detach() for key, value in candidate.items()}


def _without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    if all(key.startswith(_PREFIX) for key in state):
        return {key[len(_PREFIX) :]: tensor for key, tensor in state.items()}
    return state


def is_finite(tensor: Tensor) -> bool:
    """Whether a tensor holds neither NaN nor infinity; true for integers."""
    return not tensor.is_floating_point() or bool(torch.isfinite(tensor).all())
