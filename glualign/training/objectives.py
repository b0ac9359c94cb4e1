"""The forward pass of a training step: a batch in, a loss and metrics out."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from glualign.network.config import COARSE_SIZE
from glualign.network.glunet import CoarseFeatures, GLUNet, WorkingFeatures
from glualign.network.pyramid import VGGPyramid
from glualign.network.warping import normalise
from glualign.training.batches import Batch
from glualign.training.losses import as_unit, contrastive_loss, end_point_error, level_truth, robust_error
from glualign.training.recipe import StageOptions

Metrics = dict[str, Tensor]
CONTRASTIVE_STRIDES = (16, 8, 4)
SAMPLES = (256, 128, 64)
"""Target cells per image at each stride: all of them at 1/16; a step costs the same number at each level."""
LEVEL_WEIGHTS = (0.3, 0.4, 0.6, 1.0, 1.0)
"""Of the loss of flow4, flow3, flow2, flow1 and flow0."""
OUTSIDE = 0.05
"""Weight of pixels whose match lies outside the source frame, so that the flow goes on smoothly there."""


class _Features(NamedTuple):
    """Of a batch of images at its working size and at 256 x 256."""

    working: WorkingFeatures
    coarse: CoarseFeatures
    """Of the image at 256 x 256, before the feature transformer."""
    quarter: Tensor
    """Of the pyramid at 256 x 256, for the contrastive loss."""
    eighth: Tensor
    """The same."""


class ContrastiveHead(nn.Module):
    """Learned inverse temperatures of the contrastive loss at 1/16, 1/8 and 1/4, kept as logarithms."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scales = nn.Parameter(torch.full((len(CONTRASTIVE_STRIDES),), math.log(20.0)))

    def forward(self, features: dict[int, Tensor], batch: Batch) -> tuple[Tensor, Metrics]:
        """Sum of the losses of the strides in ``features``, ``(2 B, C, N, N)`` each, sources then targets."""
        total = self.log_scales.sum() * 0.0
        metrics: Metrics = {}
        flow, visible = batch["flow"], batch["visible"].float()
        for index, stride in enumerate(CONTRASTIVE_STRIDES):
            if stride not in features:
                continue
            source, target = as_unit(features[stride]).chunk(2)
            truth, seen = level_truth(flow, visible, source.shape[2], source.shape[2] / flow.shape[2])
            loss, hits = contrastive_loss(source, target, truth, seen, self.log_scales[index], SAMPLES[index])
            total = total + loss
            metrics[f"hit{stride}"] = hits
        return total, metrics


class Objective(nn.Module):
    """Loss of one stage: wraps the network (and, from scratch, the pyramid with batch norm) for one call.

    A module, so that DistributedDataParallel can wrap the whole step.
    """

    def __init__(
        self, network: GLUNet, head: ContrastiveHead, stage: StageOptions, pyramid: VGGPyramid | None
    ) -> None:
        super().__init__()
        self.network = network
        self.head = head
        self.stage = stage
        self.pyramid = pyramid

    def forward(self, batch: Batch, extra_layers: int = 0) -> tuple[Tensor, Metrics]:
        """Scalar loss and metrics (errors in pixels, shares of found cells) of one batch."""
        if self.stage.kind == "features":
            return self._features_only(batch)
        images, target_images, images_256, targets_256 = (
            normalise(batch[name].float()) for name in ("source", "target", "source_256", "target_256")
        )
        target, source = self._features(target_images, targets_256), self._features(images, images_256)
        stage, network, detach = self.stage, self.network, self.stage.pyramid_rate == 0
        coarse = network.transform_features(source.coarse, target.coarse)
        flows = list(network.coarse_flows(*coarse, detach=detach))
        if stage.kind != "coarse":
            flows += network.fine_flows(
                source.working, target.working, flows[1], extra_layers=extra_layers, detach=detach
            )
        loss, metrics = self._flow_loss(flows, batch)
        if stage.contrastive > 0:
            # Of the levels that learn: 1/8 and 1/4 do with the pyramid only.
            found = {16: torch.cat([image.level4 for image in coarse])}
            if stage.pyramid_rate > 0:
                found[8] = torch.cat([source.eighth, target.eighth])
                found[4] = torch.cat([source.quarter, target.quarter])
            contrast, hits = self.head(found, batch)
            loss = loss + stage.contrastive * contrast
            metrics |= hits
        return loss, metrics

    def _features_only(self, batch: Batch) -> tuple[Tensor, Metrics]:
        images = normalise(torch.cat([batch["source"], batch["target"]]).float())
        both = self._features(images, images)
        halves = zip(*(level.chunk(2) for level in both.coarse), strict=True)
        coarse = self.network.transform_features(*(CoarseFeatures(*levels) for levels in halves))
        found = {16: torch.cat([image.level4 for image in coarse])}
        if self.stage.pyramid_rate > 0:
            found |= {8: both.eighth, 4: both.quarter}
        loss, metrics = self.head(found, batch)
        return loss * self.stage.contrastive, metrics

    def _features(self, images: Tensor, images_256: Tensor) -> _Features:
        """Features of a batch at its working size and at 256 x 256; where these are one, of one pyramid."""
        pyramid = self.pyramid if self.pyramid is not None else self.network.pyramid
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.stage.pyramid_rate > 0):
            half = pyramid.half_features(images)
            quarter, eighth = pyramid.beyond_half(half)
            coarse_quarter, coarse_eighth = quarter, eighth
            if images.shape[2] != COARSE_SIZE:
                coarse_quarter, coarse_eighth = pyramid.working_features(images_256)
            if self.network.config.pretrained:
                coarse = self.network.coarse_features(images_256)
            else:
                coarse = CoarseFeatures(as_unit(pyramid.level_4(coarse_eighth)), coarse_eighth)
        joint = None
        if self.network.config.half_decoder_width and self.stage.kind not in ("features", "coarse"):
            joint = self.network.half_features(images, half)
        return _Features(WorkingFeatures(eighth, quarter, joint), coarse, coarse_quarter, coarse_eighth)

    def _flow_loss(self, flows: list[Tensor], batch: Batch) -> tuple[Tensor, Metrics]:
        stage, size = self.stage, batch["flow"].shape[2]
        valid = batch["valid"].float()
        # Matches up to a frame's side outside the frame count a little; further ones cannot be seen at all.
        near = (batch["flow"].abs().amax(dim=1, keepdim=True) < size).float()
        metrics: Metrics = {}
        total = flows[0].new_zeros(())
        for index, flow in enumerate(flows):
            grid = flow.shape[2]
            scale = COARSE_SIZE / size if index < 2 else 1.0
            truth, counted = level_truth(batch["flow"], valid, grid, scale)
            share = torch.maximum(counted, OUTSIDE * level_truth(batch["flow"], near, grid)[1])
            total += LEVEL_WEIGHTS[index] * robust_error(flow, truth, share, stage.loss_exponents[index])
            # In 256-pixels at every level, so that sizes can be averaged and levels compared.
            error = end_point_error(flow.detach(), truth, counted) * (
                COARSE_SIZE / size if index > 1 else 1.0
            )
            metrics[f"epe{4 - index}"] = error
        return total, metrics
