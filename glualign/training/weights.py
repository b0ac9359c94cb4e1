"""Starting weights, batch norm while a pyramid is learned from nothing, and the running average."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from glualign.errors import TrainingError
from glualign.network.glunet import GLUNet


@torch.no_grad()
def start_from(network: GLUNet, weights: dict[str, Tensor]) -> list[str]:
    """Copy weights into a network that may have *more* than they do.

    A decoder that the weights lack gets a zero head, so that it changes nothing at first; all but that of the
    global correlation, whose answer is a position.
    Returns the tensors that the weights do not determine; a `TrainingError` says that they are of another
    network.
    """
    state = network.state_dict()
    if surplus := sorted(set(weights) - set(state)):
        raise TrainingError(f"the weights to start from hold {surplus[0]}, which the recipe's model has not")
    for name, value in weights.items():
        if state[name].shape != value.shape:
            raise TrainingError(
                f"the weights to start from have {name} of shape {tuple(value.shape)}; "
                f"the recipe's model needs {tuple(state[name].shape)}"
            )
        state[name].copy_(value)
    new = [name for name in state if name not in weights]
    for name in (each for each in new if ".predict_flow." in each):
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


def begin_level2(*networks: GLUNet) -> None:
    """Begin the decoder at 1/8 of the working size as that at 1/8 of 256 x 256, which reads such features.

    From random weights it came to change no flow at all (docs/training.md).
    """
    for each in networks:
        each.decoder2.load_state_dict(each.decoder3.state_dict())


def add_batch_norms(pyramid: nn.Module) -> None:
    """Start a pyramid anew, with batch norm after every convolution, to be trained from nothing."""
    for group in pyramid.children():
        for name, layer in group.named_children():
            if isinstance(layer, nn.Conv2d):
                # Batch norm removes any constant, so the convolution needs no bias of its own.
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                layer.bias = None
                norm = nn.BatchNorm2d(layer.out_channels, device=layer.weight.device)
                setattr(group, name, nn.Sequential(layer, norm))


def remove_batch_norms(pyramid: nn.Module) -> None:
    """Fold what `add_batch_norms` added into the convolutions, which then have the plain pyramid's names."""
    for group in pyramid.eval().children():
        for name, layer in group.named_children():
            if isinstance(layer, nn.Sequential):
                setattr(group, name, nn.utils.fuse_conv_bn_eval(*layer))


@torch.no_grad()
def move_average(average: nn.Module, network: nn.Module, decay: float, updates: int) -> None:
    """Exponential average of all floating-point tensors of a network; counters are copied.

    Its weight on the past is at most ``decay``; the first updates move faster, to forget the start.
    """
    share = 1 - min(decay, (2 + updates) / (11 + updates))
    for mine, theirs in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mine.is_floating_point():
            mine.lerp_(theirs, share)
        else:
            mine.copy_(theirs)
