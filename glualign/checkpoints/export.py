"""Writing weights as one safetensors file that describes itself."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from glualign import __version__
from glualign.checkpoints.load import CONFIG_KEY, build, load_model
from glualign.devices import DTYPES
from glualign.errors import CheckpointError
from glualign.files import write_bytes
from glualign.network.config import GLUNetConfig

Storage = Literal["fp16", "bf16", "fp32"]

_VERSION_KEY = "glualign.version"


def save_checkpoint(
    path: str | os.PathLike[str],
    state_dict: Mapping[str, Tensor],
    config: GLUNetConfig,
    *,
    metadata: Mapping[str, Any] | None = None,
    dtype: Storage = "fp16",
) -> None:
    """Write a network's weights with everything needed to use them.

    Kernels are stored in ``dtype``; biases and batch-norm tensors, which are small and the most sensitive, in
    fp32. The file appears whole or not at all.

    Args:
        path: the ``.safetensors`` file to write.
        state_dict: weights with the official keys, any device and floating-point type.
        config: the network they belong to, stored as JSON under ``glualign.config``.
        metadata: licence, training recipe, metrics ...; what is not text is stored as JSON.
        dtype: storage of the kernels. bf16 has fp32's range at three significant digits, fp16 five digits
            up to 65504.

    Raises:
        CheckpointError: the weights do not fit ``config``, are not finite, or exceed fp16's range.
        OutputError: the file cannot be written.
    """
    state = build(state_dict, config, str(path)).state_dict()
    stored = {}
    for key, tensor in state.items():
        # Copies: safetensors refuses tensors that share memory.
        kind = tensor.dtype if tensor.ndim < 2 else DTYPES[dtype]
        stored[key] = tensor.to("cpu", kind, copy=True).contiguous()
        if not torch.isfinite(stored[key]).all():
            raise CheckpointError(f"{path}: {key} exceeds the range of fp16; store it as bf16 or fp32")
    facts = {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in (metadata or {}).items()
    }
    facts |= {CONFIG_KEY: json.dumps(config.to_dict()), _VERSION_KEY: __version__, "format": "pt"}
    write_bytes(path, _serialised(stored, facts))


def export_checkpoint(
    name_or_path: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    metadata: Mapping[str, Any] | None = None,
    dtype: Storage = "fp16",
) -> None:
    """Write an existing checkpoint, be it official or a training state, as self-describing safetensors.

    What the checkpoint says about itself is kept; ``metadata`` is added to it and goes before it.
    Raises as `save_checkpoint`, and a `CheckpointError` unless ``path`` ends in ``.safetensors``.
    """
    if not os.fspath(path).endswith(".safetensors"):
        raise CheckpointError(f"{path}: the output is a safetensors file; let its name end in .safetensors")
    loaded = load_model(name_or_path)
    facts = {**loaded.metadata, **(metadata or {})}
    save_checkpoint(path, loaded.model.state_dict(), loaded.config, metadata=facts, dtype=dtype)


def _serialised(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """The bytes of a safetensors file with the metadata in order: equal weights give equal files.

    The library writes metadata in the order of a hash table that differs in every process.
    """
    from safetensors.torch import save

    data = save(tensors, metadata)
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(metadata.items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of eight bytes
    return len(text).to_bytes(8, "little") + text + data[end:]
