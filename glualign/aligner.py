"""`Aligner`: a model on a device with its options, from two images to an `Alignment`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from glualign.alignment import Alignment
from glualign.checkpoints import LoadedModel, load_model
from glualign.devices import Precision, choose_device, choose_dtype, describe_device
from glualign.errors import ImageError
from glualign.fill import holds_data
from glualign.flow import Flow, fit_tps, fit_transform, folding_share, from_transform
from glualign.images import Image, as_image, to_rgb8
from glualign.matcher import Matcher
from glualign.quality import Quality, judge
from glualign.stages.blend import Hypothesis
from glualign.stages.confidence import VALID_ERROR, confidence_from
from glualign.stages.dense import carried, full_error, upsampled, view_transform
from glualign.stages.estimate import Effort, Search, estimate
from glualign.stages.passes import (
    Pass,
    PassRunner,
    PreparedTarget,
    plain_passes,
    prepare_target,
    prepare_targets,
)
from glualign.stages.refine import refine

Preset = Literal["fast", "balanced", "accurate"]
Transform = Literal["dense", "homography", "affine", "similarity", "translation", "tps"]
Refine = Literal["auto", "off"]
Picture = Image | str | os.PathLike[str] | npt.NDArray[Any] | PillowImage.Image

SMALLEST_SIDE = 16
"""Pixels; smaller images hold nothing that could be matched."""
LONGEST_ASPECT = 40.0
"""Images more elongated than this would be squeezed beyond recognition."""


@dataclass(frozen=True)
class AlignOptions:
    """How pairs are aligned.

    Attributes:
        max_side: longer side in pixels that the network works at; None for the images' own size.
        passes: most passes after the first one, each after undoing the global motion found so far.
        search: whether to look for large rotations and zooms first.
        transform: free motion (``dense``) or the global model to fit; ``tps`` is a thin-plate spline.
        fallback: with ``dense``, use the global transform where it explains the target better than the flow.
        mirror: also consider that the source is mirrored.
        refine: sub-pixel refinement at full size, where the pair looks alike.
    """

    max_side: int | None = 1024
    passes: int = 1
    search: Search = "auto"
    transform: Transform = "dense"
    fallback: bool = True
    mirror: bool = False
    refine: Refine = "off"

    @property
    def effort(self) -> Effort:
        """What the estimation may try."""
        return Effort(passes=self.passes, search=self.search, fallback=self.fallback, mirror=self.mirror)


PRESETS: dict[str, AlignOptions] = {
    "fast": AlignOptions(passes=0, search="off", fallback=False),
    "balanced": AlignOptions(),
    "accurate": AlignOptions(passes=3, search="full", refine="auto"),
}


class Aligner:
    """Aligns pairs of images with one model on one device.

    Example:
        >>> aligner = Aligner.from_pretrained("compact")
        >>> alignment = aligner.align("source.jpg", "target.jpg")
        >>> alignment.flow.data  # (H_target, W_target, 2) float32, target -> source, in source pixels
    """

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        device: str = "auto",
        precision: Precision = "auto",
        options: AlignOptions | None = None,
    ) -> None:
        place = choose_device(device)
        self.model = loaded.name
        self.options = options or AlignOptions()
        self.device = describe_device(place)
        self._matcher = Matcher(loaded.model, device=place, dtype=choose_dtype(precision, place))

    @classmethod
    def from_pretrained(
        cls,
        model: str | os.PathLike[str] = "compact",
        *,
        device: str = "auto",
        precision: Precision = "auto",
        preset: Preset = "balanced",
        **options: Any,
    ) -> Aligner:
        """An aligner with the weights of a registered model or a checkpoint file.

        Args:
            model: name (``glualign weights list``) or path.
            device: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
            precision: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
            preset: starting point for the options.
            options: fields of `AlignOptions` that override the preset.

        Raises:
            CheckpointError: unknown model, or unusable file of weights.
            DeviceError: the device or precision is not available.
            ValueError: an option is unknown or out of range.
        """
        if preset not in PRESETS:
            raise ValueError(f"preset {preset!r} is unknown; use {', '.join(PRESETS)}")
        chosen = replace(PRESETS[preset], **options)
        if chosen.max_side is not None and chosen.max_side < SMALLEST_SIDE:
            raise ValueError(f"max_side must be at least {SMALLEST_SIDE} or None, not {chosen.max_side}")
        # The device first: a wrong name should not cost the time to load weights.
        choose_dtype(precision, choose_device(device))
        return cls(load_model(model), device=device, precision=precision, options=chosen)

    def prepare_target(self, target: Picture) -> PreparedTarget:
        """Compute a target's features once; give the result to `align` in place of the image."""
        image = as_image(target)
        _check(image)
        return prepare_target(self._matcher, image, max_side=self.options.max_side)

    def align(self, source: Picture, target: Picture | PreparedTarget) -> Alignment:
        """Estimate the flow from ``target`` to ``source`` and all that follows from it.

        Args:
            source: path, array ``(H, W[, C])`` of uint8, uint16 or float, Pillow image or `Image`.
            target: the same, or what `prepare_target` made of it. Sizes and modes may differ.

        Raises:
            ImageError: an image cannot be read, or is too small or too elongated to be matched.
        """
        clock = _Clock()
        with clock.step("read"):
            moving = as_image(source)
            _check(moving)
        with clock.step("match"):
            fixed = target if isinstance(target, PreparedTarget) else self.prepare_target(target)
            runner = PassRunner(self._matcher, to_rgb8(moving), fixed)
        return self._align(moving, runner, None, clock)

    def align_many(self, pairs: Sequence[tuple[Picture, Picture | PreparedTarget]]) -> list[Alignment]:
        """Align several pairs; those of one working size share their first forward pass.

        It pays on a GPU. The results are those of `align` up to rounding.

        Args:
            pairs: sources and targets, which may be what `prepare_target` made of them.

        Raises:
            ImageError: as `align`; nothing is aligned then.
        """
        sources = [as_image(source) for source, _ in pairs]
        targets = [t if isinstance(t, PreparedTarget) else as_image(t) for _, t in pairs]
        for image in (*sources, *targets):
            if isinstance(image, Image):
                _check(image)
        groups: dict[tuple[int, int], list[int]] = {}
        for index, target in enumerate(targets):
            size = target.size if isinstance(target, Image) else target.image.size
            groups.setdefault(size, []).append(index)
        results: dict[int, Alignment] = {}
        for members in groups.values():
            clock = _Clock()
            with clock.step("match"):
                ready = {i: t for i in members if isinstance(t := targets[i], PreparedTarget)}
                fresh = {i: t for i in members if isinstance(t := targets[i], Image)}
                if fresh:
                    made = prepare_targets(
                        self._matcher, list(fresh.values()), max_side=self.options.max_side
                    )
                    ready |= zip(fresh, made, strict=True)
                runners = [PassRunner(self._matcher, to_rgb8(sources[i]), ready[i]) for i in members]
                firsts = plain_passes(runners)
            for index, runner, first in zip(members, runners, firsts, strict=True):
                results[index] = self._align(sources[index], runner, first, clock.share(len(members)))
        return [results[index] for index in range(len(pairs))]

    def _align(self, source: Image, runner: PassRunner, first: Pass | None, clock: _Clock) -> Alignment:
        with clock.step("match"):
            best = estimate(runner, self.options.effort, first)
        with clock.step("flow"):
            residual, error = upsampled(best.flow, runner), full_error(best.error, runner)
        if self.options.refine == "auto":
            with clock.step("refine"):
                refined = refine(best, runner, error)
                if refined is not None:
                    residual, error = refined.flow, refined.error
        with clock.step("flow"):
            flow = Flow(carried(residual, view_transform(best.found, runner)), source_size=source.size)
        unit = max(runner.target_size) / max(runner.working)
        return self._finish(source, runner.target.image, flow, error / unit, best, clock)

    def _finish(
        self,
        source: Image,
        target: Image,
        flow: Flow,
        error: npt.NDArray[np.float32],
        best: Hypothesis,
        clock: _Clock,
    ) -> Alignment:
        inside = holds_data(source, target, flow)
        confidence = np.where(inside, confidence_from(error), 0).astype(np.float32)
        valid = inside & (error < VALID_ERROR)
        matrix: npt.NDArray[np.float64] | None = None
        inliers = None
        trusted = confidence if valid.any() else None
        if self.options.transform == "tps":
            spline = fit_tps(flow, trusted)
            inliers, flow = spline.inlier_share, spline.flow(target.size, source.size)
            valid = holds_data(source, target, flow)
        elif self.options.transform != "dense":
            fit = fit_transform(flow, self.options.transform, trusted)
            matrix, inliers = fit.matrix, fit.inlier_share
            flow = from_transform(fit.matrix, target.size, source.size)
            valid = holds_data(source, target, flow)
        share, reached = float(valid.mean()), float(holds_data(source, target, flow).mean())
        median = float(np.median(error[inside])) if inside.any() else None
        verdict = judge(share, best.found.score, best.evidence)
        quality = Quality(verdict, reached, share, median, best.evidence, inliers, folding_share(flow))
        return Alignment(
            source=source,
            target=target,
            flow=flow,
            trusted=valid,
            confidence=confidence,
            quality=quality,
            transform=matrix,
            model=self.model,
            device=self.device,
            timings=clock.finished(),
        )


class _Clock:
    """Seconds spent by step."""

    def __init__(self, spent: Mapping[str, float] | None = None) -> None:
        self._started = time.perf_counter()
        self._before = dict(spent or {})
        self._steps: dict[str, float] = dict(self._before)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._steps[name] = self._steps.get(name, 0.0) + time.perf_counter() - started

    def share(self, count: int) -> _Clock:
        """A clock that starts with this one's time divided by ``count``."""
        return _Clock({name: seconds / count for name, seconds in self._steps.items()})

    def finished(self) -> dict[str, float]:
        total = time.perf_counter() - self._started + sum(self._before.values())
        return {**self._steps, "total": total}


def _check(image: Image) -> None:
    height, width = image.size
    if min(height, width) < SMALLEST_SIDE:
        raise ImageError(
            f"{image.name}: {width}x{height} is too small to match; each side needs {SMALLEST_SIDE} px"
        )
    if max(height, width) > LONGEST_ASPECT * min(height, width):
        raise ImageError(
            f"{image.name}: {width}x{height} is more elongated than {LONGEST_ASPECT:.0f}:1; crop it"
        )
