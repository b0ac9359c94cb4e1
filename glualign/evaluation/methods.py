"""What is evaluated: the aligner itself, and what people would use instead, all from OpenCV."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any, Literal, NamedTuple

import cv2
import numpy as np

from glualign import __version__
from glualign.arrays import Field, Matrix
from glualign.errors import DatasetError, FlowError, GlualignError
from glualign.evaluation.datasets.base import Pixels, Sample
from glualign.geometry import (
    apply_transform,
    pixel_grid,
    resizing_matrix,
    size_of,
    transform_fault,
    transform_flow,
)
from glualign.geometry.robust import keypoint_homography
from glualign.images import reduce_image

_ECC_SIDE = 512

_cv: Any = cv2  # the type stubs of OpenCV 4 and 5 disagree with each other and with the library

FlowFunction = Callable[[Pixels, Pixels], Field]  # (source, target) to flow (H, W, 2), target to source


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
    """A model by name or file, aligned with ``options``, keyword arguments of `Aligner.from_pretrained`.

    ``NAME@PRESET`` overrides the preset, so that one run compares presets. A `CheckpointError` says that the
    model is unknown or its file unusable, a `GlualignError` that an option is unknown or out of range.
    """
    from glualign.aligner import Aligner
    from glualign.checkpoints.registry import find_weights, sha256_of
    from glualign.matching.options import PRESETS

    model, at, preset = text.rpartition("@")
    if at and preset in PRESETS:
        options = {**options, "preset": preset}
    else:
        model, at, preset = text, "", ""
    try:
        aligner = Aligner.from_pretrained(model, **options)
    except TypeError as error:
        raise GlualignError(f"{model}: the aligner does not take these options: {error}") from error
    weights = find_weights(model)
    settings = {
        "glualign": __version__,
        "sha256": sha256_of(weights.path),
        "device": aligner.predictor.device.type,
        "precision": str(aligner.predictor.dtype).removeprefix("torch."),
        **{key: str(value) for key, value in asdict(aligner.options).items()},
    }
    name = weights.name if weights.path.name != weights.name else weights.path.stem

    def full(source: Pixels, target: Pixels) -> Field:
        return aligner.align(source, target).flow.data

    def solve(sample: Sample) -> tuple[Field, str]:
        images = sample.source, sample.target
        if sample.may_be_mirrored:
            return flow_allowing_mirror(aligner.predictor.coarse_flow, full, *images), ""
        return full(*images), ""

    return Method(f"{name}{at}{preset}", settings, solve)


def flow_allowing_mirror(coarse: FlowFunction, full: FlowFunction, source: Pixels, target: Pixels) -> Field:
    """Flow of the pair as it is or with the target mirrored (TSS), whichever fits better.

    The criterion of the published code: of the target as it is and mirrored, the one with the smaller mean
    horizontal motion at 16 x 16 wins; a mirror must win again with source and target exchanged.
    """
    for first, second in ((source, target), (target, source)):
        plain, mirror = (np.abs(coarse(first, image)[..., 0]).mean() for image in (second, mirrored(second)))
        if not mirror < plain:
            return full(source, target)
    return unmirrored(full(source, mirrored(target)))


def mirrored(image: Pixels) -> Pixels:
    """The image mirrored left to right."""
    return np.ascontiguousarray(image[:, ::-1])


def unmirrored(flow: Field) -> Field:
    """A flow on the grid of a mirrored target, put on the grid of the target itself."""
    grid = pixel_grid(size_of(flow))
    # The source position of a pixel moves with it.
    return np.asarray((flow + grid)[:, ::-1] - grid, np.float32)


def identity(source: Pixels, target: Pixels) -> Field:
    """No alignment: the source stretched over the target's frame; zero everywhere for images of one size."""
    return transform_flow(resizing_matrix(size_of(target), size_of(source)), size_of(target))


def keypoints(detector: Literal["sift", "orb"], most: int, source: Pixels, target: Pixels) -> Field:
    """At most so many key points at full size, ratio test, homography by MAGSAC++."""
    matrix = keypoint_homography(source, target, detector=detector, most=most, threshold=3.0, fewest=8)
    return transform_flow(matrix, size_of(target))


def optical_flow(solve: Callable[[Any, Any], Any], source: Pixels, target: Pixels) -> Field:
    """What ``solve`` finds of grey images of one size, from the target on, in pixels of the source."""
    grid = pixel_grid(size_of(target))
    to_source = resizing_matrix(size_of(target), size_of(source))
    return apply_transform(to_source, grid + solve(*_equal_grey(source, target))) - grid


def ecc(source: Pixels, target: Pixels) -> Field:
    """Homography that maximises the enhanced correlation coefficient, from the identity, at up to 512 px."""
    full, small = size_of(target), [reduce_image(image, _ECC_SIDE) for image in _equal_grey(source, target)]
    size = size_of(small[0])
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 200, 1e-6)
    start = np.eye(3, dtype=np.float32)
    try:
        _, found = _cv.findTransformECC(*small, start, cv2.MOTION_HOMOGRAPHY, criteria)
    except cv2.error as error:
        raise FlowError("the correlation does not converge") from error
    matrix: Matrix = resizing_matrix(size, size_of(source)) @ found @ resizing_matrix(full, size)
    if fault := transform_fault(matrix, full):
        raise FlowError(f"the homography {fault}")
    return transform_flow(matrix, full)


BASELINES: Mapping[str, FlowFunction] = {
    "identity": identity,
    "sift": partial(keypoints, "sift", 8000),
    "orb": partial(keypoints, "orb", 5000),
    "dis": partial(
        optical_flow,
        lambda *images: _cv.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*images, None),
    ),
    "farneback": partial(  # five levels, window 21
        optical_flow, lambda *images: _cv.calcOpticalFlowFarneback(*images, None, 0.5, 5, 21, 5, 7, 1.5, 0)
    ),
    "ecc": ecc,
}


def open_baseline(name: str) -> Method:
    """The baseline of that name; a `DatasetError` if there is none.

    Every baseline answers for every pair. One that finds no alignment answers the identity and says why in
    the note, so that all methods are averaged over the same pairs and the number of such answers is visible.
    """
    if name not in BASELINES:
        raise DatasetError(f"{name}: unknown baseline; known are {', '.join(BASELINES)}")

    def solve(sample: Sample) -> tuple[Field, str]:
        cv2.setRNGSeed(0)  # what is random in RANSAC must not make two runs differ
        try:
            return BASELINES[name](sample.source, sample.target), ""
        except FlowError as reason:
            return identity(sample.source, sample.target), str(reason)

    return Method(name, {"opencv": cv2.__version__}, solve)


def _equal_grey(source: Pixels, target: Pixels) -> tuple[Any, Any]:
    """Grey target and grey source at the target's size."""
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (target, source)]
    return grey[0], cv2.resize(grey[1], size_of(target)[::-1], interpolation=cv2.INTER_AREA)
