"""Starting weights, and the running average of weights that is validated and exported."""

from __future__ import annotations

import os

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from glualign.errors import TrainingError
from glualign.network.glunet import GLUNet
from glualign.network.transformer import DescriptorTransformer


@torch.no_grad()
def start_from(network: GLUNet, weights: dict[str, Tensor]) -> list[str]:
    """Copy weights into a network that may have *more* than they do; the additions change nothing at first.

    A convolution that sees more input channels than its weights gets zeros for the new ones, and a decoder
    that the weights lack gets a zero head, so that the network starts as exactly the one the weights are of.

    Returns:
        The tensors that the weights do not determine.

    Raises:
        TrainingError: the weights are of another network.
    """
    state = network.state_dict()
    surplus = sorted(set(weights) - set(state))
    if surplus:
        raise TrainingError(f"the weights to start from hold {surplus[0]}, which the recipe's model has not")
    for name, value in weights.items():
        mine = state[name]
        if mine.shape == value.shape:
            mine.copy_(value)
        elif (
            mine.ndim == 4
            and mine.shape[1] > value.shape[1]
            and mine[:, : value.shape[1]].shape == value.shape
        ):
            mine.zero_()
            mine[:, : value.shape[1]] = value
        else:
            raise TrainingError(
                f"the weights to start from have {name} of shape {tuple(value.shape)}; "
                f"the recipe's model needs {tuple(mine.shape)}"
            )
    new = [name for name in state if name not in weights]
    for name in new:
        if ".predict_flow." in name:
            state[name].zero_()
    return new


@torch.no_grad()
def initialise(network: nn.Module) -> None:
    """Kaiming weights, zero biases and nearly silent heads: every level starts from the flow it was given."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, a=0.1)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            if name.endswith(("predict_flow", "final", "dc_conv7")):
                module.weight.mul_(0.05)


@torch.no_grad()
def start_from_backbone(network: GLUNet, path: str | os.PathLike[str], images: Tensor) -> None:
    """Load the frozen networks of a pretrained coarse half, and project on the principal components.

    Args:
        network: with a pretrained ``coarse_backbone``.
        path: what ``tools/convert_backbones.py`` wrote.
        images: ``(N, 3, 256, 256)``, normalised, whose features the components are of.

    Raises:
        TrainingError: the file or the model is not of this kind.
    """
    if not network.config.pretrained:
        raise TrainingError("run.backbone: the recipe's model has no pretrained coarse_backbone")
    try:
        network.backbone.load_state_dict({key: value.float() for key, value in load_file(path).items()})
    except (OSError, SafetensorError, RuntimeError) as error:
        raise TrainingError(f"{path}: not the networks of tools/convert_backbones.py ({error})") from error
    features = [network.coarse_features(image).level4.flatten(2)[0].T for image in torch.split(images, 1)]
    # Not centred: each image's features are, by its own mean.
    stacked = torch.cat(features).double()
    _, vectors = torch.linalg.eigh(stacked.T @ stacked)
    assert isinstance(network.transformer, DescriptorTransformer)
    weight = network.transformer.project.weight
    weight.copy_(vectors[:, -len(weight) :].T.flip(0))


class RunningAverage:
    """Exponential average of all floating-point tensors of a module; counters are copied."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.state = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move towards the module's tensors; the first updates move faster, to forget the start."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        mine, theirs = [], []
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                mine.append(self.state[name])
                theirs.append(value.detach())
            else:
                self.state[name].copy_(value)
        torch._foreach_lerp_(mine, theirs, 1 - decay)
