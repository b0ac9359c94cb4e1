"""Validation during a run: the averaged weights on held-out photographs and on real pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from glualign.errors import GlualignError
from glualign.evaluation.datasets import Dataset
from glualign.evaluation.metrics import DenseTruth, Truth
from glualign.matching.predictor import FlowPredictor, Pixels
from glualign.training.photos import PhotoStore
from glualign.training.synthesis import STRATA, PairSynthesis

MAX_SIDE = 768
"""Longer real images are reduced to this side for validation."""
_SEED = 10_007


class ValidationPair(NamedTuple):
    """A pair with known flow; pairs of one name are averaged."""

    name: str
    source: Pixels
    target: Pixels
    truth: Truth


def synthetic_pairs(
    photos: PhotoStore, indices: npt.NDArray[np.int64], count: int, size: int
) -> Iterator[ValidationPair]:
    """``count`` pairs of every stratum from photographs ``indices``, always the same, named by it."""
    for number, name in enumerate(STRATA):
        synthesis = PairSynthesis(photos, indices, _SEED + number, {name: 1.0})
        for pair in (synthesis.pair(index, size) for index in range(count)):
            if pair.valid.any():
                yield ValidationPair(name, pair.source, pair.target, DenseTruth(pair.flow, pair.valid))


def real_pairs(dataset: Dataset) -> Iterator[ValidationPair]:
    """Pairs of ``glualign evaluate pairs``, named ``SET_eval``; those that cannot be read are left out."""
    for pair in dataset.pairs:
        try:
            sample = pair.load()
        except GlualignError:
            continue
        yield ValidationPair(f"{pair.group or pair.name}_eval", sample.source, sample.target, sample.truth)


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
        errors[pair.name].append(pair.truth.errors(flow, max(pair.source.shape)).epe)
    scores = {}
    for name, found in errors.items():
        means = [each.mean() for each in found]
        scores[f"{name}_mean"], scores[f"{name}_median"] = float(np.mean(means)), float(np.median(means))
        scores[f"{name}_pck1"] = float((np.concatenate(found) <= 1).mean())
    return scores
