"""One training step's forward pass: a batch in, a loss and its figures out."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from glualign.network.config import COARSE_SIZE
from glualign.network.glunet import CoarseFeatures, GLUNet, WorkingFeatures
from glualign.network.preprocessing import normalise
from glualign.network.pyramid import VGGPyramid
from glualign.training.batches import Batch
from glualign.training.losses import as_unit, contrastive_loss, end_point_error, level_truth, robust_error
from glualign.training.recipe import StageOptions

Figures = dict[str, Tensor]
CONTRASTIVE_STRIDES = (16, 8, 4)
SAMPLES = (256, 128, 64)
"""Target cells per image at each stride: all of them at 1/16; a step costs the same number at each level."""


class ContrastiveHead(nn.Module):
    """Learned inverse temperatures of the contrastive loss at 1/16, 1/8 and 1/4, kept as logarithms."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scales = nn.Parameter(torch.full((len(CONTRASTIVE_STRIDES),), math.log(20.0)))

    def forward(self, features: dict[int, Tensor], batch: Batch) -> tuple[Tensor, Figures]:
        """Sum of the losses of the strides in ``features``, ``(2 B, C, N, N)`` each, sources then targets."""
        total = self.log_scales.sum() * 0.0
        figures: Figures = {}
        flow, visible = batch["flow"], batch["visible"].float()
        for index, stride in enumerate(CONTRASTIVE_STRIDES):
            if stride not in features:
                continue
            source, target = as_unit(features[stride]).chunk(2)
            truth, seen = level_truth(flow, visible, source.shape[2], source.shape[2] / flow.shape[2])
            loss, hits = contrastive_loss(source, target, truth, seen, self.log_scales[index], SAMPLES[index])
            total = total + loss
            figures[f"hit{stride}"] = hits
        return total, figures


class Objective(nn.Module):
    """Loss of one stage: wraps the network (and, from scratch, the pyramid with batch norm) for one call.

    A module, so that DistributedDataParallel and torch.compile can wrap the whole step.
    """

    def __init__(
        self, network: GLUNet, head: ContrastiveHead, stage: StageOptions, pyramid: VGGPyramid | None
    ) -> None:
        super().__init__()
        self.network = network
        self.head = head
        self.stage = stage
        self.pyramid = pyramid

    def forward(self, batch: Batch, extra_layers: int = 0) -> tuple[Tensor, Figures]:
        """Scalar loss and figures (errors in pixels, shares of found cells) of one batch."""
        if self.stage.kind == "features":
            return self._features_only(batch)
        return self._flows(batch, extra_layers)

    def _features_only(self, batch: Batch) -> tuple[Tensor, Figures]:
        pyramid = self.pyramid if self.pyramid is not None else self.network.pyramid
        images = normalise(torch.cat([batch["source"], batch["target"]]).float())
        with self._pyramid_gradients():
            quarter, eighth = pyramid.working_features(images)
            level4 = pyramid.level_4(eighth)
        coarse = self.network.in_context(*_coarse_features(level4, eighth))
        loss, figures = self._contrast(coarse, eighth, quarter, batch)
        return loss * self.stage.contrastive, figures

    def _contrast(
        self, coarse: tuple[CoarseFeatures, CoarseFeatures], eighth: Tensor, quarter: Tensor, batch: Batch
    ) -> tuple[Tensor, Figures]:
        """Contrastive loss of the levels that learn: 1/8 and 1/4 do with the pyramid only."""
        features = {16: torch.cat([image.level4 for image in coarse])}
        if self.stage.pyramid_rate > 0:
            features |= {8: eighth, 4: quarter}
        result: tuple[Tensor, Figures] = self.head(features, batch)
        return result

    def _pyramid_gradients(self) -> torch.set_grad_enabled:
        return torch.set_grad_enabled(torch.is_grad_enabled() and self.stage.pyramid_rate > 0)

    def _flows(self, batch: Batch, extra_layers: int) -> tuple[Tensor, Figures]:
        stage, network, size = self.stage, self.network, batch["flow"].shape[2]
        with self._pyramid_gradients():
            working, coarse_quarter, coarse_eighth, level4 = self._pyramid(batch)
        count = len(batch["flow"])
        detach = stage.stop_gradients
        coarse = network.in_context(*_coarse_features(level4, coarse_eighth))
        flow4, flow3 = network.coarse_flows(*coarse, detach=detach)
        flows = [flow4, flow3]
        if stage.kind == "full":
            fine = [
                WorkingFeatures(working[1][part], working[0][part])
                for part in (slice(0, count), slice(count, None))
            ]
            flows += network.match_fine(fine[0], fine[1], flow3, extra_layers=extra_layers, detach=detach)
        loss, figures = self._flow_loss(flows, batch, size)
        if stage.contrastive > 0:
            contrast, hits = self._contrast(coarse, coarse_eighth, coarse_quarter, batch)
            loss = loss + stage.contrastive * contrast
            figures.update(hits)
        return loss, figures

    def _pyramid(self, batch: Batch) -> tuple[tuple[Tensor, Tensor], Tensor, Tensor, Tensor]:
        """Features of both images in one pass; a working size of 256 needs only that one."""
        pyramid = self.network.pyramid
        images = normalise(torch.cat([batch["source"], batch["target"]]).float())
        quarter, eighth = pyramid.working_features(images)
        coarse_quarter, coarse_eighth = quarter, eighth
        if "source_256" in batch:
            small = normalise(torch.cat([batch["source_256"], batch["target_256"]]).float())
            coarse_quarter, coarse_eighth = pyramid.working_features(small)
        return (quarter, eighth), coarse_quarter, coarse_eighth, pyramid.level_4(coarse_eighth)

    def _flow_loss(self, flows: list[Tensor], batch: Batch, size: int) -> tuple[Tensor, Figures]:
        stage = self.stage
        valid = batch["valid"].float()
        # A match far outside the frame has no evidence at all; within half a frame the motion extends to it.
        near = (batch["flow"].abs().amax(dim=1, keepdim=True) < size).float()
        figures: Figures = {}
        total = flows[0].new_zeros(())
        scales = (COARSE_SIZE / size, COARSE_SIZE / size, 1.0, 1.0)
        for index, flow in enumerate(flows):
            grid = flow.shape[2]
            truth, counted = level_truth(batch["flow"], valid, grid, scales[index])
            share = torch.maximum(counted, stage.outside * level_truth(batch["flow"], near, grid)[1])
            total = total + stage.level_weights[index] * robust_error(flow, truth, share, stage.powers[index])
            # In 256-pixels at every level, so that sizes can be averaged and levels compared.
            error = end_point_error(flow.detach(), truth, counted) * (
                COARSE_SIZE / size if index > 1 else 1.0
            )
            figures[f"epe{4 - index}"] = error
        return total, figures


def _coarse_features(level4: Tensor, level3: Tensor) -> tuple[CoarseFeatures, CoarseFeatures]:
    """Of source and target, from tensors that hold all sources before all targets."""
    (source4, target4), (source3, target3) = as_unit(level4).chunk(2), level3.chunk(2)
    return CoarseFeatures(source4, source3), CoarseFeatures(target4, target3)
