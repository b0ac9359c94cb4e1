"""What is evaluated: anything that turns an image pair into a flow, above all the aligner itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from glualign import __version__
from glualign.errors import GlualignError
from glualign.evaluation.datasets.base import Pixels, Sample
from glualign.evaluation.truth import size_of
from glualign.geometry import Field, pixel_grid

if TYPE_CHECKING:
    from glualign.aligner import Aligner

FlowFunction = Callable[[Pixels, Pixels], Field]
"""From (source, target) to a flow (H, W, 2), target to source."""


class Estimate(NamedTuple):
    """The answer of a method."""

    flow: Field  # (H_t, W_t, 2) float32, target to source, in source pixels
    seconds: float  # wall time of the estimate alone, without reading files
    note: str = ""  # why the method found no alignment and answered the identity; empty if it did


class Method(NamedTuple):
    """A named way to align two images."""

    name: str  # in tables
    settings: Mapping[str, str]  # all that decides the result: a resumed run never mixes different settings
    solve: Callable[[Sample], tuple[Field, str]]  # the flow, and the note of an `Estimate`

    def estimate(self, sample: Sample) -> Estimate:
        """Align ``sample.source`` to ``sample.target``, timed. The ground truth in the sample is not read."""
        start = time.perf_counter()
        flow, note = self.solve(sample)
        return Estimate(flow, time.perf_counter() - start, note)


def open_model(text: str, options: Mapping[str, Any]) -> Method:
    """A model by name or file, aligned with keyword arguments of `Aligner.from_pretrained`.

    Args:
        text: name or file of a model; ``NAME@PRESET`` overrides the preset, so that one run compares presets.
        options: keyword arguments of the aligner.

    Raises:
        CheckpointError: the model is unknown or its file unusable.
        GlualignError: an option is unknown or out of range.
    """
    from glualign.aligner import PRESETS, Aligner
    from glualign.checkpoints import load_model
    from glualign.checkpoints.registry import sha256_of

    model, at, preset = text.rpartition("@")
    if at and preset in PRESETS:
        options = {**options, "preset": preset}
    else:
        model, at, preset = text, "", ""
    try:
        aligner = Aligner.from_pretrained(model, **options)
    except (TypeError, ValueError) as error:
        raise GlualignError(f"{model}: the aligner does not take these options: {error}") from error
    loaded = load_model(model)
    settings = {
        "glualign": __version__,
        "sha256": sha256_of(loaded.path),
        "device": aligner.predictor.device.type,
        "precision": str(aligner.predictor.dtype).removeprefix("torch."),
        **{key: str(value) for key, value in asdict(aligner.options).items()},
    }
    name = loaded.name if loaded.path.name != loaded.name else loaded.path.stem
    return Method(f"{name}{at}{preset}", settings, partial(_align, aligner))


def _align(aligner: Aligner, sample: Sample) -> tuple[Field, str]:
    """The aligner's flow; where the protocol allows mirrored targets, the 16 x 16 flow decides."""

    def full(source: Pixels, target: Pixels) -> Field:
        return aligner.align(source, target).flow.data

    if sample.may_be_mirrored:
        return flow_allowing_mirror(aligner.predictor.coarse_flow, full, sample.source, sample.target), ""
    return full(sample.source, sample.target), ""


def flow_allowing_mirror(coarse: FlowFunction, full: FlowFunction, source: Pixels, target: Pixels) -> Field:
    """Flow of the pair as it is or with the target mirrored (TSS), whichever fits better.

    The criterion of the published code: of the target as it is and mirrored, the one with the smaller mean
    horizontal motion at 16 x 16 wins; a mirror must win again with source and target exchanged.
    """

    def motion(first: Pixels, second: Pixels) -> float:
        return float(np.abs(coarse(first, second)[..., 0]).mean())

    is_mirrored = motion(source, mirrored(target)) < motion(source, target) and (
        motion(target, mirrored(source)) < motion(target, source)
    )
    return unmirrored(full(source, mirrored(target))) if is_mirrored else full(source, target)


def mirrored(image: Pixels) -> Pixels:
    """The image mirrored left to right."""
    return np.ascontiguousarray(image[:, ::-1])


def unmirrored(flow: Field) -> Field:
    """A flow on the grid of a mirrored target, put on the grid of the target itself."""
    grid = pixel_grid(size_of(flow))
    # The source position of a pixel moves with it.
    return np.asarray((flow + grid)[:, ::-1] - grid, np.float32)
