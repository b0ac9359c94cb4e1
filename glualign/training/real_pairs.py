"""Validation on a folder of real pairs with ground truth: a single forward pass, no post-processing.

For watching a run. Pairs that decide what ships should not be among those that are watched.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from glualign.errors import GlualignError
from glualign.evaluation.datasets import open_dataset
from glualign.network.config import COARSE_SIZE
from glualign.network.glunet import GLUNet
from glualign.network.preprocessing import prepare, working_size
from glualign.network.warping import resize_bilinear

MAX_SIDE = 768


def real_pairs_validator(folder: Path, device: torch.device) -> Callable[[GLUNet], dict[str, float]]:
    """A function that scores a network on the pairs of ``folder`` (layout of ``glualign evaluate pairs``).

    It returns, for every set, ``SET_eval_mean`` and ``SET_eval_median``: mean and median over its pairs of a
    pair's mean end-point error, in pixels of the source. Pairs that cannot be read are left out.

    Raises:
        DatasetError: the folder holds no pairs.
    """
    dataset = open_dataset("pairs", folder)

    def score(network: GLUNet) -> dict[str, float]:
        errors: dict[str, list[float]] = defaultdict(list)
        for pair in dataset.pairs:
            try:
                sample = pair.load()
            except GlualignError:
                continue
            flow = single_pass(network, sample.source, sample.target, device)
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
def single_pass(
    network: GLUNet,
    source: np.typing.NDArray[np.uint8],
    target: np.typing.NDArray[np.uint8],
    device: torch.device,
    max_side: int = MAX_SIDE,
) -> np.typing.NDArray[np.float32]:
    """Flow (H, W, 2) of the target's size from uint8 RGB images, in source pixels."""
    height, width = target.shape[:2]
    scale = min(1.0, max_side / max(height, width))
    size = working_size(round(height * scale), round(width * scale))
    truncate = network.config.truncate_to_uint8

    def images(shape: tuple[int, int]) -> list[Tensor]:
        tensors = (
            torch.from_numpy(np.ascontiguousarray(i)).permute(2, 0, 1)[None].to(device)
            for i in (source, target)
        )
        return [prepare(t, shape, truncate=truncate) for t in tensors]

    with torch.autocast(device.type, torch.bfloat16):
        flow = network(*images(size), *images((COARSE_SIZE, COARSE_SIZE))).answer.float()
    x, y = resize_bilinear(flow, (height, width))[0].cpu().numpy()
    # The flow is a displacement between two resized frames: each end has a ratio of its own.
    columns, rows = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    across = (columns + 0.5) * (size[1] / width) + x
    down = (rows + 0.5) * (size[0] / height) + y
    across = across * (source.shape[1] / size[1]) - 0.5 - columns
    down = down * (source.shape[0] / size[0]) - 0.5 - rows
    return np.stack([across, down], axis=2).astype(np.float32)
