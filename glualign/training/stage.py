"""What a stage of each kind teaches: parameters, rates, and the modes of batch norms."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from glualign.network.glunet import GLUNet
from glualign.training.normalised_pyramid import NormalisedPyramid
from glualign.training.objectives import ContrastiveHead
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
