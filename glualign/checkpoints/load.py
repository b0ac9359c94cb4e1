"""From a name or a file of weights to a network that is ready to run.

Read are safetensors files, and ``.pth``/``.pth.tar`` files in torch's zip or older format: a bare state dict,
or a training container that holds one; keys with or without the prefix that ``DataParallel`` adds. Of the
state of a run of ``glualign train`` the averaged weights are read. What a file claims of types, sizes and
configuration is checked before anything is allocated for it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from glualign.checkpoints.registry import RegistryEntry, find_weights
from glualign.checkpoints.restricted import MAX_BYTES, StoredTensor, TorchFile
from glualign.errors import CheckpointError
from glualign.files import reading
from glualign.network import CONFIGS, GLUNet, GLUNetConfig

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
# Key lists in messages stop here: a wrong file misses hundreds.
_NAMED_KEYS = 3
# Written since torch 0.4.1; older files lack it and evaluation does not use it.
_OPTIONAL_SUFFIX = ".num_batches_tracked"
# Parts that only networks outside the supported family have, and why they are outside.
_REFUSED = {
    ("uncertainty_decoder", "corr_uncertainty_decoder"): (
        "is a PDC-Net (it has uncertainty decoders), another network than those glualign runs"
    ),
    ("corr.corr_module.", "local_corr.", "pyramid_256."): (
        "uses GOCor, whose code is licensed for non-commercial research only (CC BY-NC-SA 4.0); "
        "glualign leaves it out"
    ),
}
_PYRAMID = tuple(f"pyramid.level_{level}.0.weight" for level in (0, 2, 3, 4))
_RESIDUAL, _DENSE = "decoder4.conv_0.0.weight", "decoder4.conv0.0.weight"
_OFFICIAL_WIDTH = 128  # output channels of every decoder's first layer


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A file of weights, read but not yet put into a network."""

    kind: Literal["safetensors", "torch"]  # how it is stored
    state: dict[str, Tensor]  # by the official keys, without prefix, on the CPU, as stored
    config: GLUNetConfig  # from the file's metadata or detected from the shapes
    metadata: dict[str, str]  # what the file, or the registry, says about it

    @property
    def parameters(self) -> int:
        """Number of floating-point values, running statistics included."""
        return sum(tensor.numel() for tensor in self.state.values() if tensor.is_floating_point())


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A network with its weights."""

    model: GLUNet  # in evaluation mode, fp32, on the CPU
    name: str  # the registry's, or the file name of a file given by path
    config: GLUNetConfig  # architecture and pre-processing
    metadata: dict[str, str]  # what the file or the registry says: licence, training, metrics
    path: Path  # the file the weights came from


def load_model(name_or_path: str | os.PathLike[str]) -> LoadedModel:
    """Load a model by a name from ``glualign weights list``, or a file (.safetensors, .pth, .pth.tar).

    Nothing is downloaded: weights that are not there are fetched with ``glualign weights fetch NAME``.

    Raises:
        CheckpointError: unknown name, weights not fetched yet, or a file that is unreadable, unsafe, of
            another architecture, incomplete, or not finite. The message says which and what to do.
    """
    weights = find_weights(name_or_path)
    found = read_checkpoint(weights.path, weights.entry)
    model = build(found.state, found.config, str(weights.path))
    return LoadedModel(model, weights.name, found.config, found.metadata, weights.path)


def read_checkpoint(path: str | os.PathLike[str], entry: RegistryEntry | None = None) -> Checkpoint:
    """Read a file of weights; its pickle, if it has one, is never executed.

    Of an ``entry`` of the registry, what it knows of the file is added.

    Raises:
        CheckpointError: missing, empty, damaged, unsafe, no weights at all, an unsupported network, or
            another one than that of ``entry``.
    """
    with reading(path, CheckpointError) as stream:
        head = stream.read(1024)
        stream.seek(0)
        kind: Literal["safetensors", "torch"] = "torch"
        # Eight bytes of header length, then JSON. A torch file starts with PK or the protocol mark.
        if head[8:9] == b"{" and not head.startswith((b"PK\x03\x04", b"\x80\x02")):
            from safetensors.torch import load

            # Read, not mapped: a mapped file that is overwritten changes the weights of a live network.
            data = stream.read(MAX_BYTES + 1)
            if len(data) > MAX_BYTES:
                raise CheckpointError("has more than 512 MiB, more than any network of the family")
            kind = "safetensors"
            state: dict[str, Any] = load(data)
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
            metadata = {str(key): str(value) for key, value in header.get("__metadata__", {}).items()}
            stored = metadata.get(CONFIG_KEY)
        else:
            _refuse_other_files(head)
            opened = TorchFile(stream)
            state, stored, metadata = _torch_state(opened.content)
        for key, tensor in state.items():
            if tensor.dtype not in _DTYPES:
                raise CheckpointError(f"{key:.80} is a tensor of a kind that no weights have")
        if sum(math.prod(tensor.shape) for tensor in state.values()) > _MAX_VALUES:
            raise CheckpointError(f"claims more than {_MAX_VALUES:,} values; it is damaged or no GLU-Net")
        if kind == "torch":
            state = opened.tensors(state)
        if all(key.startswith(_PREFIX) for key in state):
            state = {key[len(_PREFIX) :]: tensor for key, tensor in state.items()}
        if stored is None:
            config = detect_config({key: tuple(tensor.shape) for key, tensor in state.items()})
        else:
            config = _stored_config(stored)
    if entry is not None:
        metadata = {**entry.metadata(), **metadata}
        if entry.source != "embedded":
            expected = CONFIGS[entry.model]
            if replace(config, model=entry.model, truncate_to_uint8=expected.truncate_to_uint8) != expected:
                raise CheckpointError(
                    f"{entry.file}: holds {config.model}, but {entry.name} is {entry.model}"
                )
            config = replace(expected, **entry.settings)
    return Checkpoint(kind, state, config, metadata)


def build(state: Mapping[str, Tensor], config: GLUNetConfig, where: str) -> GLUNet:
    """A network in evaluation mode with weights by official key, in fp32.

    Nothing is filled with initial values that are overwritten at once. Messages begin with ``where``, usually
    the file.

    Raises:
        CheckpointError: the configuration's numbers, which come from a file, describe no network; missing or
            unexpected keys, wrong shapes, NaN or infinite values.
    """
    try:
        with torch.device("meta"):
            network = GLUNet(config)
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]  # torch appends its stack
        raise CheckpointError(f"{where}: its stored configuration is unusable ({reason})") from error
    expected = network.state_dict()
    problems = {
        "missing": [key for key in expected if key not in state and not key.endswith(_OPTIONAL_SUFFIX)],
        "unexpected": [key for key in state if key not in expected],
        "of wrong shape": [
            f"{key} {tuple(state[key].shape)} instead of {tuple(slot.shape)}"
            for key, slot in expected.items()
            if key in state and state[key].shape != slot.shape
        ],
    }
    told = "; ".join(f"{what} {_listed(keys)}" for what, keys in problems.items() if keys)
    if told:
        raise CheckpointError(f"{where}: does not fit {config.model}: {told}")
    bad = [key for key, tensor in state.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise CheckpointError(f"{where}: NaN or infinite values in {_listed(bad)}; the file is damaged")
    whole = {
        key: (state[key] if key in state else torch.zeros(slot.shape)).to(slot.dtype).contiguous()
        for key, slot in expected.items()
    }
    network.load_state_dict(whole, strict=True, assign=True)
    return network.eval()


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED_KEYS
    return ", ".join(names[:_NAMED_KEYS]) + (f" and {more} more" if more > 0 else "")


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


def _torch_state(content: Any) -> tuple[dict[str, Any], str | None, dict[str, str]]:
    """State dict, stored configuration and metadata of what a torch file holds."""
    if not isinstance(content, dict):
        raise CheckpointError("holds no state dict (a mapping of names to tensors)")
    if _TRAINING_KEYS.issubset(content):
        # A run of this project: the averaged weights, with its recipe and its progress.
        if content.get("pyramid"):
            raise CheckpointError("the run is still in a features stage; its network is not whole yet")
        if not all(isinstance(content[key], dict) for key in _TRAINING_KEYS):
            raise CheckpointError("damaged training state")
        stored, config = content["average"], _as_json(content["recipe"].get("model"))
        metadata = {key: _as_json(content[key]) for key in ("recipe", "progress")}
    else:
        # Containers first: beside the state dict they may hold a lone tensor, such as the best loss.
        inner = [each for each in map(content.get, _CONTAINER_KEYS) if isinstance(each, dict)]
        states = [s for s in (*inner, content) if any(isinstance(v, StoredTensor) for v in s.values())]
        if not states:
            raise CheckpointError("holds no state dict (a mapping of names to tensors)")
        stored, config, metadata = states[0], None, {}
    for key, value in stored.items():
        if not isinstance(key, str) or not isinstance(value, StoredTensor):
            raise CheckpointError(f"entry {key!r:.80} of its state dict is no tensor with a name")
    return stored, config, metadata


def _as_json(value: Any) -> str:
    """Metadata as JSON; what has no such form (a tensor, a date ...) becomes the name of its type."""
    parts, length = [], 0
    try:
        for part in json.JSONEncoder(default=str).iterencode(value):
            parts.append(part)
            length += len(part) + 8
            if length > _MAX_TEXT:
                raise RecursionError
    except RecursionError as error:
        raise CheckpointError("its metadata is nested or repeated beyond reason; it is damaged") from error
    return "".join(parts)


def _stored_config(stored: str) -> GLUNetConfig:
    """The configuration that a file carries as JSON text."""
    try:
        values = json.loads(stored)
        if not isinstance(values, Mapping):
            raise TypeError("not a mapping of names to values")
        return GLUNetConfig.from_dict(values)
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise CheckpointError(f"its stored configuration is unusable ({error})") from error


def detect_config(shapes: Mapping[str, tuple[int, ...]]) -> GLUNetConfig:
    """The configuration of an official checkpoint, from the shape of every tensor by key without prefix.

    GLU-Net and DenseMatching files of the same model cannot be told apart; they get the GLU-Net repository's
    pre-processing. GLU-Net-star and WarpC-GLU-Net are alike too; both are called ``glunet-star``.

    Raises:
        CheckpointError: a GOCor or PDC-Net checkpoint, a network that is no GLU-Net, or one whose settings
            its shapes do not show.
    """
    reasons = [reason for parts, reason in _REFUSED.items() if any(key.startswith(parts) for key in shapes)]
    if reasons:
        raise CheckpointError(f"this checkpoint {'; it '.join(reasons)}")
    semantic = "semantic-" if any(key.startswith("NeighConsensus.") for key in shapes) else ""
    star, first = ("-star", _RESIDUAL) if _RESIDUAL in shapes else ("", _DENSE)
    name = f"{semantic}glunet{star}{'' if 'deconv4.weight' in shapes else '-interp'}"
    if name not in CONFIGS or any(key not in shapes for key in (*_PYRAMID, first)):
        keys = ", ".join(f"{key:.60}" for key in sorted(shapes)[:3])
        raise CheckpointError(f"not a GLU-Net checkpoint (its first keys are {keys or 'none'})")
    config = CONFIGS[name]
    outputs = tuple(shapes.get(key, ())[:1] for key in (*_PYRAMID, first, "decoder3.conv_0.0.weight"))
    if outputs != tuple((n,) for n in (*config.pyramid_channels, _OFFICIAL_WIDTH, _OFFICIAL_WIDTH)):
        raise CheckpointError(
            "a GLU-Net of unofficial size without its configuration; files written by "
            "`glualign weights export` carry it"
        )
    return config
