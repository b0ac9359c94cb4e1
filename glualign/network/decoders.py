"""The decoders that turn a correlation into flow, dense (GLU-Net) and residual (GLU-Net-star)."""

from __future__ import annotations

import copy
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

DECODER_CHANNELS = (128, 128, 96, 64, 32)
REFINEMENT_CHANNELS = (128, 128, 128, 96, 64, 32)
REFINEMENT_DILATIONS = (1, 2, 4, 8, 16, 1)
SLOPE = 0.1

Network = TypeVar("Network", bound=nn.Module)


leaky_relu = partial(nn.LeakyReLU, SLOPE, inplace=True)
"""The activation of every block but those of the official 16 x 16 decoder."""
head = partial(nn.Conv2d, out_channels=2, kernel_size=3, padding=1)
"""The plain convolution that predicts two channels."""


def conv_bn(
    before: int,
    after: int,
    activation: nn.Module | None = None,
    *,
    kernel: int = 3,
    dilation: int = 1,
    bias: bool = True,
    spread: int = 0,
) -> nn.Sequential:
    """Convolution (after a depth-wise one of ``spread`` cells), batch norm, activation: a decoder's block."""
    padding = dilation * (kernel // 2)
    layers = [
        nn.Conv2d(before, after, kernel, padding=padding, dilation=dilation, bias=bias),
        nn.BatchNorm2d(after),
    ]
    if spread:
        layers.insert(0, nn.Conv2d(before, before, spread, padding=spread // 2, groups=before, bias=False))
    return nn.Sequential(*layers, *([activation] if activation else []))


def in_float32(convolution: nn.Module, features: Tensor) -> Tensor:
    """Apply a two-channel head in float32 whatever the autocast: flow needs the digits."""
    with torch.autocast(features.device.type, enabled=False):
        result: Tensor = convolution(features.float())
    return result


class DenseDecoder(nn.Module):
    """Decoder of GLU-Net: five blocks that see all earlier features (PWC-Net's estimator), and a head.

    The one for ``mapping``, at 16 x 16, has plain blocks (DGC-Net's map decoder). The names are those of the
    official state dict.
    """

    def __init__(self, before: int, *, width: float = 1.0, mapping: bool = False) -> None:
        super().__init__()
        self.features = before
        self.mapping = mapping
        self.names = [f"conv{index}" if mapping else f"conv_{index}" for index in range(5)]
        for name, count in zip(self.names, DECODER_CHANNELS, strict=True):
            added = round(count * width)
            activation = nn.ReLU(inplace=True) if mapping else leaky_relu()
            self.add_module(name, conv_bn(self.features, added, activation))
            self.features = added if mapping else self.features + added
        self.head_name = "final" if mapping else "predict_flow"
        self.add_module(self.head_name, head(self.features))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Features ``(B, self.features, H, W)`` and two channels ``(B, 2, H, W)`` from ``(B, C, H, W)``.

        The two are a residual flow or, at 16 x 16, a correspondence map in [-1, 1].
        """
        x = inputs
        for name in self.names:
            y = self.get_submodule(name)(x)
            x = y if self.mapping else torch.cat([y, x], dim=1)
        return x, in_float32(self.get_submodule(self.head_name), x)


class ResidualDecoder(nn.Module):
    """Decoder of the star variants: five blocks with two projected shortcuts (DenseMatching).

    A ``separable`` one has a fifth of the weights; its first block sees each cell alone.
    """

    def __init__(
        self, before: int, *, width: float = 1.0, mapping: bool = False, separable: bool = False
    ) -> None:
        super().__init__()
        c0, c1, c2, c3, c4 = (round(count * width) for count in DECODER_CHANNELS)
        block = partial(conv_bn, kernel=1, spread=5) if separable else conv_bn
        self.conv_0 = conv_bn(before, c0, kernel=1 if separable else 3)
        self.conv0_skip = conv_bn(c0, c2, kernel=1, bias=False)
        self.conv_1 = block(c0, c1, leaky_relu())
        self.conv_2 = block(c1, c2)
        self.conv2_skip = conv_bn(c2, c4, kernel=1, bias=False)
        self.conv_3 = block(c2, c3, leaky_relu())
        self.conv_4 = block(c3, c4)
        self.activation = nn.LeakyReLU(SLOPE)
        self.features = c4
        self.head_name = "final" if mapping else "predict_flow"
        self.add_module(self.head_name, head(c4))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Features and two channels, as those of `DenseDecoder`."""
        x0 = self.conv_0(inputs)
        x2 = self.conv_2(self.conv_1(self.activation(x0))) + self.conv0_skip(x0)
        x4 = self.conv_4(self.conv_3(self.activation(x2))) + self.conv2_skip(x2)
        features = self.activation(x4)
        return features, in_float32(self.get_submodule(self.head_name), features)


def refinement_blocks(before: int, *, width: float = 1.0) -> list[nn.Module]:
    """Seven dilated convolutions that refine a flow from its decoder's features (from PWC-Net)."""
    channels = (before, *(round(count * width) for count in REFINEMENT_CHANNELS))
    blocks: list[nn.Module] = [
        conv_bn(channels[index], channels[index + 1], leaky_relu(), dilation=dilation)
        for index, dilation in enumerate(REFINEMENT_DILATIONS)
    ]
    return [*blocks, head(channels[-1])]


def fold_batch_norms(model: Network) -> Network:
    """A copy of ``model``, in evaluation mode, whose batch norms are part of their convolutions.

    Every convolution directly followed by a batch norm in a `nn.Sequential` is merged with it; the batch
    norm becomes an identity, so that the other layers keep their names.
    """
    folded = copy.deepcopy(model).eval()
    for block in folded.modules():
        if not isinstance(block, nn.Sequential):
            continue
        for index in range(len(block) - 1):
            convolution, norm = block[index], block[index + 1]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                block[index] = fuse_conv_bn_eval(convolution, norm)
                block[index + 1] = nn.Identity()
    return folded
