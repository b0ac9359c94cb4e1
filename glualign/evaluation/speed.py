"""How fast is it: seconds per pair of the models and of GLU-Net as published, side by side in one run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import product
from statistics import median
from timeit import timeit
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch

from glualign.arrays import Field, Size
from glualign.devices import DTYPES, Precision, choose_device, choose_dtype, describe_device
from glualign.evaluation.provenance import header
from glualign.matching.predictor import FlowPredictor, Pixels
from glualign.network import CONFIGS, GLUNet, GLUNetConfig

Timing = dict[str, Any]
"""A row of the table and of the JSON document: contender, size, threads, seconds and speed-up."""


class Contender(NamedTuple):
    """Something that is timed: one model in one number format, from pairs to flows at full size."""

    model: str  # its name
    precision: str  # fp32, bf16 or fp16
    layout: str  # of the tensors in memory
    predict: Callable[[Sequence[tuple[Pixels, Pixels]]], list[Field]]  # its answer lies on the CPU
    is_reference: bool = False  # speed-ups are relative to it


def reference_contender(device: torch.device, config: GLUNetConfig = CONFIGS["glunet"]) -> Contender:
    """A network as the published code runs it, in fp32, channels first, batch norms not folded.

    Its weights are random: the time does not depend on their values.
    """
    torch.manual_seed(0)
    predictor = FlowPredictor(GLUNet(config), device=device, dtype=torch.float32, as_published=True)
    return Contender(config.model, "fp32", "channels first", predictor.predict, is_reference=True)


def model_contender(name: str, model: GLUNet, precision: Precision, device: torch.device) -> Contender:
    """A model as glualign runs it: one forward pass, target to source, at the size of the target."""
    dtype = choose_dtype(precision, device)
    used = next(known for known, each in DTYPES.items() if each == dtype)
    predictor = FlowPredictor(model, device=device, dtype=dtype)
    return Contender(name, used, "channels last", predictor.predict)


def time_contenders(
    contenders: Sequence[Contender], *, sizes: Iterable[Size], threads: Iterable[int], repeat: int
) -> list[Timing]:
    """Time every contender on every size and number of threads.

    Repetitions go round the contenders, so that whatever else the machine does touches all of them alike. The
    first one only warms up.
    """
    before = torch.get_num_threads()
    timings: list[Timing] = []
    try:
        for count, size in product(threads, tuple(sizes)):
            torch.set_num_threads(count)
            work = [partial(each.predict, [make_pair(size)]) for each in contenders]
            rounds = [[timeit(each, number=1) for each in work] for _ in range(repeat + 1)]
            taken = list(zip(*rounds[1:], strict=True))
            references = (t for c, t in zip(contenders, taken, strict=True) if c.is_reference)
            base = next(map(median, references), None)
            timings += [
                {
                    **{name: getattr(contender, name) for name in ("model", "precision", "layout")},
                    "width": size[1],
                    "height": size[0],
                    "threads": count,
                    "seconds_median": median(seconds),
                    "seconds_min": min(seconds),
                    "seconds_max": max(seconds),
                    "repeats": repeat,
                    "speedup": base and base / median(seconds),
                }
                for contender, seconds in zip(contenders, taken, strict=True)
            ]
    finally:
        torch.set_num_threads(before)
    return timings


def speed_document(timings: Sequence[Timing], device: str) -> dict[str, Any]:
    """The timings as one JSON document with the machine they were taken on."""
    chosen = choose_device(device)
    name = chosen.type if chosen.type == "cpu" else describe_device(chosen)
    return {**header("speed", "Seconds per pair"), "device": name, "rows": timings}


def make_pair(size: Size) -> tuple[Pixels, Pixels]:
    """A textured source and the same rotated by 40 degrees, which a forward pass takes no longer for."""
    height, width = size
    noise = np.random.default_rng(0).uniform(0, 255, (40, 40, 3)).astype(np.float32)
    smooth = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    source = np.clip(smooth, 0, 255).astype(np.uint8)
    rotation = cv2.getRotationMatrix2D((width / 2, height / 2), 40, 1.0)
    target = cv2.warpAffine(source, rotation, (width, height), borderMode=cv2.BORDER_REFLECT)
    return source, np.asarray(target, np.uint8)
