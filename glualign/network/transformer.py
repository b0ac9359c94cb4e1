"""The feature transformer: self- and cross-attention at 16 x 16 before the global correlation.

A 1/16 feature describes some 90 pixels about its cell, which is ambiguous in repeated or plain texture and
changes with viewpoint. Attention adds information from all cells of both images (LoFTR, section 3.2; GMFlow,
section 3.2).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FeatureTransformer(nn.Module):
    """Layers of self-attention, cross-attention and a perceptron, with the same weights for both images.

    Each is residual and ends in a projection initialised to zero: untrained, the module is the identity.
    """

    def __init__(self, channels: int, layers: int, *, heads: int = 4) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(channels, heads) for _ in range(layers))

    def forward(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Transformed features of both images, of any length, from unit vectors ``(B, C, N, N)``."""
        batch, channels, height, width = source.shape
        # Unit vectors times this have entries of order one, what the layers are initialised for.
        scale = math.sqrt(channels)
        position = positional_encoding(channels, height, width, device=source.device)
        tokens = torch.cat([source, target]).flatten(2).transpose(1, 2) * scale
        for layer in self.layers:
            tokens = layer(tokens, position)
        source, target = (tokens / scale).transpose(1, 2).reshape(2 * batch, channels, height, width).chunk(2)
        return source, target


class DescriptorTransformer(nn.Module):
    """Descriptors from features of a pretrained backbone: a linear projection plus what attention adds to it.

    The tokens are narrower than the descriptors, and their last layer starts at zero: untrained, the
    descriptors are the projected features (256 principal components keep 90 % of their variance).
    """

    def __init__(self, inputs: int, descriptors: int, channels: int, layers: int, *, heads: int = 4) -> None:
        super().__init__()
        self.channels = channels
        self.project = nn.Linear(inputs, descriptors, bias=False)
        self.embed = nn.Linear(descriptors, channels)
        self.layers = nn.ModuleList(_Layer(channels, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(channels)
        self.update = _zero_initialised(nn.Linear(channels, descriptors))

    def forward(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors ``(B, inputs, N, N)`` of both images to ``(B, descriptors, N, N)`` of any length."""
        batch, _, height, width = source.shape
        place = positional_encoding(self.channels, height, width, device=source.device)
        features = torch.cat([source, target]).flatten(2).transpose(1, 2)
        projected = F.normalize(self.project(features), dim=2)
        tokens = self.embed(projected * math.sqrt(projected.shape[2]))
        for layer in self.layers:
            tokens = layer(tokens, place)
        descriptors = projected + self.update(self.norm(tokens))
        source, target = descriptors.transpose(1, 2).reshape(2 * batch, -1, height, width).chunk(2)
        return source, target


class _Layer(nn.Module):
    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.self_attention = _Attention(channels, heads)
        self.cross_attention = _Attention(channels, heads)
        self.norm = nn.LayerNorm(channels)
        self.expand = nn.Linear(channels, 4 * channels)
        self.project = _zero_initialised(nn.Linear(4 * channels, channels))

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        """``(2 B, N * N, C)``, sources before targets, to the same shape."""
        tokens = self.self_attention(tokens, tokens, position)
        tokens = self.cross_attention(tokens, torch.cat(tokens.chunk(2)[::-1]), position)
        update: Tensor = self.project(F.gelu(self.expand(self.norm(tokens))))
        return tokens + update


class _Attention(nn.Module):
    """Multi-head attention of every cell to all cells of one image; positions go into queries and keys."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(channels)
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.out = _zero_initialised(nn.Linear(channels, channels))

    def forward(self, tokens: Tensor, context: Tensor, position: Tensor) -> Tensor:
        """``tokens`` ``(2 B, N * N, C)`` plus their attention over ``context`` of the same shape."""
        queries, context = self.norm(tokens), self.norm(context)
        q, k, v = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(queries + position), self.key(context + position), self.value(context))
        )
        # Two plain products: on a CPU the backward pass of the fused attention takes several times as long.
        weights = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(q.shape[3]), dim=3)
        gathered = (weights @ v).transpose(1, 2).flatten(2)
        update: Tensor = self.out(gathered)
        return tokens + update


def positional_encoding(
    channels: int, height: int, width: int, *, device: torch.device | None = None
) -> Tensor:
    """Sines and cosines of a cell's coordinates, ``(height * width, channels)``: half of x, half of y."""
    count = channels // 4
    # Wavelengths from two cells to twenty: the longest still tells the two ends of 16 cells apart.
    frequencies = math.pi * 0.1 ** (torch.arange(count, device=device, dtype=torch.float32) / count)
    ys = torch.arange(height, device=device, dtype=torch.float32)[:, None] * frequencies
    xs = torch.arange(width, device=device, dtype=torch.float32)[:, None] * frequencies
    y = torch.cat([ys.sin(), ys.cos()], dim=1)[:, None].expand(-1, width, -1)
    x = torch.cat([xs.sin(), xs.cos()], dim=1)[None].expand(height, -1, -1)
    return torch.cat([x, y], dim=2).flatten(0, 1)


def _zero_initialised(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
