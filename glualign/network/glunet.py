"""GLU-Net: one global correlation at 16 x 16, then local ones up to 1/4 of the image (paper section 3).

Networks with ``half_decoder_width`` add a decoder at 1/2. The module holds the architecture alone: matching
of image files and everything else that calls it several times is in `glualign.matching`.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glualign.network.config import COARSE_SIZE, GLUNetConfig
from glualign.network.correlation import (
    NeighbourhoodConsensus,
    global_correlation,
    local_correlation,
    mutual_match_features,
    mutual_matching,
    soft_argmax,
    unit_vectors,
)
from glualign.network.decoders import (
    SLOPE,
    DenseDecoder,
    ResidualDecoder,
    conv_bn,
    in_float32,
    leaky_relu,
    refinement_blocks,
)
from glualign.network.features import (
    PRETRAINED_CHANNELS,
    PretrainedFeatures,
    PyramidLevels,
    ThinPyramid,
    VGGPyramid,
)
from glualign.network.global_map import fit_global_map
from glualign.network.lucas_kanade import RADIUS, STEP_CHANNELS, lucas_kanade_steps
from glualign.network.warping import pixel_grid, resize_bilinear, warp_features

COARSE_CELLS = COARSE_SIZE // 16
"""Side of the grid on which every source cell is compared with every target cell."""


class CoarseFeatures(NamedTuple):
    """What the global half of the network needs of one image, hyper-columns included."""

    level4: Tensor
    """``(B, C, 16, 16)``, unit vectors; pretrained features are what the backbone answers."""
    level3: Tensor
    """``(B, C, 32, 32)``."""


class WorkingFeatures(NamedTuple):
    """What the adaptive half of the network needs of one image of the working size (H', W')."""

    eighth: Tensor
    """``(B, C, H'/8, W'/8)``."""
    quarter: Tensor
    """``(B, C, H'/4, W'/4)``."""
    half: Tensor | None = None
    """``(B, C, H'/2, W'/2)``; None for a network that ends at 1/4."""


class _LocalLevel(NamedTuple):
    """What a level from 1/16 to 1/4 corrects a flow with."""

    decoder: nn.Module
    radius: int  # of the local correlation, in cells
    refinement: Sequence[nn.Module] = ()  # dilated convolutions, the last of which predicts


def extra_layer_count(height: int, width: int, *, from_width: bool = False) -> int:
    """Refinement layers between 32 x 32 and 1/8 of the working size (paper section 3.4).

    One layer from 1088 pixels on the longer side, two from 2176, three from 4352. With ``from_width`` the
    width alone decides, as in DenseMatching's GLUNetModel.
    """
    side = width if from_width else max(height, width)
    return max(0, round(math.log2(side / COARSE_SIZE / 3)))


class GLUNet(nn.Module):
    """Every member of the GLU-Net family; the state dict has the keys of the official checkpoints.

    Tensors are float ``(B, C, H, W)``; images are RGB, normalised with the ImageNet statistics.
    """

    def __init__(self, config: GLUNetConfig) -> None:
        super().__init__()
        self.config = config
        radius = config.max_displacement
        window = (2 * radius + 1) ** 2
        decoder = DenseDecoder if config.decoder == "dense" else ResidualDecoder
        width = config.decoder_width

        if config.semantic:
            # The official name; checkpoints carry it.
            self.NeighConsensus = NeighbourhoodConsensus()
        inputs = COARSE_CELLS**2 + 2
        if config.pretrained:
            self.backbone = PretrainedFeatures()
            self.descriptors = nn.Conv2d(PRETRAINED_CHANNELS, config.descriptor_channels, 1, bias=False)
            inputs += 2 + 2 + 2 + 1 + 1  # the matches and the map fitted to them, see `_global_flow`
            self.decoder4_local = decoder(window + 2, width=config.mapping_decoder_width)
            self._level4 = _LocalLevel(self.decoder4_local, radius)
        self.decoder4 = decoder(inputs, width=config.mapping_decoder_width, mapping=True)
        self.decoder3 = decoder(window + 2, width=width)
        self._level3 = _LocalLevel(self.decoder3, radius, self._add_refinement("dc_conv", self.decoder3))
        self.decoder2 = decoder(window + 2, width=width)
        self._level2 = _LocalLevel(self.decoder2, radius)
        self.upfeat2 = nn.ConvTranspose2d(self.decoder2.features, 2, kernel_size=4, stride=2, padding=1)
        twice: Callable[[], nn.Module] = partial(nn.Upsample, scale_factor=2, mode="bilinear")
        if config.upsampling == "transposed":
            twice = partial(nn.ConvTranspose2d, 2, 2, kernel_size=4, stride=2, padding=1)
        self.deconv4, self.deconv2 = twice(), twice()
        near = RADIUS if config.pretrained else radius
        self.decoder1 = decoder((2 * near + 1) ** 2 + 4, width=width)
        refinement = () if config.pretrained else self._add_refinement("l_dc_conv", self.decoder1)
        self._level1 = _LocalLevel(self.decoder1, near, refinement)
        self.pyramid = (ThinPyramid if config.pretrained else VGGPyramid)(config.pyramid_channels)
        if config.half_decoder_width:
            quarter = config.pyramid_channels[1]
            self.half_features = nn.Sequential(
                OrderedDict(
                    # The four pixels of a cell as they are: the strided convolution before them mixes them.
                    embed=conv_bn(3 * 4 + quarter, quarter // 2, leaky_relu()),
                    # Its norm centres the features: a component common to all cells makes all cosines alike.
                    project=conv_bn(quarter // 2, quarter // 2),
                )
            )
            inputs = (2 * RADIUS + 1) ** 2 + 2 + STEP_CHANNELS + quarter // 2 + self.decoder1.features
            self.decoder0 = ResidualDecoder(inputs, width=config.half_decoder_width, separable=True)
        # Whatever the process's default: the arithmetic of flow is that of float32.
        self.to(torch.float32)

    def _add_refinement(self, prefix: str, decoder: DenseDecoder | ResidualDecoder) -> Sequence[nn.Module]:
        blocks = refinement_blocks(decoder.features, width=self.config.decoder_width)
        for index, block in enumerate(blocks, start=1):
            self.add_module(f"{prefix}{index}", block)
        return blocks

    # ---- features of images

    def coarse_features(self, image_256: Tensor, levels: PyramidLevels | None = None) -> CoarseFeatures:
        """Features of normalised images ``(B, 3, 256, 256)``, for `coarse_flows`.

        ``levels`` are what the pyramid answers for them, where it was asked already.
        """
        _, _, level3 = levels or self.pyramid(image_256)
        if self.config.pretrained:
            return CoarseFeatures(self.backbone(image_256), level3)
        level4 = self.pyramid.get_submodule("level_4")(level3)
        if self.config.semantic:
            level5 = F.interpolate(level4, size=(COARSE_CELLS // 2, COARSE_CELLS // 2), mode="area")
            finer = (2 * COARSE_CELLS, 2 * COARSE_CELLS)
            level3 = torch.cat([level3, *(resize_bilinear(each, finer) for each in (level4, level5))], dim=1)
            level4 = torch.cat([level4, resize_bilinear(level5, (COARSE_CELLS, COARSE_CELLS))], dim=1)
        return CoarseFeatures(unit_vectors(level4.float()), level3)

    def described(self, level4: Tensor) -> Tensor:
        """Descriptors ``(B, C, N, N)``, unit vectors, of pretrained features; those of the pyramid stay."""
        if not self.config.pretrained:
            return level4
        with torch.autocast(level4.device.type, enabled=False):
            return unit_vectors(self.descriptors(level4))

    def working_features(self, image: Tensor, levels: PyramidLevels | None = None) -> WorkingFeatures:
        """Features of normalised images ``(B, 3, H', W')`` for `fine_flows`, sides multiples of 8.

        ``levels`` as in `coarse_features`.
        """
        half, quarter, eighth = levels or self.pyramid(image)
        if not self.config.half_decoder_width:
            return WorkingFeatures(eighth, quarter)
        joined = torch.cat([F.pixel_unshuffle(image, 2), half], dim=1)
        return WorkingFeatures(eighth, quarter, self.half_features(joined))

    # ---- flow between two images

    def forward(self, source: Tensor, target: Tensor, source_256: Tensor, target_256: Tensor) -> list[Tensor]:
        """Flow from ``target`` to ``source`` at every level, in one pass.

        Both are normalised ``(B, 3, H', W')``, sides multiples of 8, and again at 256 x 256.

        Returns:
            ``(B, 2, h, w)`` at 16 x 16 and 32 x 32, in pixels of the 256 x 256 image; then at 1/8, 1/4 and,
            with ``half_decoder_width``, 1/2 of the working size, in working pixels.
        """
        coarse = self.coarse_features(source_256), self.coarse_features(target_256)
        flow4, flow3 = self.coarse_flows(*coarse)
        working = self.working_features(source), self.working_features(target)
        return [flow4, flow3, *self.fine_flows(*working, flow3)]

    def coarse_flows(
        self, source: CoarseFeatures, target: CoarseFeatures, *, detach: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The flows at 16 x 16 and 32 x 32, in pixels of 256.

        ``detach`` stops gradients at the flow that enters each warp (for training with a frozen pyramid).
        """
        level = partial(self._local_flow, detach=detach)
        source, target = (each._replace(level4=self.described(each.level4)) for each in (source, target))
        flow4 = self._global_flow(source, target)
        if self.config.pretrained:
            _, flow4 = level(self._level4, source.level4, target.level4, flow4, stride=16)
        flow = in_float32(self.deconv4, flow4)
        _, flow3 = level(self._level3, source.level3, target.level3, flow, stride=8)
        return flow4 * self.config.div, flow3 * self.config.div

    def fine_flows(
        self,
        source: WorkingFeatures,
        target: WorkingFeatures,
        flow3: Tensor,
        *,
        extra_layers: int | None = None,
        detach: bool = False,
    ) -> list[Tensor]:
        """Adaptive-resolution levels: the flows finer than ``flow3`` in working pixels, the finest last.

        ``extra_layers`` replaces the number that the working size calls for; ``detach`` as in `coarse_flows`.
        """
        level = partial(self._local_flow, detach=detach)
        height, width = (8 * side for side in target.eighth.shape[2:])
        if extra_layers is None:
            extra_layers = extra_layer_count(height, width, from_width=self.config.extra_layers_from_width)
        scale = flow3.new_tensor([width / COARSE_SIZE, height / COARSE_SIZE])
        flow = flow3 * scale.view(1, 2, 1, 1) / self.config.div
        for layer in range(extra_layers):
            stride = 8 * 2 ** (extra_layers - layer)
            size = (height // stride, width // stride)
            reduced = (F.interpolate(side.eighth, size=size, mode="area") for side in (source, target))
            _, flow = level(self._level2, *reduced, resize_bilinear(flow, size), stride=stride)
        flow = resize_bilinear(flow, (height // 8, width // 8))
        features, flow2 = level(self._level2, source.eighth, target.eighth, flow, stride=8)
        maps = (source.quarter, target.quarter, in_float32(self.deconv2, flow2), self.upfeat2(features))
        features, flow1 = level(self._level1, *maps, stride=4)
        flows = [flow2, flow1]
        if source.half is not None and target.half is not None:
            coarser = (resize_bilinear(each, (height // 2, width // 2)) for each in (flow1, features))
            flows.append(self._half_flow(source.half, target.half, *coarser, detach=detach))
        return [flow * self.config.div for flow in flows]

    def _global_flow(self, source: CoarseFeatures, target: CoarseFeatures) -> Tensor:
        """Flow at 1/16 from the global correlation, in the network's units."""
        config, cells = self.config, (COARSE_CELLS, COARSE_CELLS)
        # Always float32: it is a small product, and the softmax and the maxima need its digits.
        with torch.autocast(source.level4.device.type, enabled=False):
            cosines = global_correlation(source.level4.float(), target.level4.float())
            correlation = mutual_matching(cosines)
            if config.semantic:
                correlation = mutual_matching(self.NeighConsensus(correlation))
            # The official network was trained with a slot for an initial map and always leaves it empty.
            initial = cosines.new_zeros(len(cosines), 2, *cells)
            more = []
            if config.pretrained:
                mean = soft_argmax(cosines, cells, config.soft_argmax_scale)
                matches = mutual_match_features(cosines, cells, config.soft_argmax_scale)
                best, peaks = matches[:, :2], matches[:, 2:]
                with torch.no_grad():
                    initial, consistency, support = fit_global_map(best, peaks[:, 1:])
                # Relative to the initial map, because the decoder predicts what to add to it.
                more = [best - initial, peaks, mean - initial, consistency, support.expand_as(consistency)]
            seen = torch.cat([unit_vectors(F.relu(correlation)), initial, *more], dim=1)
        mapping: Tensor = self.decoder4(seen)[1]
        # An initial map is what the answer starts from; the empty slot is nothing to add.
        position = (mapping + initial + 1) * (COARSE_CELLS - 1) / 2
        grid = pixel_grid(*cells, device=mapping.device)
        return (position - grid) * (COARSE_SIZE / COARSE_CELLS) / config.div

    def _local_flow(
        self,
        level: _LocalLevel,
        source: Tensor,
        target: Tensor,
        flow: Tensor,
        *more: Tensor,
        stride: int,
        detach: bool,
    ) -> tuple[Tensor, Tensor]:
        """Warp, correlate, decode: the decoder's features and the improved flow, in the network's units.

        Maps are ``(B, C, H, W)``, with ``stride`` pixels from cell to cell. The decoder sees ``more`` beside
        the correlation and the flow.
        """
        to_cells = self.config.div / stride
        warped = warp_features(source, (flow.detach() if detach else flow) * to_cells)
        if self.config.pretrained:
            warped, target = unit_vectors(warped), unit_vectors(target)
        correlation = local_correlation(target, warped, level.radius)
        if not self.config.pretrained:
            correlation = correlation / target.shape[1]
        maps = [flow, *more]
        # In one number format and memory layout, or the first convolution would convert the whole.
        if flow.dtype != correlation.dtype:
            maps = [each.to(correlation.dtype, memory_format=torch.channels_last) for each in maps]
        features, residual = level.decoder(torch.cat([F.leaky_relu(correlation, SLOPE), *maps], dim=1))
        flow = flow + residual
        if level.refinement:
            *blocks, head = level.refinement
            refined = features
            for block in blocks:
                refined = block(refined)
            flow = flow + in_float32(head, refined)
        return features, flow

    def _half_flow(
        self, source: Tensor, target: Tensor, flow: Tensor, features: Tensor, *, detach: bool
    ) -> Tensor:
        """The flow at 1/2: a Lucas-Kanade step is added to ``flow``, and the decoder corrects the sum.

        ``flow`` and the decoder's ``features`` are those of 1/4, resized.
        """
        to_cells = self.config.div / 2
        warped = unit_vectors(warp_features(source, (flow.detach() if detach else flow) * to_cells))
        unit_target = unit_vectors(target)
        correlation = local_correlation(unit_target, warped, RADIUS)
        *steps, difference = lucas_kanade_steps(warped, unit_target)
        steps = [step / to_cells for step in steps]
        # As in `_local_flow`: steps and difference are float32, and channels come first in them.
        maps = [
            each.to(correlation.dtype, memory_format=torch.channels_last)
            for each in (flow, *steps, difference, target, features)
        ]
        _, residual = self.decoder0(torch.cat([F.leaky_relu(correlation, SLOPE), *maps], dim=1))
        corrected: Tensor = flow + steps[0] + residual
        return corrected
