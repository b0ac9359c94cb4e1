"""What a file of weights says, checked before anything believes it.

A file that is read without being run may still hold tensors of types or sizes that no weights have, or values
of a few bytes that fill the memory as soon as they are written out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import torch

from glualign.errors import CheckpointError
from glualign.network.config import GLUNetConfig

# An expanded tensor claims any size with one number in the file. The largest member has 1.4 x 10^7 values.
_MAX_VALUES = 1 << 27
_DTYPES = {torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int32, torch.int64}
# Objects that refer to each other multiply when they are written out. A recipe with its progress takes 10^4.
_MAX_TEXT = 2_000_000
_MAX_DEPTH = 50


def check_tensors(tensors: Mapping[str, tuple[torch.dtype | None, tuple[int, ...]]]) -> None:
    """Refuse types and shapes that no weights have: quantised, complex, or too many values.

    Raises:
        CheckpointError: names the first such tensor.
    """
    total = 0
    for key, (dtype, shape) in tensors.items():
        if dtype not in _DTYPES:
            raise CheckpointError(
                f"{key:.80} is a tensor of a kind that no weights have; the file is unusable"
            )
        total += math.prod(shape)
        if total > _MAX_VALUES:
            raise CheckpointError(f"claims more than {_MAX_VALUES:,} values; it is damaged or no GLU-Net")


def plain(value: Any) -> Any:
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


def stored_config(stored: Any) -> GLUNetConfig:
    """The configuration a file carries, as JSON text or as a mapping.

    Raises:
        CheckpointError: not JSON, an unknown key, or a value of the wrong type.
    """
    try:
        values = plain(json.loads(stored) if isinstance(stored, str) else stored)
        if not isinstance(values, Mapping):
            raise TypeError("not a mapping of names to values")
        config = GLUNetConfig.from_dict(values)
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise CheckpointError(f"its stored configuration is unusable ({error})") from error
    for field in fields(config):
        value, usual = getattr(config, field.name), field.default
        number = isinstance(usual, float) and type(value) is int
        if not (number or type(value) is type(usual)) or (
            isinstance(usual, float) and not math.isfinite(value)
        ):
            raise CheckpointError(f"its stored configuration is unusable ({field.name} is {value!r:.40})")
    return config
