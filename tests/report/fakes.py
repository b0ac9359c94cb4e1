"""An alignment with everything that a report can show, made by construction instead of by a network."""

from pathlib import Path

import numpy as np

from glualign.alignment import Alignment
from glualign.flow import from_transform, warp
from glualign.images import Image
from glualign.quality import Quality

QUALITY = Quality("good", 0.5, 0.4, 0.42, 0.7, 0.6, None, 0.913, 0.0)


def texture(height, width, seed=0):
    """A smooth coloured picture in which every place looks different."""
    import cv2

    noise = np.random.default_rng(seed).uniform(0, 255, (9, 12, 3)).astype(np.float32)
    return np.clip(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


def fake_alignment(name="left <&> right.png"):
    """Source and target of different sizes, related by a shift of (12, 6) pixels."""
    source = texture(160, 220)
    matrix = np.array([[1, 0, 12], [0, 1, 6], [0, 0, 1]], float)
    flow = from_transform(matrix, (140, 200), (160, 220))
    target, _ = warp(source, flow)
    trusted = flow.valid()
    trusted[:20] = False
    return Alignment(
        source=Image(source, path=Path(name)),
        target=Image(target, path=Path("target.png")),
        flow=flow,
        trusted=trusted,
        confidence=np.linspace(0, 1, trusted.size, dtype=np.float32).reshape(trusted.shape),
        model="compact",
        device="cpu",
        quality=QUALITY,
        transform=matrix,
        timings={"network": 3.217, "read": 0.00003},
    )
