"""GLU-Net: one global correlation at 16 x 16, then local ones up to 1/4 of the image (paper section 3).

Networks with ``half_decoder_width`` add a decoder at 1/2. The module holds the architecture alone: matching
of image files and everything else that calls it several times is in `glualign.matching`.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import groupby
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glualign.network.config import COARSE_SIZE, GLUNetConfig
from glualign.network.consensus import NeighbourhoodConsensus
from glualign.network.correlation import (
    global_correlation,
    local_correlation,
    mutual_match_features,
    mutual_matching,
    soft_argmax,
    unit_vectors,
)
from glualign.network.decoders import (
    SLOPE,
    DenseFlowDecoder,
    DenseMappingDecoder,
    ResidualDecoder,
    in_float32,
    refinement_blocks,
)
from glualign.network.global_map import fit_global_map
from glualign.network.lucas_kanade import RADIUS, STEP_CHANNELS, HalfFeatures, lucas_kanade_steps
from glualign.network.pretrained_features import CHANNELS, PretrainedFeatures
from glualign.network.pyramid import VGGPyramid
from glualign.network.transformer import DescriptorTransformer, FeatureTransformer
from glualign.network.warping import pixel_grid, resize_area, resize_bilinear, warp_features

COARSE_CELLS = COARSE_SIZE // 16
"""Side of the grid on which every source cell is compared with every target cell."""


class CoarseFeatures(NamedTuple):
    """What the global half of the network needs of one image, hyper-columns included."""

    level4: Tensor
    """``(B, C, 16, 16)``, unit vectors."""
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


class GLUNetOutput(NamedTuple):
    """Flow target -> source of every level, in pixels."""

    flow4: Tensor
    """``(B, 2, 16, 16)`` in pixels of the 256 x 256 image."""
    flow3: Tensor
    """``(B, 2, 32, 32)`` in pixels of the 256 x 256 image."""
    flow2: Tensor
    """``(B, 2, H'/8, W'/8)`` in pixels of the working image."""
    flow1: Tensor
    """``(B, 2, H'/4, W'/4)`` in pixels of the working image."""
    flow0: Tensor | None = None
    """``(B, 2, H'/2, W'/2)`` in pixels of the working image; None for a network that ends at 1/4."""

    @property
    def finest(self) -> Tensor:
        """The finest flow."""
        return self.flow1 if self.flow0 is None else self.flow0


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
        window = config.correlation_channels
        dense = config.decoder == "dense"
        mapping_decoder = DenseMappingDecoder if dense else partial(ResidualDecoder, head_name="final")
        flow_decoder = DenseFlowDecoder if dense else ResidualDecoder
        width = config.decoder_width

        if config.semantic:
            # The official name; checkpoints carry it.
            self.NeighConsensus = NeighbourhoodConsensus()
        if config.pretrained:
            self.backbone = PretrainedFeatures()
            self.transformer: DescriptorTransformer | FeatureTransformer = DescriptorTransformer(
                CHANNELS,
                config.descriptor_channels,
                config.transformer_channels,
                config.transformer_layers,
            )
        elif config.transformer_layers:
            self.transformer = FeatureTransformer(config.pyramid_channels[3], config.transformer_layers)
        match_channels = 4 * config.mutual_match_features + 4 * config.global_map
        self.decoder4 = mapping_decoder(
            COARSE_CELLS**2 + 2 + match_channels, width=config.mapping_decoder_width
        )
        if config.local_mapping:
            self.decoder4_local = flow_decoder(window + 2, width=config.mapping_decoder_width)
        self.decoder3 = flow_decoder(window + 2, width=width)
        for index, block in enumerate(refinement_blocks(self.decoder3.features, width=width), start=1):
            self.add_module(f"dc_conv{index}", block)
        self.decoder2 = flow_decoder(window + 2, width=width)
        self.upfeat2 = nn.ConvTranspose2d(self.decoder2.features, 2, kernel_size=4, stride=2, padding=1)
        if config.upsampling == "transposed":
            self.deconv4 = nn.ConvTranspose2d(2, 2, kernel_size=4, stride=2, padding=1)
            self.deconv2 = nn.ConvTranspose2d(2, 2, kernel_size=4, stride=2, padding=1)
        self.decoder1 = flow_decoder(window + 4, width=width)
        for index, block in enumerate(refinement_blocks(self.decoder1.features, width=width), start=1):
            self.add_module(f"l_dc_conv{index}", block)
        self.pyramid = VGGPyramid(config.pyramid_channels, coarse=not config.pretrained)
        if config.half_decoder_width:
            quarter = config.pyramid_channels[1]
            self.half_features = HalfFeatures(quarter, quarter // 2)
            inputs = (2 * RADIUS + 1) ** 2 + 2 + STEP_CHANNELS + quarter // 2 + self.decoder1.features
            self.decoder0 = flow_decoder(inputs, width=config.half_decoder_width)
        # Whatever the process's default: the arithmetic of flow is that of float32.
        self.to(torch.float32)

    # ---- features of images

    def global_features(self, image_256: Tensor) -> Tensor:
        """Level 4 alone of `coarse_features`, for less where it does not come from the pyramid."""
        if not self.config.pretrained:
            return self.coarse_features(image_256).level4
        features: Tensor = self.backbone(image_256)
        return features

    def coarse_features(self, image_256: Tensor) -> CoarseFeatures:
        """Features of normalised images ``(B, 3, 256, 256)``, for `transform_features`."""
        if self.config.pretrained:
            return CoarseFeatures(
                self.global_features(image_256), self.pyramid.working_features(image_256)[1]
            )
        level3, level4 = self.pyramid.coarse_features(image_256)
        if self.config.semantic:
            level5 = resize_area(level4, (COARSE_CELLS // 2, COARSE_CELLS // 2))
            finer = (2 * COARSE_CELLS, 2 * COARSE_CELLS)
            level3 = torch.cat(
                [level3, resize_bilinear(level4, finer), resize_bilinear(level5, finer)], dim=1
            )
            level4 = torch.cat([level4, resize_bilinear(level5, (COARSE_CELLS, COARSE_CELLS))], dim=1)
        return CoarseFeatures(unit_vectors(level4.float()), level3)

    def working_features(self, image: Tensor) -> WorkingFeatures:
        """Features of normalised images ``(B, 3, H', W')`` for `fine_flows`, sides multiples of 8."""
        half = self.pyramid.half_features(image)
        quarter, eighth = self.pyramid.beyond_half(half)
        if not self.config.half_decoder_width:
            return WorkingFeatures(eighth, quarter)
        return WorkingFeatures(eighth, quarter, self.half_features(image, half))

    def transform_features(
        self, source: CoarseFeatures, target: CoarseFeatures
    ) -> tuple[CoarseFeatures, CoarseFeatures]:
        """Self- and cross-attention between both images; without transformer layers, the same features."""
        if not self.config.transformer_layers:
            return source, target
        transformed = self.transformer(source.level4, target.level4)
        source4, target4 = (unit_vectors(level4.float()) for level4 in transformed)
        return CoarseFeatures(source4, source.level3), CoarseFeatures(target4, target.level3)

    # ---- flow between two images

    def forward(
        self,
        source: Tensor,
        target: Tensor,
        source_256: Tensor,
        target_256: Tensor,
        *,
        extra_layers: int | None = None,
        detach: bool = False,
    ) -> GLUNetOutput:
        """Flow from ``target`` to ``source`` at every level, in one pass.

        Args:
            source: normalised ``(B, 3, H', W')``, both sides multiples of 8.
            target: same shape.
            source_256: the source at 256 x 256.
            target_256: the target at 256 x 256.
            extra_layers: instead of the number that the working size calls for.
            detach: stop gradients at the flow that enters each warp (for training with a frozen pyramid).
        """
        flow4, flow3 = self.coarse_flows(
            *self.transform_features(self.coarse_features(source_256), self.coarse_features(target_256)),
            detach=detach,
        )
        finer = self.fine_flows(
            self.working_features(source),
            self.working_features(target),
            flow3,
            extra_layers=extra_layers,
            detach=detach,
        )
        return GLUNetOutput(flow4, flow3, *finer)

    def coarse_flows(
        self, source: CoarseFeatures, target: CoarseFeatures, *, detach: bool = False
    ) -> tuple[Tensor, Tensor]:
        """``flow4`` and ``flow3`` in pixels of the 256 x 256 image, of what `transform_features` returned."""
        flow4 = self._global_flow(source, target)
        if self.config.local_mapping:
            _, flow4 = self._local_flow(
                self.decoder4_local, source.level4, target.level4, flow4, stride=16, detach=detach
            )
        up_flow4 = self._upsampled(flow4, "deconv4", (2 * COARSE_CELLS, 2 * COARSE_CELLS))
        features, flow3 = self._local_flow(
            self.decoder3, source.level3, target.level3, up_flow4, stride=8, detach=detach
        )
        flow3 = flow3 + self._refinement("dc_conv", features)
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
        """Adaptive-resolution levels: the flows finer than ``flow3`` in working pixels, the finest last."""
        up_flow3 = self._to_working_size(source.eighth, target.eighth, flow3, extra_layers, detach)
        features, flow2 = self._local_flow(
            self.decoder2, source.eighth, target.eighth, up_flow3, stride=8, detach=detach
        )
        size = (target.quarter.shape[2], target.quarter.shape[3])
        up_flow2 = self._upsampled(flow2, "deconv2", size)
        up_features = self.upfeat2(features)
        features, flow1 = self._local_flow(
            self.decoder1, source.quarter, target.quarter, up_flow2, up_features, stride=4, detach=detach
        )
        flow1 = flow1 + self._refinement("l_dc_conv", features)
        flows = [flow2, flow1]
        if source.half is not None and target.half is not None:
            flows.append(self._half_flow(source.half, target.half, flow1, features, detach))
        return [flow * self.config.div for flow in flows]

    # ---- levels

    def _global_flow(self, source: CoarseFeatures, target: CoarseFeatures) -> Tensor:
        # Always float32: it is a small product, and the softmax and the maxima need its digits.
        with torch.autocast(source.level4.device.type, enabled=False):
            cosines = global_correlation(source.level4.float(), target.level4.float())
            correlation = mutual_matching(cosines)
            if self.config.semantic:
                correlation = mutual_matching(self.NeighConsensus(correlation))
            correlation = unit_vectors(F.relu(correlation))
            initial, *match_features = self._initial_map(cosines)
        mapping: Tensor = self.decoder4(torch.cat([correlation, initial, *match_features], dim=1))[1]
        if self.config.soft_argmax_init:
            mapping = mapping + initial
        position = (mapping + 1) * (COARSE_CELLS - 1) / 2
        grid = pixel_grid(COARSE_CELLS, COARSE_CELLS, device=mapping.device)
        return (position - grid) * (COARSE_SIZE / COARSE_CELLS) / self.config.div

    def _initial_map(self, cosines: Tensor) -> list[Tensor]:
        """The map that the 16 x 16 decoder adds to, then the further maps that it sees."""
        cells = (COARSE_CELLS, COARSE_CELLS)
        if not self.config.soft_argmax_init:
            # The official network was trained with a slot for an initial map and always leaves it empty.
            return [cosines.new_zeros(cosines.shape[0], 2, *cells)]
        mean = initial = soft_argmax(cosines, cells, self.config.soft_argmax_scale)
        if not self.config.mutual_match_features:
            return [initial]
        matches = mutual_match_features(cosines, cells, self.config.soft_argmax_scale)
        best, confidence = matches[:, :2], matches[:, 3:]
        more = []
        if self.config.global_map:
            with torch.no_grad():
                fitted = fit_global_map(best, confidence)
            initial = fitted.position
            more = [mean - initial, fitted.consistency, fitted.support.expand_as(fitted.consistency)]
        # Relative to the initial map, because the decoder predicts what to add to it.
        return [initial, best - initial, matches[:, 2:], *more]

    def _local_flow(
        self,
        decoder: nn.Module,
        source: Tensor,
        target: Tensor,
        flow: Tensor,
        *more: Tensor,
        stride: float,
        detach: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Warp, correlate, decode: features of the decoder and the improved flow, in the network's units."""
        warped = warp_features(source, (flow.detach() if detach else flow) * (self.config.div / stride))
        if self.config.unit_local_features:
            correlation = local_correlation(
                unit_vectors(target), unit_vectors(warped), self.config.max_displacement
            )
        else:
            correlation = local_correlation(target, warped, self.config.max_displacement) / target.shape[1]
        features, residual = decoder(_concatenated(F.leaky_relu(correlation, SLOPE), flow, *more))
        return features, flow + residual

    def _half_flow(
        self, source: Tensor, target: Tensor, flow1: Tensor, features1: Tensor, detach: bool
    ) -> Tensor:
        """The flow at 1/2 from that at 1/4 and its decoder's features, in the network's units."""
        size = (target.shape[2], target.shape[3])
        cells = self.config.div / 2
        flow = resize_bilinear(flow1, size)
        warped = unit_vectors(warp_features(source, (flow.detach() if detach else flow) * cells))
        unit_target = unit_vectors(target)
        *steps, difference = lucas_kanade_steps(warped, unit_target)
        correlation = local_correlation(unit_target, warped, RADIUS)
        steps = [step / cells for step in steps]
        seen = (flow, *steps, difference, target, resize_bilinear(features1, size))
        _, residual = self.decoder0(_concatenated(F.leaky_relu(correlation, SLOPE), *seen))
        result: Tensor = flow + steps[0] + residual
        return result

    def _to_working_size(
        self, source: Tensor, target: Tensor, flow3: Tensor, extra_layers: int | None, detach: bool
    ) -> Tensor:
        """Resize flow3 from 256 x 256 to 1/8 of the working size, in extra layers if the gap is wide."""
        height, width = (8 * side for side in target.shape[2:])
        if extra_layers is None:
            extra_layers = extra_layer_count(height, width, from_width=self.config.extra_layers_from_width)
        scale = flow3.new_tensor([width / COARSE_SIZE, height / COARSE_SIZE])
        flow = flow3 * scale.view(1, 2, 1, 1) / self.config.div
        for layer in range(extra_layers):
            stride = 8 * 2 ** (extra_layers - layer)
            size = (height // stride, width // stride)
            _, flow = self._local_flow(
                self.decoder2,
                resize_area(source, size),
                resize_area(target, size),
                resize_bilinear(flow, size),
                stride=stride,
                detach=detach,
            )
        return resize_bilinear(flow, (height // 8, width // 8))

    def _upsampled(self, flow: Tensor, name: str, size: tuple[int, int]) -> Tensor:
        if self.config.upsampling == "bilinear":
            return resize_bilinear(flow, size)
        return in_float32(self.get_submodule(name), flow)

    def _refinement(self, name: str, features: Tensor) -> Tensor:
        for index in range(1, 7):
            features = self.get_submodule(f"{name}{index}")(features)
        return in_float32(self.get_submodule(f"{name}7"), features)


def _concatenated(first: Tensor, *more: Tensor) -> Tensor:
    """Maps concatenated over channels, in the number format of the first.

    Where formats differ, the convolution that follows would convert the whole; few channels cost less.
    """
    maps = (first, *more)
    if all(each.dtype == first.dtype for each in maps):
        return torch.cat(maps, dim=1)
    alike = [torch.cat(list(group), dim=1) for _, group in groupby(maps, key=lambda each: each.dtype)]
    channels_last = torch.channels_last
    return torch.cat([each.to(first.dtype).contiguous(memory_format=channels_last) for each in alike], dim=1)
