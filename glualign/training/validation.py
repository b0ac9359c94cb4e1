"""Validation during a run: the averaged weights on held-out photographs and on real pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from glualign.errors import GlualignError
from glualign.evaluation.datasets import Dataset, Sample
from glualign.geometry import Field
from glualign.matching.predictor import FlowPredictor, Pixels
from glualign.training.photos import PhotoStore
from glualign.training.strata import STRATA
from glualign.training.synthesis import PairSynthesis, TrainingPair

MAX_SIDE = 768
"""Longer real images are reduced to this side for validation."""
_SEED = 10_007


class ValidationPair(NamedTuple):
    """A pair with known flow; ``errors`` are the end-point errors of a flow in pixels, at known pixels."""

    name: str
    source: Pixels
    target: Pixels
    errors: Callable[[Field], npt.NDArray[np.floating]]


def synthetic_pairs(
    photos: PhotoStore, indices: npt.NDArray[np.int64], count: int, size: int
) -> Iterator[ValidationPair]:
    """``count`` pairs of every stratum from photographs ``indices``, always the same, named by it."""
    for number, name in enumerate(STRATA):
        synthesis = PairSynthesis(photos, indices, _SEED + number, {name: 1.0})
        for pair in (synthesis.pair(index, size) for index in range(count)):
            if pair.valid.any():
                yield ValidationPair(name, pair.source, pair.target, partial(_synthetic_errors, pair))


def real_pairs(dataset: Dataset) -> Iterator[ValidationPair]:
    """Pairs of ``glualign evaluate pairs``, named ``SET_eval``; those that cannot be read are left out."""
    for pair in dataset.pairs:
        try:
            sample = pair.load()
        except GlualignError:
            continue
        name = f"{pair.group or pair.name}_eval"
        yield ValidationPair(name, sample.source, sample.target, partial(_real_errors, sample))


def _synthetic_errors(pair: TrainingPair, flow: Field) -> npt.NDArray[np.floating]:
    return np.asarray(np.linalg.norm(flow - pair.flow, axis=2)[pair.valid])


def _real_errors(sample: Sample, flow: Field) -> npt.NDArray[np.floating]:
    return sample.truth.errors(flow, sample.longer_side).epe


def score(
    predictor: FlowPredictor, pairs: Iterable[ValidationPair], stopping: Callable[[], bool], max_side: int
) -> dict[str, float] | None:
    """Run a network on pairs, one pass each.

    Returns:
        For every name ``NAME_mean`` and ``NAME_median``, mean and median over pairs of a pair's mean error in
        pixels, and ``NAME_pck1``, the share of pixels within one pixel; None when told to stop.
    """
    errors: dict[str, list[npt.NDArray[np.floating]]] = defaultdict(list)
    for pair in pairs:
        if stopping():
            return None
        flow = predictor.predict([(pair.source, pair.target)], max_side=max_side)[0]
        errors[pair.name].append(pair.errors(flow))
    scores = {}
    for name, found in errors.items():
        means = np.array([each.mean() for each in found])
        scores[f"{name}_mean"], scores[f"{name}_median"] = float(means.mean()), float(np.median(means))
        scores[f"{name}_pck1"] = float((np.concatenate(found) <= 1).mean())
    return scores
