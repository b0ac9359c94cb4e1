"""What training minimises: a robust end-point error of flows, and a dense contrastive loss of features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from glualign.network.warping import resize_bilinear

EPSILON = 0.01
"""Pixels added to an end-point error before its power, so that the gradient stays finite at zero."""


def level_truth(flow: Tensor, valid: Tensor, size: int, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """The true flow at the cell centres of a level.

    Args:
        flow: ``(B, 2, S, S)`` in pixels of the working size S.
        valid: ``(B, 1, S, S)`` float, 1 where the loss counts.
        size: side of the level's grid.
        scale: factor on the values (256 / S for levels 4 and 3).

    Returns:
        ``(B, 2, size, size)`` and ``(B, 1, size, size)``: 1 only where all pixels around the centre count.
    """
    shape = (size, size)
    return resize_bilinear(flow, shape) * scale, (resize_bilinear(valid, shape) > 0.999).float()


def robust_error(
    flow: Tensor, truth: Tensor, weight: Tensor, power: float, epsilon: float = EPSILON
) -> Tensor:
    """Weighted mean of ``(|flow - truth| + epsilon)^power`` (PWC-Net's robust loss); flows in pixels.

    With power 1 and no epsilon it is the weighted mean end-point error.
    """
    distance = torch.linalg.vector_norm(flow.float() - truth, dim=1, keepdim=True)
    loss: Tensor = ((distance + epsilon).pow(power) * weight).sum() / weight.sum().clamp_min(1.0)
    return loss


def contrastive_loss(
    source: Tensor, target: Tensor, flow: Tensor, visible: Tensor, log_scale: Tensor, samples: int
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of finding a target cell's match among *all* source cells of its image.

    The label is spread bilinearly over the four source cells around the true position. A product with a
    bilinear mixture of source vectors is that mixture of products, so the label's share is one sample.

    Args:
        source: unit vectors ``(B, C, N, N)``.
        target: unit vectors ``(B, C, N, N)``.
        flow: true flow at the cell centres, ``(B, 2, N, N)`` in cells.
        visible: ``(B, 1, N, N)``, 1 for target cells that have a match.
        log_scale: logarithm of the learned inverse temperature.
        samples: target cells drawn per image (all of them if that many).

    Returns:
        The loss, and the share of cells whose best source cell is within one cell of the truth.
    """
    batch, _, side, _ = source.shape
    # Uniform keys among visible cells draw without replacement; hidden cells come last and weigh nothing.
    keys = torch.rand(batch, side * side, device=source.device) * visible.flatten(1)
    weight, chosen = keys.topk(min(samples, side * side), dim=1)
    weight = (weight > 0).float()
    count = weight.sum().clamp_min(1.0)

    def drawn(values: Tensor) -> Tensor:  # (B, C, N, N) at the cells that are drawn, (B, C, samples)
        return values.flatten(2).gather(2, chosen[:, None].expand(-1, values.shape[1], -1))

    cells = torch.stack([chosen % side, torch.div(chosen, side, rounding_mode="floor")], dim=1)
    matches = (cells + drawn(flow)).clamp(0, side - 1)
    queries = drawn(target).transpose(1, 2)
    temperature = log_scale.exp().clamp(max=100.0)
    logits = torch.bmm(queries, source.flatten(2)).float() * temperature
    position = matches.transpose(1, 2)[:, None] * (2 / (side - 1)) - 1
    matched = F.grid_sample(source, position, align_corners=True)[:, :, 0].transpose(1, 2)
    expected = (queries * matched).sum(dim=2).float() * temperature
    loss = ((torch.logsumexp(logits, dim=2) - expected) * weight).sum() / count
    with torch.no_grad():
        best = logits.argmax(dim=2)
        found = torch.stack([best % side, torch.div(best, side, rounding_mode="floor")], dim=1)
        near = ((found - matches).abs() <= 1).all(dim=1)
        hits = (near.float() * weight).sum() / count
    return loss, hits


def as_unit(features: Tensor) -> Tensor:
    """Unit vectors in float32 of ``(B, C, H, W)``."""
    return F.normalize(features.float(), dim=1, eps=1e-6)
