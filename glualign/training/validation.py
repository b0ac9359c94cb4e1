"""Validation during a run: the averaged weights on held-out photographs and on real pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from glualign.errors import GlualignError
from glualign.evaluation.datasets import open_dataset
from glualign.network.config import COARSE_SIZE
from glualign.network.glunet import GLUNet
from glualign.network.preprocessing import prepare, working_size
from glualign.network.warping import resize_bilinear
from glualign.training.photometric import Pixels
from glualign.training.strata import STRATA
from glualign.training.synthesis import PairSynthesis, TrainingPair

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
    network.eval()
    scores = {}
    for number, name in enumerate(STRATA):
        synthesis = PairSynthesis(photos.photos, photos.indices, _SEED + number, {name: 1.0})
        errors: list[Errors] = []
        for first in range(0, pairs, _BATCH):
            if stopping():
                return None
            drawn = [synthesis.pair(k, size) for k in range(first, min(first + _BATCH, pairs))]
            errors += _pixel_errors(network, drawn, device, dtype)
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
        errors: dict[str, list[float]] = defaultdict(list)
        for pair in dataset.pairs:
            if stopping():
                return None
            try:
                sample = pair.load()
            except GlualignError:
                continue
            flow = _single_pass(network, sample.source, sample.target, device, dtype)
            errors[pair.group or pair.name].append(
                float(sample.truth.errors(flow, sample.longer_side).epe.mean())
            )
        out = {}
        for name, values in errors.items():
            out[f"{name}_eval_mean"] = float(np.mean(values))
            out[f"{name}_eval_median"] = float(np.median(values))
        return out

    return score


@torch.no_grad()
def _pixel_errors(
    network: GLUNet, pairs: Sequence[TrainingPair], device: torch.device, dtype: torch.dtype
) -> list[Errors]:
    size = (len(pairs[0].flow), len(pairs[0].flow))
    flow = _flow(network, [p.source for p in pairs], [p.target for p in pairs], size, device, dtype)
    flow = F.interpolate(flow, size=size, mode="bilinear", align_corners=False)
    difference = flow.permute(0, 2, 3, 1).cpu().numpy() - np.stack([pair.flow for pair in pairs])
    return [np.linalg.norm(d, axis=2)[pair.valid] for d, pair in zip(difference, pairs, strict=True)]


@torch.no_grad()
def _single_pass(
    network: GLUNet, source: Pixels, target: Pixels, device: torch.device, dtype: torch.dtype
) -> Errors:
    """Flow (H, W, 2) of the target's size from uint8 RGB images, in source pixels."""
    height, width = target.shape[:2]
    scale = min(1.0, _MAX_SIDE / max(height, width))
    size = working_size(round(height * scale), round(width * scale))
    flow = _flow(network, [source], [target], size, device, dtype)
    x, y = resize_bilinear(flow, (height, width))[0].cpu().numpy()
    # The flow is a displacement between two resized frames: each end has a ratio of its own.
    columns, rows = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    across = (columns + 0.5) * (size[1] / width) + x
    down = (rows + 0.5) * (size[0] / height) + y
    across = across * (source.shape[1] / size[1]) - 0.5 - columns
    down = down * (source.shape[0] / size[0]) - 0.5 - rows
    return np.stack([across, down], axis=2).astype(np.float32)


def _flow(
    network: GLUNet,
    sources: Sequence[Pixels],
    targets: Sequence[Pixels],
    size: tuple[int, int],
    device: torch.device,
    dtype: torch.dtype,
) -> torch.Tensor:
    """The network's finest flow (B, 2, h, w) float32, in pixels of ``size``, from uint8 RGB images."""
    images = [
        torch.from_numpy(np.ascontiguousarray(np.stack(each))).permute(0, 3, 1, 2).to(device)
        for each in (sources, targets)
    ]
    inputs = [
        prepare(image, shape, truncate=network.config.truncate_to_uint8)
        for shape in (size, (COARSE_SIZE, COARSE_SIZE))
        for image in images
    ]
    with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        flow: torch.Tensor = network(*inputs).answer.float()
    return flow
