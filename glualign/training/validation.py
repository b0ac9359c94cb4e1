"""Validation during a run: the averaged weights on held-out photographs, stratum by stratum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from glualign.network.glunet import GLUNet
from glualign.network.preprocessing import prepare
from glualign.training.photometric import Pixels
from glualign.training.recipe import Precision
from glualign.training.strata import STRATA
from glualign.training.synthesis import Pair, PairSynthesis

_SEED = 10_007
_BATCH = 4


@dataclass(frozen=True)
class StratumScore:
    """Errors of the network's answer over the valid pixels of a stratum's pairs.

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
    precision: Precision = "bf16",
) -> dict[str, StratumScore]:
    """Score a network on ``pairs`` synthetic pairs of every stratum, always the same ones.

    ``photos`` supplies the held-out photographs; its mix and seed are not used.
    """
    network.eval()
    scores = {}
    for number, name in enumerate(STRATA):
        synthesis = PairSynthesis(photos.photos, photos.indices, _SEED + number, {name: 1.0})
        errors = []
        for first in range(0, pairs, _BATCH):
            drawn = [synthesis.pair(k, size) for k in range(first, min(first + _BATCH, pairs))]
            errors += _pixel_errors(network, drawn, device, precision)
        scores[name] = summarise(errors)
    return scores


def summarise(errors: Sequence[np.typing.NDArray[np.float32]]) -> StratumScore:
    """Scores from the pixel errors of each pair; pairs without a valid pixel are left out."""
    known = [e for e in errors if len(e)]
    means = np.array([e.mean() for e in known])
    pixels = np.concatenate(known)
    return StratumScore(
        float(means.mean()), float(np.median(means)), float((pixels <= 1).mean()), float((pixels <= 5).mean())
    )


@torch.no_grad()
def _pixel_errors(
    network: GLUNet, pairs: Sequence[Pair], device: torch.device, precision: Precision
) -> list[np.typing.NDArray[np.float32]]:
    def tensor(images: Sequence[Pixels]) -> torch.Tensor:
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(device).float()

    source, target = tensor([p.source for p in pairs]), tensor([p.target for p in pairs])
    size = (target.shape[2], target.shape[3])
    truncate = network.config.truncate_to_uint8
    inputs = [
        prepare(image, shape, truncate=truncate) for shape in (size, (256, 256)) for image in (source, target)
    ]
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        flow = network(*inputs).answer
    flow = F.interpolate(flow.float(), size=size, mode="bilinear", align_corners=False).cpu().numpy()
    out = []
    for k, pair in enumerate(pairs):
        difference = flow[k].transpose(1, 2, 0) - pair.flow
        out.append(np.linalg.norm(difference, axis=2)[pair.valid])
    return out
