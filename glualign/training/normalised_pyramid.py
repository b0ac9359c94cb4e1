"""A pyramid with batch norm for training from scratch, and its folding into the plain one that ships."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from glualign.network.pyramid import VGGPyramid


class NormalisedPyramid(VGGPyramid):
    """`VGGPyramid` with batch norm after every convolution.

    The layers keep their names: each convolution is replaced by one that normalises its own output, so
    that folding is a matter of the two tensors of each layer.
    """

    def __init__(self, plain: VGGPyramid) -> None:
        nn.Module.__init__(self)
        for name, group in plain.named_children():
            layers = [
                _NormalisedConv(layer) if isinstance(layer, nn.Conv2d) else layer
                for layer in group.children()
            ]
            self.add_module(name, nn.Sequential(*layers))

    @torch.no_grad()
    def fold_into(self, plain: VGGPyramid) -> None:
        """Write the convolutions with their batch norm folded in into a pyramid of the same shape."""
        layers = [layer for layer in self.modules() if isinstance(layer, _NormalisedConv)]
        plain_layers = [layer for layer in plain.modules() if isinstance(layer, nn.Conv2d)]
        for layer, destination in zip(layers, plain_layers, strict=True):
            weight, bias = layer.folded()
            destination.weight.copy_(weight)
            assert destination.bias is not None
            destination.bias.copy_(bias)


class _NormalisedConv(nn.Module):
    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        # Batch norm removes any constant, so the convolution needs no bias of its own.
        self.conv = nn.Conv2d(conv.in_channels, conv.out_channels, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        self.norm = nn.BatchNorm2d(conv.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        normalised: Tensor = self.norm(self.conv(x))
        return normalised

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias of the plain convolution that does the same in evaluation mode."""
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        return self.conv.weight * factor[:, None, None, None], norm.bias - norm.running_mean * factor
