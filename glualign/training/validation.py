"""Validation during a run: the averaged weights on held-out photographs and on real pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from glualign.errors import GlualignError
from glualign.evaluation.datasets import open_dataset
from glualign.matching.predictor import FlowPredictor
from glualign.training.photos import PhotoStore
from glualign.training.strata import STRATA
from glualign.training.synthesis import PairSynthesis

Stopping = Callable[[], bool]
Validator = Callable[[FlowPredictor, Stopping], dict[str, float] | None]
"""Scores a network as numbers with names; None when it was told to stop before it was done."""

_SEED = 10_007
_BATCH = 4
_MAX_SIDE = 768


def strata_validator(photos: PhotoStore, indices: npt.NDArray[np.int64], pairs: int, size: int) -> Validator:
    """Scores a network on synthetic pairs of every stratum, always the same ones.

    It returns for every stratum ``NAME_mean``, ``NAME_median`` (mean and median over pairs of a pair's mean
    end-point error in pixels) and ``NAME_pck1`` (share of pixels within one pixel), over valid pixels.

    Args:
        photos: the photographs.
        indices: those held out.
        pairs: number of pairs of each stratum.
        size: working size of the pairs.
    """

    def score(predictor: FlowPredictor, stopping: Stopping) -> dict[str, float] | None:
        scores = {}
        for number, name in enumerate(STRATA):
            synthesis = PairSynthesis(photos, indices, _SEED + number, {name: 1.0})
            errors = []
            for first in range(0, pairs, _BATCH):
                if stopping():
                    return None
                drawn = [synthesis.pair(k, size) for k in range(first, min(first + _BATCH, pairs))]
                flows = predictor.predict([(pair.source, pair.target) for pair in drawn])
                errors += [
                    np.linalg.norm(flow - pair.flow, axis=2)[pair.valid]
                    for flow, pair in zip(flows, drawn, strict=True)
                    if pair.valid.any()
                ]
            means = np.array([e.mean() for e in errors])
            scores[f"{name}_mean"], scores[f"{name}_median"] = float(means.mean()), float(np.median(means))
            scores[f"{name}_pck1"] = float((np.concatenate(errors) <= 1).mean())
        return scores

    return score


def real_pairs_validator(folder: Path) -> Validator:
    """Scores a network on the pairs of ``folder`` (layout of ``glualign evaluate pairs``), one pass each.

    It returns, for every set, ``SET_eval_mean`` and ``SET_eval_median``: mean and median over its pairs of a
    pair's mean end-point error, in pixels of the source. Pairs that cannot be read are left out.

    Raises:
        DatasetError: the folder holds no pairs.
    """
    dataset = open_dataset("pairs", folder)

    def score(predictor: FlowPredictor, stopping: Stopping) -> dict[str, float] | None:
        errors: dict[str, list[float]] = defaultdict(list)
        for pair in dataset.pairs:
            if stopping():
                return None
            try:
                sample = pair.load()
            except GlualignError:
                continue
            flow = predictor.predict([(sample.source, sample.target)], max_side=_MAX_SIDE)[0]
            errors[pair.group or pair.name].append(
                float(sample.truth.errors(flow, sample.longer_side).epe.mean())
            )
        out = {}
        for name, values in errors.items():
            out[f"{name}_eval_mean"] = float(np.mean(values))
            out[f"{name}_eval_median"] = float(np.median(values))
        return out

    return score
