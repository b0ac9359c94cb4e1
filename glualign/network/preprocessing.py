"""From RGB images in grey levels to what the network sees (paper section 3.4)."""

from __future__ import annotations

import torch
from torch import Tensor

from glualign.network.config import COARSE_SIZE
from glualign.network.warping import resize_area

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def working_size(height: int, width: int) -> tuple[int, int]:
    """Height and width at which a target of that size is processed: at least 256, and multiples of 8."""
    return tuple(max(COARSE_SIZE, side // 8 * 8) for side in (height, width))  # type: ignore[return-value]


def resize_image(image: Tensor, size: tuple[int, int], *, truncate: bool) -> Tensor:
    """Area-resize ``(B, 3, H, W)`` of grey levels 0..255 to ``size``, optionally cut to whole grey levels."""
    if (image.shape[2], image.shape[3]) == size:
        return image.float()
    if not truncate:
        return resize_area(image.float(), size)
    # Averaged in float64: a mean that is a whole grey level must not fall below it when it is cut. On the
    # CPU, because MPS has no float64.
    resized = resize_area(image.to("cpu", torch.float64), size)
    return (resized + 1e-9).floor().float().to(image.device)


def normalise(image: Tensor) -> Tensor:
    """Grey levels 0..255 ``(B, 3, H, W)`` to ImageNet statistics."""
    mean = torch.tensor(MEAN, device=image.device, dtype=torch.float32).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=image.device, dtype=torch.float32).view(1, 3, 1, 1)
    return (image / 255.0 - mean) / std


def prepare(image: Tensor, size: tuple[int, int], *, truncate: bool) -> Tensor:
    """Resize ``(B, 3, H, W)`` of grey levels to ``size`` and normalise."""
    return normalise(resize_image(image, size, truncate=truncate))
