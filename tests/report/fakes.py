"""An alignment with everything that a report can show, made by construction instead of by a network."""

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from glualign.flow import Flow, from_transform, warp
from glualign.images import Image


@dataclass(frozen=True)
class FakeQuality:
    verdict: str = "good"
    valid_share: float = 0.5
    median_error: float | None = 0.42
    inlier_share: float | None = 0.913
    folding_share: float = 0.0


@dataclass(frozen=True, eq=False)
class FakeAlignment:
    source: Image
    target: Image
    flow: Flow
    valid: np.ndarray
    confidence: np.ndarray
    warped: Image
    quality: FakeQuality = FakeQuality()
    transform: np.ndarray | None = None
    model: str = "compact"
    device: str = "cpu"
    timings: dict = field(default_factory=dict)

    def summary(self):
        return {"quality": asdict(self.quality)}


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
    valid = flow.valid()
    valid[:20] = False
    return FakeAlignment(
        source=Image(source, path=Path(name)),
        target=Image(target, path=Path("target.png")),
        flow=flow,
        valid=valid,
        confidence=np.linspace(0, 1, valid.size, dtype=np.float32).reshape(valid.shape),
        warped=Image(target),
        transform=matrix,
        timings={"network": 3.217, "read": 0.00003},
    )
