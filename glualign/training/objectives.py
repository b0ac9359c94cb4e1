"""What a stage teaches: which parameters learn at which rate, and how a batch becomes a loss."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glualign.network.config import COARSE_SIZE
from glualign.network.correlation import global_correlation, unit_vectors
from glualign.network.glunet import CoarseFeatures, GLUNet, WorkingFeatures
from glualign.network.warping import normalise, pixel_grid, resize_bilinear, warp_features
from glualign.training.batches import Batch
from glualign.training.photos import KINDS
from glualign.training.recipe import StageKind, StageOptions

Metrics = dict[str, Tensor]
SAMPLES = {16: 256, 8: 128, 4: 64}
"""Target cells per image at each stride of the contrastive loss: all of them at 1/16; a step costs the same
number at each level."""
LEVEL_WEIGHTS = (0.3, 0.4, 0.6, 1.0, 1.0)  # of the loss of flow4, flow3, flow2, flow1 and flow0
OUTSIDE = 0.05  # weight of pixels whose match lies outside the source frame: flow goes on smoothly there
WARM_UP = 0.03  # share of a stage over which the rates rise; after that they fall along a cosine
FINAL_RATE = 0.01  # share of the peak rates that is left at the end of a stage
WEIGHT_DECAY = 1e-4

COARSE_KINDS = ("views", "classes")
"""Teach levels 4 and 3 alone: matches are exact to a pixel or two, objects of a class have no exact match."""
CONSISTENT = (0.03, 0.5)
"""A triplet's cell counts where the squared error of its path, in cells, is below the first times the squared
lengths of both flows plus the second (as in UnFlow, Meister et al., 2018): elsewhere something is hidden."""
MATCHED = 0.5  # share of the cells of a photograph that have a match in another of its class; set, not tuned
CHAINED, UNMATCHED = 0.5, 0.15  # of the losses of a class, beside that of known matches; set, not tuned
HOTTEST = 100.0  # largest inverse temperature of a contrastive loss; set, not tuned
EPSILON = 0.01  # pixels added to an end-point error before its exponent: a finite gradient at zero

_HALF_PARTS = ("half_features", "decoder0")
_FINE_PARTS = (*_HALF_PARTS, "decoder2", "upfeat2", "deconv2", "decoder1", "l_dc_conv")
_COARSE_PARTS = ("decoder4", "decoder3", "dc_conv", "deconv4")
_LEARNING: dict[StageKind, tuple[str, ...]] = {
    "features": (),
    "coarse": _COARSE_PARTS,
    "full": (*_COARSE_PARTS, *_FINE_PARTS),
    "fine": _FINE_PARTS,
    "half": _HALF_PARTS,
}
"""What a stage of each kind teaches besides pyramid and projection: beginnings of parameter names."""


def teaches(kind: str, stage: StageKind) -> bool:
    """Whether photographs of a kind (`KINDS`), or a stratum, teach what learns in a stage."""
    if stage == "features":
        return kind != "video"  # there is no flow to be consistent
    return stage in ("coarse", "full") or kind not in COARSE_KINDS


def schedule(step: int, steps: int) -> float:
    """Factor on the peak rates of a stage of ``steps`` steps: a linear rise, then a cosine."""
    rise = WARM_UP * steps
    if step < rise:
        return (step + 1) / (rise + 1)
    share = (step - rise) / max(1.0, steps - rise)
    return FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * min(share, 1.0)))


class _Features(NamedTuple):
    working: WorkingFeatures
    coarse: CoarseFeatures  # of the image at 256 x 256
    quarter: Tensor  # of the pyramid at 256 x 256, for the contrastive loss


class ContrastiveHead(nn.Module):
    """Learned inverse temperatures of the contrastive loss at 1/16, 1/8 and 1/4, kept as logarithms."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scales = nn.Parameter(torch.full((len(SAMPLES),), math.log(20.0)))

    def temperatures(self) -> Tensor:
        """The inverse temperatures, `HOTTEST` at most."""
        return self.log_scales.exp().clamp(max=HOTTEST)

    def forward(self, features: dict[int, Tensor], batch: Batch) -> tuple[Tensor, Metrics]:
        """Sum of the losses of the strides in ``features``, ``(2 B, C, N, N)`` each, sources then targets."""
        total = self.log_scales.sum() * 0.0
        metrics: Metrics = {}
        for (stride, samples), scale in zip(SAMPLES.items(), self.temperatures(), strict=True):
            if stride in features:
                source, target = unit_vectors(features[stride].float()).chunk(2)
                truth = visible_matches(batch, source.shape[2])
                loss, hits = contrastive_loss(source, target, *truth, scale, samples)
                total = total + loss
                metrics[f"hit{stride}"] = hits
        return total, metrics


class Objective(nn.Module):
    """Loss of one stage: a module, so that DistributedDataParallel can wrap the whole step."""

    def __init__(self, network: GLUNet, head: ContrastiveHead, stage: StageOptions) -> None:
        super().__init__()
        self.network = network
        self.head = head
        self.stage = stage

    def release_parameters(self) -> list[dict[str, Any]]:
        """Set which parameters learn; returns them as groups for AdamW, with their peak rates as ``peak``."""
        stage = self.stage
        features = [*self.network.pyramid.parameters()] if stage.pyramid_rate > 0 else []
        learning = _LEARNING[stage.kind]
        if stage.contrastive > 0:  # taught by flow alone the projection would forget, see docs/training.md
            learning += ("descriptors",)
        rest = [p for n, p in self.network.named_parameters() if n.startswith(learning)]
        if stage.contrastive > 0:
            rest += self.head.parameters()
        self.requires_grad_(False)
        groups = []
        for parameters, rate in ((rest, stage.learning_rate), (features, stage.pyramid_rate)):
            for parameter in parameters:
                parameter.requires_grad_(True)
            if parameters:
                groups.append({"params": parameters, "peak": rate, "lr": rate, "weight_decay": WEIGHT_DECAY})
        return groups

    def set_modes(self) -> None:
        """Training mode for what learns; parts that do not keep their batch-norm statistics."""
        for name, module in self.network.named_children():
            module.train(name.startswith(_LEARNING[self.stage.kind]))
        if self.stage.frozen_norms:
            for module in self.network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        self.network.pyramid.train()  # has batch norms only while it is learned from nothing

    def forward(self, batch: Batch, extra_layers: int = 0) -> tuple[Tensor, Metrics]:
        """Scalar loss and metrics (errors in pixels, shares of found cells) of one batch."""
        stage, network, kind = self.stage, self.network, ("", *KINDS)[int(batch["kind"]) + 1]
        detach, metrics = stage.pyramid_rate == 0, Metrics()
        loss = self.head.log_scales.new_zeros(())
        names = [name for name in ("source", "target", "between", "negative") if name in batch]
        if stage.kind == "features":
            # All sides at once, so that batch norms see the same statistics of each.
            images = normalise(torch.cat([batch[name] for name in names]).float())
            sides = [self._features(images, images)]
        else:
            sides = [
                self._features(normalise(batch[name].float()), normalise(batch[f"{name}_256"].float()))
                for name in names
            ]
            paths: list[list[Tensor]] = []
            # From the target, over the image between if there is one, to the source.
            for target, source in pairwise((sides[1], *sides[2:3], sides[0])):
                flows = [*network.coarse_flows(source.coarse, target.coarse, detach=detach)]
                if stage.kind != "coarse" and kind not in COARSE_KINDS:
                    working = source.working, target.working
                    flows += network.fine_flows(*working, flows[1], extra_layers=extra_layers, detach=detach)
                paths.append(flows)
            loss, metrics = self._flow_loss(paths, batch)
        if stage.contrastive > 0 and "negative" in batch:
            level4 = network.described(torch.cat([side.coarse.level4 for side in sides]))
            source4, target4, between4, negative4 = level4.chunk(4)
            scale = self.head.temperatures()[0]
            unmatched = unmatched_loss(negative4, target4, scale)
            truth = visible_matches(batch, level4.shape[2])
            chained, hits = chained_loss((target4, between4, source4), *truth, scale)
            loss = loss + stage.contrastive * (CHAINED * chained + UNMATCHED * unmatched)
            metrics |= {"negative": unmatched.detach(), "hit16": hits}
        elif stage.contrastive > 0 and "between" not in batch:
            features = {16: network.described(torch.cat([side.coarse.level4 for side in sides]))}
            if not detach and kind not in COARSE_KINDS:
                features[8] = torch.cat([side.coarse.level3 for side in sides])
                features[4] = torch.cat([side.quarter for side in sides])
            contrast, hits = self.head(features, batch)
            loss, metrics = loss + stage.contrastive * contrast, metrics | hits
        # Photographs that belong together have one figure for all levels: the last, of the finest.
        return loss, {f"{kind}_{k.rstrip('0123456789')}" if kind else k: v for k, v in metrics.items()}

    def _features(self, images: Tensor, images_256: Tensor) -> _Features:
        """Features of a batch at its working size and at 256 x 256; where these are one, of one pyramid."""
        network = self.network
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.stage.pyramid_rate > 0):
            levels = network.pyramid(images)
            levels_256 = levels if images.shape[2] == COARSE_SIZE else network.pyramid(images_256)
            coarse = network.coarse_features(images_256, levels_256)
        _, quarter, eighth = levels
        working = WorkingFeatures(eighth, quarter)
        if self.stage.kind not in ("features", "coarse"):
            working = network.working_features(images, levels)
        return _Features(working, coarse, levels_256[1])

    def _flow_loss(self, paths: list[list[Tensor]], batch: Batch) -> tuple[Tensor, Metrics]:
        """Error of the flows of all levels; or of two in turn, over a third image (WarpC, eq. 4)."""
        size, (first, *onward) = batch["flow"].shape[2], paths
        valid = batch["visible" if onward else "valid"].float()
        # Matches up to a frame's side outside the frame count a little; further ones cannot be seen at all.
        near = (batch["flow"].abs().amax(dim=1, keepdim=True) < size).float()
        metrics: Metrics = {}
        total = first[0].new_zeros(())
        for index, flow in enumerate(first):
            grid, to_256 = flow.shape[2], COARSE_SIZE / size
            scale = to_256 if index < 2 else 1.0
            truth, counted = level_truth(batch["flow"], valid, grid, scale)
            share = torch.maximum(counted, OUTSIDE * level_truth(batch["flow"], near, grid)[1])
            for back in onward:
                flow, inside, consistent = followed(flow, back[index], truth, grid / size / scale)
                counted = counted * inside
                share = counted * consistent
                metrics[f"seen{4 - index}"] = share.sum() / counted.sum().clamp_min(1.0)
            total += LEVEL_WEIGHTS[index] * robust_error(flow, truth, share, self.stage.loss_exponents[index])
            # In pixels of 256 at every level, so that sizes can be averaged and levels compared.
            error = robust_error(flow.detach(), truth, counted, 1.0, epsilon=0.0)
            metrics[f"epe{4 - index}"] = error * (to_256 / scale)
        return total, metrics


def followed(there: Tensor, back: Tensor, truth: Tensor, to_cells: float) -> tuple[Tensor, Tensor, Tensor]:
    """A flow ``(B, 2, N, N)`` and another from where it ends; ``to_cells`` makes cells of their pixels.

    Returns the flow of both; 1 where the first ends inside the frame, ``(B, 1, N, N)``; and 1 where that of
    both is near the true one (`CONSISTENT`).
    """
    known = torch.cat([back, torch.ones_like(back[:, :1])], dim=1)
    reached = warp_features(known, there.detach() * to_cells)
    onward, inside = reached[:, :2], reached[:, 2:]
    both = there + onward
    terms = both - truth, there, onward
    error, *lengths = ((t.detach() * to_cells).square().sum(dim=1, keepdim=True) for t in terms)
    near = error < CONSISTENT[0] * (lengths[0] + lengths[1]) + CONSISTENT[1]
    return both, (inside > 0.999).float(), near.float()


def unmatched_loss(source: Tensor, target: Tensor, scale: Tensor) -> Tensor:
    """How surely unit vectors ``(B, C, N, N)`` of images that share nothing match: 0 where they do not.

    ``-log(1 - p)``, ``p`` the likeliest match of a target cell by the product of the softmaxes over source
    and over target cells (LoFTR, section 3.3). The inverse temperature ``scale`` does not learn from it: it
    would only fall.
    """
    logits = global_correlation(source, target).flatten(2).float() * scale.detach()
    likeliest = (logits.softmax(dim=1) * logits.softmax(dim=2)).amax(dim=1)
    return -torch.log1p(-likeliest.clamp(max=1 - 1e-4)).mean()


def chained_loss(
    path: tuple[Tensor, Tensor, Tensor], flow: Tensor, visible: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """How surely target cells reach their match by way of a third image, of the same class.

    The probabilities of the matches target -> between and between -> source multiply to those of target ->
    source (PWarpC; Truong et al., CVPR 2022); those of the four cells around the true position count. Of an
    image only the share `MATCHED` counts that reaches it best: two photographs share no background.

    ``path`` holds target, between and source; all is as in `contrastive_loss`, but that ``scale`` does not
    learn from it. Returns the loss, and the share of cells whose likeliest source cell is near the truth.
    """
    side, scale = flow.shape[2], scale.detach()
    t, b, s = (each.flatten(2).float() for each in path)
    onward = (torch.bmm(t.transpose(1, 2), b) * scale).softmax(dim=2)
    likely = torch.bmm(onward, (torch.bmm(b.transpose(1, 2), s) * scale).softmax(dim=2))
    matches = (pixel_grid(side, side, device=flow.device) + flow).flatten(2)
    axis = torch.arange(side, device=flow.device)
    across, down = (1 - (matches[..., None] - axis).abs()).clamp_min(0).unbind(dim=1)
    share = (down[..., :, None] * across[..., None, :]).flatten(2)
    found = (likely * share).sum(dim=2) / share.square().sum(dim=2).clamp_min(1e-3).sqrt()
    weight = visible.flatten(1)
    # Hidden cells come last and weigh nothing.
    loss, order = (-(found + 1e-3).log() + 1e3 * (1 - weight)).sort(dim=1)
    count = round(MATCHED * side * side)
    kept = weight.gather(1, order)[:, :count]
    value = (loss[:, :count] * kept).sum() / kept.sum().clamp_min(1.0)
    return value, _share_near(likely, matches, weight)


def _share_near(likeness: Tensor, matches: Tensor, weight: Tensor) -> Tensor:
    """Weighted share of target cells whose likeliest source cell is within one cell of the true position.

    ``likeness`` is ``(B, T, N * N)`` of T target and all source cells, ``matches`` ``(B, 2, T)`` the true
    positions in source cells, ``weight`` ``(B, T)``.
    """
    side = math.isqrt(likeness.shape[2])
    best = likeness.argmax(dim=2)
    found = torch.stack([best % side, best // side], dim=1)
    near = ((found - matches).abs() <= 1).all(dim=1)
    return (near.float() * weight).sum() / weight.sum().clamp_min(1.0)


def level_truth(flow: Tensor, valid: Tensor, size: int, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """The true flow at the cell centres of a level, and where it counts.

    ``flow`` is ``(B, 2, S, S)`` in pixels of the working size S, ``valid`` ``(B, 1, S, S)`` float, 1 where
    the loss counts. Results: ``(B, 2, size, size)``, multiplied by ``scale`` (256 / S for levels 4, 3), and
    ``(B, 1, size, size)``, 1 only where all pixels around the centre count.
    """
    shape = (size, size)
    return resize_bilinear(flow, shape) * scale, (resize_bilinear(valid, shape) > 0.999).float()


def visible_matches(batch: Batch, size: int) -> tuple[Tensor, Tensor]:
    """`level_truth` of visible pixels at a level of ``size`` x ``size`` cells, the flow in these cells."""
    flow = batch["flow"]
    return level_truth(flow, batch["visible"].float(), size, size / flow.shape[2])


def robust_error(
    flow: Tensor, truth: Tensor, weight: Tensor, exponent: float, epsilon: float = EPSILON
) -> Tensor:
    """Weighted mean of ``(|flow - truth| + epsilon)^exponent`` (PWC-Net's robust loss); flows in pixels.

    With exponent 1 and no epsilon it is the weighted mean end-point error.
    """
    distance = torch.linalg.vector_norm(flow.float() - truth, dim=1, keepdim=True)
    loss: Tensor = ((distance + epsilon).pow(exponent) * weight).sum() / weight.sum().clamp_min(1.0)
    return loss


def contrastive_loss(
    source: Tensor, target: Tensor, flow: Tensor, visible: Tensor, scale: Tensor, samples: int
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of finding a target cell's match among *all* source cells of its image.

    The label is spread bilinearly over the four source cells around the true position. A product with a
    bilinear mixture of source vectors is that mixture of products, so the label's share is one sample.

    ``source`` and ``target`` are unit vectors ``(B, C, N, N)``, ``flow`` ``(B, 2, N, N)`` is the true flow at
    the cell centres in cells, ``visible`` ``(B, 1, N, N)`` 1 for target cells that have a match, of which
    ``samples`` are drawn per image, and ``scale`` the learned inverse temperature.
    Returns the loss, and the share of cells whose best source cell is within one cell of the truth.
    """
    batch, _, side, _ = source.shape
    # Uniform keys among visible cells draw without replacement; hidden cells come last and weigh nothing.
    keys = torch.rand(batch, side * side, device=source.device) * visible.flatten(1)
    weight, chosen = keys.topk(min(samples, side * side), dim=1)
    weight = (weight > 0).float()
    count = weight.sum().clamp_min(1.0)

    def drawn(values: Tensor) -> Tensor:  # (B, C, N, N) at the cells that are drawn, (B, C, samples)
        return values.flatten(2).gather(2, chosen[:, None].expand(-1, values.shape[1], -1))

    cells = torch.stack([chosen % side, chosen // side], dim=1)
    matches = (cells + drawn(flow)).clamp(0, side - 1)
    queries = drawn(target).transpose(1, 2)
    logits = torch.bmm(queries, source.flatten(2)).float() * scale
    position = matches.transpose(1, 2)[:, None] * (2 / (side - 1)) - 1
    matched = F.grid_sample(source, position, align_corners=True)[:, :, 0].transpose(1, 2)
    expected = (queries * matched).sum(dim=2).float() * scale
    loss = ((torch.logsumexp(logits, dim=2) - expected) * weight).sum() / count
    return loss, _share_near(logits, matches, weight)
