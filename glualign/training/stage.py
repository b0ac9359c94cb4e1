"""What a stage of each kind teaches: parameters, rates, modes of batch norms, and the optimiser step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from glualign.network.glunet import GLUNet
from glualign.network.pyramid import VGGPyramid
from glualign.training.batches import Batch
from glualign.training.objectives import ContrastiveHead
from glualign.training.processes import Processes
from glualign.training.recipe import StageKind, StageOptions

WARM_UP = 0.03
"""Share of a stage over which the rates rise; after that they fall along a cosine."""
FINAL_RATE = 0.01
"""Share of the peak rates that is left at the end of a stage."""
WEIGHT_DECAY = 1e-4
CLIP = 1.0
"""Largest norm of a gradient."""

_HALF_PARTS = ("half_features", "decoder0")
_FINE_PARTS = (*_HALF_PARTS, "decoder2", "upfeat2", "deconv2", "decoder1", "l_dc_conv")
_COARSE_PARTS = ("transformer", "decoder4", "decoder3", "dc_conv", "deconv4")
_LEARNING: dict[StageKind, tuple[str, ...]] = {
    "features": ("transformer",),
    "coarse": _COARSE_PARTS,
    "full": (*_COARSE_PARTS, *_FINE_PARTS),
    "fine": _FINE_PARTS,
    "half": _HALF_PARTS,
}
"""What a stage of each kind teaches besides the pyramid: beginnings of parameter names."""


def release_parameters(
    stage: StageOptions, network: GLUNet, head: ContrastiveHead, pyramid: VGGPyramid | None
) -> list[dict[str, Any]]:
    """Set which parameters learn; returns them as groups for AdamW, with their peak rates as ``peak``."""
    network.requires_grad_(False)
    head.requires_grad_(False)
    features = list((pyramid or network.pyramid).parameters()) if stage.pyramid_rate > 0 else []
    rest = [p for n, p in network.named_parameters() if n.startswith(_LEARNING[stage.kind])]
    if stage.contrastive > 0:
        rest += head.parameters()
    for parameter in (*rest, *features):
        parameter.requires_grad_(True)
    return [
        {"params": parameters, "peak": rate, "lr": rate, "weight_decay": WEIGHT_DECAY}
        for parameters, rate in ((rest, stage.learning_rate), (features, stage.pyramid_rate))
        if parameters
    ]


def set_modes(stage: StageOptions, network: GLUNet, pyramid: VGGPyramid | None) -> None:
    """Training mode for what learns; parts that do not keep their batch-norm statistics."""
    network.train(stage.kind != "features")
    if stage.kind in ("coarse", "fine", "half"):
        for name, module in network.named_children():
            module.train(name.startswith(_LEARNING[stage.kind]) or name == "pyramid")
    if stage.frozen_norms:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
    if pyramid is not None:
        pyramid.train()


def schedule(step: int, steps: int) -> float:
    """Factor on the peak rates of a stage of ``steps`` steps: a linear rise, then a cosine."""
    rise = WARM_UP * steps
    if step < rise:
        return (step + 1) / (rise + 1)
    share = (step - rise) / max(1.0, steps - rise)
    return FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


def take_step(
    module: nn.Module,
    batch: Batch,
    extra_layers: int,
    *,
    trained: Sequence[nn.Module],
    optimiser: torch.optim.Optimizer,
    rate: float,
    dtype: torch.dtype,
    processes: Processes,
) -> tuple[dict[str, float], bool]:
    """One optimiser step.

    A batch whose gradient or batch-norm statistics are not finite changes nothing: it must not end a run of
    hours, nor reach the weights that are exported.

    Args:
        module: the objective, maybe distributed.
        batch: its input.
        extra_layers: the same.
        trained: modules whose batch-norm statistics it moves.
        optimiser: its groups have peak rates as ``peak``.
        rate: factor on these.
        dtype: of convolutions.
        processes: that train together.

    Returns:
        What was measured, and whether the step was taken.
    """
    parameters = []
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * rate
        parameters += group["params"]
    buffers = [b for each in trained for b in each.buffers()]
    former = [b.clone() for b in buffers]
    with torch.autocast(processes.device.type, dtype, enabled=dtype != torch.float32):
        loss, measured = module(batch, extra_layers)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    norm = nn.utils.clip_grad_norm_(parameters, CLIP)
    statistics = [b.norm() for b in buffers if b.is_floating_point()]
    sound = processes.agree(bool(torch.stack([norm, *statistics]).isfinite().all()))
    if sound:
        optimiser.step()
    else:
        torch._foreach_copy_(buffers, former)
    numbers = {name: float(value) for name, value in measured.items()}
    numbers |= {"loss": float(loss.detach()), "gradient": float(norm)}
    return {**numbers, "rate": rate, "skipped": float(not sound)}, sound
