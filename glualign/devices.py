"""Where and in which precision to compute."""

from __future__ import annotations

import re
from typing import Literal

import torch

from glualign.errors import DeviceError

Precision = Literal["auto", "fp32", "bf16", "fp16"]

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(name: str | torch.device = "auto") -> torch.device:
    """The device that ``auto | cpu | cuda | cuda:N | mps`` names; ``auto``: CUDA, else MPS, else the CPU.

    A `DeviceError` says that the name is unknown or the device is not there.
    """
    name = str(name)
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?|mps", name):
        raise DeviceError(f"device {name!r} is unknown; use auto, cpu, cuda, cuda:N or mps")
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise DeviceError(f"device {name!r} is not there (CUDA devices: {count}); use --device cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("device 'mps' is not there; use --device cpu")
    return device


def choose_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The number format of the convolutions; ``auto`` is bf16 where the hardware multiplies it, else fp32.

    A `DeviceError` says that the precision is unknown, or that the device cannot compute in it.
    """
    if precision == "auto":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
        if device.type == "cpu":  # oneDNN emulates bf16 on older processors, no faster than fp32
            names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
            fast = any(getattr(torch.cpu, name, bool)() for name in names)
        return torch.bfloat16 if fast else torch.float32
    if precision not in DTYPES:
        raise DeviceError(f"precision {precision!r} is unknown; use auto, fp32, bf16 or fp16")
    if precision == "fp16" and device.type == "cpu":
        raise DeviceError("precision 'fp16' is not available on the CPU; use bf16 or fp32")
    return DTYPES[precision]


def precision_note(precision: str, device: torch.device) -> str:
    """What to know of a precision on a device before computing in it; empty when there is nothing."""
    if precision == "bf16" and choose_dtype("auto", device) != torch.bfloat16:
        return f"bf16 is emulated on {device}, several times slower than fp32; auto takes the faster one"
    return ""


def describe_device(device: torch.device) -> str:
    """What a person calls it, e.g. ``cpu (2 threads)`` or the GPU's name."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"cpu ({torch.get_num_threads()} threads)" if device.type == "cpu" else str(device)
