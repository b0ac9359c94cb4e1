"""Validation during a run: the averaged weights on held-out photographs and on real pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from glualign.errors import GlualignError
from glualign.evaluation.datasets import open_dataset
from glualign.matching.predictor import FlowPredictor
from glualign.network.glunet import GLUNet
from glualign.training.strata import STRATA
from glualign.training.synthesis import PairSynthesis

Errors = np.typing.NDArray[np.float32]
Stopping = Callable[[], bool]
Validator = Callable[[GLUNet, torch.dtype, Stopping], dict[str, float] | None]
"""Scores a network that computes in a precision; None when it was told to stop before it was done."""

_SEED = 10_007
_BATCH = 4
_MAX_SIDE = 768


@dataclass(frozen=True)
class StratumScore:
    """Errors of a flow over the valid pixels of a stratum's pairs.

    Attributes:
        mean: mean end-point error over pairs, in pixels.
        median: median over pairs of a pair's mean error.
        pck1: share of pixels within one pixel.
        pck5: share of pixels within five pixels.
    """

    mean: float
    median: float
    pck1: float
    pck5: float


def score_strata(
    network: GLUNet,
    photos: PairSynthesis,
    pairs: int,
    *,
    size: int,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    stopping: Stopping = lambda: False,
) -> dict[str, StratumScore] | None:
    """Score a network on ``pairs`` synthetic pairs of every stratum, always the same ones.

    ``photos`` supplies the held-out photographs; its mix and seed are not used. ``stopping`` is asked before
    every four pairs; once it is true there are no scores (None).
    """
    predictor = FlowPredictor(network, device=device, dtype=dtype)
    scores = {}
    for number, name in enumerate(STRATA):
        synthesis = PairSynthesis(photos.photos, photos.indices, _SEED + number, {name: 1.0})
        errors: list[Errors] = []
        for first in range(0, pairs, _BATCH):
            if stopping():
                return None
            drawn = [synthesis.pair(k, size) for k in range(first, min(first + _BATCH, pairs))]
            flows = predictor.predict([(pair.source, pair.target) for pair in drawn])
            errors += [
                np.linalg.norm(flow - pair.flow, axis=2)[pair.valid]
                for flow, pair in zip(flows, drawn, strict=True)
            ]
        scores[name] = summarise(errors)
    return scores


def summarise(errors: Sequence[Errors]) -> StratumScore:
    """Scores from the pixel errors of each pair; pairs without a valid pixel are left out."""
    known = [e for e in errors if len(e)]
    means = np.array([e.mean() for e in known])
    pixels = np.concatenate(known)
    return StratumScore(
        float(means.mean()), float(np.median(means)), float((pixels <= 1).mean()), float((pixels <= 5).mean())
    )


def real_pairs_validator(folder: Path, device: torch.device) -> Validator:
    """Scores a network on the pairs of ``folder`` (layout of ``glualign evaluate pairs``), one pass each.

    It returns, for every set, ``SET_eval_mean`` and ``SET_eval_median``: mean and median over its pairs of a
    pair's mean end-point error, in pixels of the source. Pairs that cannot be read are left out.

    Raises:
        DatasetError: the folder holds no pairs.
    """
    dataset = open_dataset("pairs", folder)

    def score(network: GLUNet, dtype: torch.dtype, stopping: Stopping) -> dict[str, float] | None:
        predictor = FlowPredictor(network, device=device, dtype=dtype)
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
