"""From a name or a file to a network that is ready to run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from glualign.checkpoints.read import Checkpoint, read_weights
from glualign.checkpoints.registry import find_weights
from glualign.errors import CheckpointError
from glualign.network import GLUNet, GLUNetConfig

# Key lists in messages stop here: a wrong file misses hundreds.
_NAMED_KEYS = 3
# Written since torch 0.4.1; older files lack it and evaluation does not use it.
_OPTIONAL_SUFFIX = ".num_batches_tracked"


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A network with its weights.

    Attributes:
        model: in evaluation mode, fp32, on the CPU.
        name: the registry's name, or the file name of a file given by path.
        config: architecture and pre-processing.
        metadata: what the file or the registry says: licence, training, metrics.
        path: the file the weights came from.
    """

    model: GLUNet
    name: str
    config: GLUNetConfig
    metadata: dict[str, str]
    path: Path


def load_model(name_or_path: str | os.PathLike[str]) -> LoadedModel:
    """Load a model by its name in the registry, or from a file of weights.

    Nothing is downloaded: weights that are not there are fetched with ``glualign weights fetch NAME``.

    Args:
        name_or_path: a name from ``glualign weights list``, or a file (.safetensors, .pth, .pth.tar).

    Raises:
        CheckpointError: unknown name, weights not fetched yet, or a file that is unreadable, unsafe, of
            another architecture, incomplete, or not finite. The message says which and what to do.
    """
    weights = find_weights(name_or_path)
    found = read_weights(weights)
    return LoadedModel(build(found), weights.name, found.config, found.metadata, weights.path)


def build(checkpoint: Checkpoint) -> GLUNet:
    """The network of a checkpoint with its weights: every tensor present, of the right shape and finite.

    Raises:
        CheckpointError: something does not fit; the message names it.
    """
    where = str(checkpoint.path)
    model = skeleton(checkpoint.config, where=where)
    model.load_state_dict(complete(checkpoint.state, model, where=where), strict=True, assign=True)
    return model.eval()


def complete(state: Mapping[str, Tensor], network: GLUNet, *, where: str) -> dict[str, Tensor]:
    """``state`` checked against a network: fp32 tensors in the network's order.

    Args:
        state: tensors by official key.
        network: the network they should fit; its own values do not matter.
        where: what messages begin with, usually the file.

    Raises:
        CheckpointError: missing or unexpected keys, wrong shapes, NaN or infinite values.
    """
    expected = network.state_dict()
    missing = [key for key in expected if key not in state and not key.endswith(_OPTIONAL_SUFFIX)]
    unexpected = [key for key in state if key not in expected]
    wrong = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(slot.shape)}"
        for key, slot in expected.items()
        if key in state and state[key].shape != slot.shape
    ]
    problems = [
        f"{what} {_listed(keys)}"
        for what, keys in (("missing", missing), ("unexpected", unexpected), ("of wrong shape", wrong))
        if keys
    ]
    if problems:
        raise CheckpointError(f"{where}: does not fit {network.config.model}: {'; '.join(problems)}")
    bad = [key for key, tensor in state.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise CheckpointError(f"{where}: NaN or infinite values in {_listed(bad)}; the file is damaged")
    return {
        key: (state[key] if key in state else torch.zeros(slot.shape)).to(slot.dtype).contiguous()
        for key, slot in expected.items()
    }


def skeleton(config: GLUNetConfig, *, where: str) -> GLUNet:
    """The network without memory: nothing is filled with initial values that are overwritten at once.

    Raises:
        CheckpointError: the configuration's numbers, which come from a file, describe no network.
    """
    try:
        with torch.device("meta"):
            return GLUNet(config)
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]  # torch appends its stack
        raise CheckpointError(f"{where}: its stored configuration is unusable ({reason})") from error


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED_KEYS
    return ", ".join(names[:_NAMED_KEYS]) + (f" and {more} more" if more > 0 else "")
