"""What a stage of each kind teaches: parameters, rates, modes of batch norms, and the optimiser step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from glualign.network.glunet import GLUNet
from glualign.training.batches import Batch
from glualign.training.normalised_pyramid import NormalisedPyramid
from glualign.training.objectives import ContrastiveHead
from glualign.training.processes import Processes
from glualign.training.recipe import StageKind, StageOptions

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
    stage: StageOptions, network: GLUNet, head: ContrastiveHead, pyramid: NormalisedPyramid | None
) -> list[dict[str, Any]]:
    """Set which parameters learn; returns them as groups for AdamW, with their peak rates as ``peak``."""
    network.requires_grad_(False)
    head.requires_grad_(False)
    features: list[nn.Parameter] = []
    if stage.pyramid_rate > 0:
        features = [
            parameter
            for name, parameter in (pyramid or network.pyramid).named_parameters()
            if name.split(".")[0] not in stage.frozen_groups
        ]
    rest = [p for n, p in network.named_parameters() if n.startswith(_LEARNING[stage.kind])]
    if stage.contrastive > 0:
        rest += head.parameters()
    groups: list[dict[str, Any]] = [
        {"params": parameters, "peak": rate, "lr": rate, "weight_decay": stage.weight_decay}
        for parameters, rate in ((rest, stage.learning_rate), (features, stage.pyramid_rate))
        if parameters
    ]
    for group in groups:
        for parameter in group["params"]:
            parameter.requires_grad_(True)
    return groups


def set_modes(stage: StageOptions, network: GLUNet, pyramid: NormalisedPyramid | None) -> None:
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


def schedule(step: int, stage: StageOptions) -> float:
    """Factor on the peak rates: a linear rise over the warm-up, then a cosine down to ``final_rate``."""
    rise = stage.warm_up * stage.steps
    if step < rise:
        return (step + 1) / (rise + 1)
    share = (step - rise) / max(1.0, stage.steps - rise)
    return stage.final_rate + (1 - stage.final_rate) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


@dataclass(frozen=True, eq=False)
class TrainingStep:
    """One optimiser step.

    Attributes:
        module: the objective, maybe distributed.
        trained: modules whose batch-norm statistics it moves.
        optimiser: its groups have peak rates as ``peak``.
        clip: largest gradient norm.
        dtype: of convolutions.
        processes: that train together.
    """

    module: nn.Module
    trained: Sequence[nn.Module]
    optimiser: torch.optim.Optimizer
    clip: float
    dtype: torch.dtype
    processes: Processes

    def __call__(self, batch: Batch, extra_layers: int, rate: float) -> tuple[dict[str, float], bool]:
        """Returns what was measured, and whether the step was taken.

        A batch whose gradient or batch-norm statistics are not finite changes nothing: it must not end a run
        of hours, nor reach the weights that are exported.
        """
        groups = self.optimiser.param_groups
        for group in groups:
            group["lr"] = group["peak"] * rate
        buffers = [b for module in self.trained for b in module.buffers()]
        former = [b.clone() for b in buffers]
        with torch.autocast(self.processes.device.type, self.dtype, enabled=self.dtype != torch.float32):
            loss, measured = self.module(batch, extra_layers)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], self.clip)
        statistics = [b.norm() for b in buffers if b.is_floating_point()]
        sound = self.processes.agree(bool(torch.stack([norm, *statistics]).isfinite().all()))
        if sound:
            self.optimiser.step()
        else:
            with torch.no_grad():
                for buffer, value in zip(buffers, former, strict=True):
                    buffer.copy_(value)
        measured |= {"loss": loss.detach(), "gradient": norm}
        numbers = {name: float(value) for name, value in measured.items()}
        return {**numbers, "rate": rate, "skipped": float(not sound)}, sound
