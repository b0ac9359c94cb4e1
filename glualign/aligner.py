"""`Aligner`: a model on a device with its options, from two images to an `Alignment`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from glualign.alignment import Alignment
from glualign.checkpoints.load import LoadedModel, load_model
from glualign.devices import Precision, choose_device, choose_dtype, describe_device
from glualign.errors import FlowError, ImageError
from glualign.flow import Flow, compose, from_transform
from glualign.geometry import size_of, wxh
from glualign.images import Image, as_image
from glualign.matching.assess import Figures, assess, error_of
from glualign.matching.coarse_motion import find_coarse_motion
from glualign.matching.estimate import best_hypothesis
from glualign.matching.finish import assess_fitted, finish
from glualign.matching.options import SMALLEST_SIDE, AlignOptions, Preset, Transform, choose_options
from glualign.matching.pair import PairMatcher, PreparedImage, match_pairs, prepare_images
from glualign.matching.predictor import FlowPredictor
from glualign.matching.refinement import refine
from glualign.matching.similarity import EdgeSimilarity
from glualign.rendering import warp_image

ImageLike = Image | str | os.PathLike[str] | npt.NDArray[Any] | PillowImage.Image
Alignable = ImageLike | PreparedImage

LONGEST_ASPECT = 40.0
"""More elongated images would be resized beyond recognition."""


class Aligner:
    """Aligns pairs of images with one model on one device; the model given stays as it is.

    Attributes:
        on_step: told the name of each step as it begins: ``read``, ``match``, ``refine``, ``flow``.

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
        self.on_step: Callable[[str], object] = str  # does nothing and, unlike a lambda, can be pickled
        self.options = options or AlignOptions()
        self.device = describe_device(place)
        self.predictor = FlowPredictor(loaded.model, device=place, dtype=choose_dtype(precision, place))

    def __repr__(self) -> str:
        return f"<Aligner {self.model} on {self.device}>"

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
            OptionError: an option is unknown or out of range.
        """
        chosen = choose_options(preset, options)
        # The device first: a wrong name should not cost the time to load weights.
        choose_dtype(precision, choose_device(device))
        return cls(load_model(model), device=device, precision=precision, options=chosen)

    def prepare(self, image: ImageLike) -> PreparedImage:
        """Compute an image's features once; give the result to `align` in place of the image.

        It pays for the target of many sources, and for a frame that is the source of one pair and the target
        of the next.

        Raises:
            ImageError: as `align`.
        """
        return prepare_images(self.predictor, [_opened(image)], max_side=self.options.max_side)[0]

    def align(
        self,
        source: Alignable,
        target: Alignable,
        *,
        init: Flow | npt.ArrayLike | None = None,
        source_mask: ImageLike | None = None,
        target_mask: ImageLike | None = None,
    ) -> Alignment:
        """Estimate the flow from ``target`` to ``source`` and all that follows from it.

        Args:
            source: path, array ``(H, W[, C])`` of uint8, uint16 or float, Pillow image, `Image`, or what
                `prepare` made of one. Paths and Pillow images are turned upright by their EXIF orientation,
                and flow and masks are on the upright grid; arrays are taken as they are, in RGB.
            target: the same. Sizes and modes may differ.
            init: a motion known beforehand, a flow or a 3x3 matrix target -> source. The source is brought
                there first, the rest is estimated, and the result is the composition of both. In a free flow
                pixels that it does not bring into the source are not valid; a global model of all of the
                motion may reach them.
            source_mask: of the source's size; pixels where it is black (0, False) have no say in matching,
                motion and verdict, and are not valid. See `Image.ignore`.
            target_mask: the same for the target, where such pixels are not trusted. Neither is for a prepared
                image.

        Raises:
            ImageError: an image cannot be read, or is too small or too elongated to be matched, or a mask
                does not fit.
            FlowError: the transform that the options ask for does not fit, or ``init`` is of another size or
                not a finite 3x3 matrix.
        """
        if source_mask is not None:
            source = _opened(source, source_mask)
        if target_mask is not None:
            target = _opened(target, target_mask)
        if init is None:
            return self.align_many([(source, target)])[0]
        return self._align_from(init, source, target)

    def align_many(self, pairs: Sequence[tuple[Alignable, Alignable]]) -> list[Alignment]:
        """Align several pairs; those whose targets have one size share their first forward pass.

        It pays on a GPU. The results are those of `align` up to rounding, which a batch does in another
        order: on four pairs 99 % of the trusted pixels are within 0.2 px in fp32 and 0.4 px in bf16
        (benchmarks/batch_rounding.py). Where the coarse motion of a pair is hardly decided another may be
        found, and the flow differs by pixels.

        Raises:
            ImageError: as `align`; nothing is aligned then.
            FlowError: as `align`.
        """
        return self._align_many(pairs, self.options)

    def _align_many(
        self, pairs: Sequence[tuple[Alignable, Alignable]], options: AlignOptions
    ) -> list[Alignment]:
        read: dict[str, float] = {}
        with self._timed(read, "read", share=max(1, len(pairs))):
            opened = [(_opened(source), _opened(target)) for source, target in pairs]
        groups: dict[tuple[int, int, int | None], list[int]] = {}
        for index, (_, target) in enumerate(opened):
            max_side = target.max_side if isinstance(target, PreparedImage) else options.max_side
            groups.setdefault((*target.pixels.shape[:2], max_side), []).append(index)
        results: dict[int, Alignment] = {}
        for members in groups.values():
            shared = dict(read)
            with self._timed(shared, "match", share=len(members)):
                images = [opened[index][1] for index in members]
                targets = prepare_images(self.predictor, images, max_side=options.max_side)
                sources = [opened[index][0] for index in members]
                matchers = [PairMatcher(self.predictor, *pair) for pair in zip(sources, targets, strict=True)]
                how = {"search": options.search, "mirror": options.mirror}
                firsts = match_pairs(matchers, [find_coarse_motion(each, **how) for each in matchers])
            for index, matcher, first in zip(members, matchers, firsts, strict=True):
                steps = dict(shared)
                with self._timed(steps, "match"):
                    best = best_hypothesis(EdgeSimilarity(matcher), options, first)
                with self._timed(steps, "refine"):
                    refined = refine(best) if options.refine else None
                with self._timed(steps, "flow"):
                    found = finish(best, refined or best.measured, options.transform)
                steps["total"] = sum(steps.values())
                results[index] = replace(found, model=self.model, device=self.device, timings=steps)
        return [results[index] for index in range(len(pairs))]

    def _align_from(self, init: Flow | npt.ArrayLike, source: Alignable, target: Alignable) -> Alignment:
        """`align` with a source that is brought to where ``init`` has it first."""
        steps: dict[str, float] = {}
        with self._timed(steps, "read"):
            source, target = _opened(source), _opened(target)
        with self._timed(steps, "flow"):
            source = source.image if isinstance(source, PreparedImage) else source
            size = size_of(target.pixels)
            known = init if isinstance(init, Flow) else from_transform(init, size, source.size)
            matrix = None if isinstance(init, Flow) else np.asarray(init, np.float64)
            if known.size != size:
                raise FlowError(
                    f"init is for a target of {wxh(known.size)} pixels, the target is {wxh(size)}"
                )
            moved, reached = warp_image(source, known)
            if not reached.all():
                moved = moved.replace(ignored=~reached)
        # A model that is asked for is fitted to the composition, not to what is left after ``init``.
        transform = self.options.transform
        left: Transform = "auto" if transform == "auto" and matrix is not None else "dense"
        with self._timed(steps, "match"):
            [prepared] = prepare_images(self.predictor, [target], max_side=self.options.max_side)
        [found] = self._align_many([(moved, prepared)], replace(self.options, transform=left))
        with self._timed(steps, "flow"):
            if matrix is not None and found.transform is not None:
                matrix = matrix @ found.transform
                matrix = matrix / matrix[2, 2]
                flow = from_transform(matrix, size, source.size)
            else:
                matrix, flow = None, compose(found.flow, Flow(known.data, source.size))
            error = error_of(found.confidence)
            if transform in ("auto", "dense"):
                composed = assess(source, found.target, flow, matrix, error, Figures.of(found.quality))
            else:
                pair = PairMatcher(self.predictor, source, prepared)
                composed = assess_fitted(flow, transform, found, pair, error)
        for step, seconds in found.timings.items():
            steps[step] = steps.get(step, 0.0) + (seconds if step != "total" else 0.0)
        steps["total"] = sum(steps.values())
        return replace(composed, model=self.model, device=self.device, timings=steps)

    @contextmanager
    def _timed(self, steps: dict[str, float], name: str, *, share: int = 1) -> Iterator[None]:
        """Tell that a step begins, and add the seconds spent, or a pair's share of them, to it."""
        self.on_step(name)
        started = time.perf_counter()
        yield
        steps[name] = steps.get(name, 0.0) + (time.perf_counter() - started) / share


def _opened(given: Alignable, mask: ImageLike | None = None) -> Image | PreparedImage:
    """Read an image, ignore what ``mask`` says, and refuse one that cannot be matched."""
    if isinstance(given, PreparedImage):
        if mask is not None:
            raise ImageError("a mask for a prepared image comes too late; prepare an image that has it")
        return given
    image = as_image(given)
    if mask is not None:
        image = image.ignore(mask if isinstance(mask, np.ndarray) else as_image(mask))
    height, width = image.size
    if min(height, width) < SMALLEST_SIDE:
        raise ImageError(
            f"{image.name}: {width}x{height} is too small to match; each side needs {SMALLEST_SIDE} px"
        )
    if max(height, width) > LONGEST_ASPECT * min(height, width):
        raise ImageError(
            f"{image.name}: {width}x{height} is more elongated than {LONGEST_ASPECT:.0f}:1; crop it"
        )
    return image
