"""What is evaluated: anything that turns an image pair into a flow, above all the aligner itself."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from glualign.evaluation.datasets.base import Sample

if TYPE_CHECKING:
    from glualign.aligner import Aligner

Field = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Estimate:
    """The answer of a method.

    Attributes:
        flow: (H_t, W_t, 2) float32, target to source, in source pixels.
        seconds: wall time of the estimate alone, without reading files.
        note: why the method gave up and answered something simpler instead; empty if it did not.
    """

    flow: Field
    seconds: float
    note: str = ""


class Method(Protocol):
    """A named way to align two images."""

    @property
    def name(self) -> str:
        """The name in tables."""

    @property
    def settings(self) -> Mapping[str, str]:
        """Everything that decides the result, so that a resumed run never mixes different settings."""

    def estimate(self, sample: Sample) -> Estimate:
        """Align ``sample.source`` to ``sample.target``. The ground truth in the sample is not looked at."""


@dataclass(frozen=True, eq=False)
class ModelMethod:
    """An `Aligner` as a method; where the protocol allows mirrored targets, it decides which one to take."""

    name: str
    aligner: Aligner
    settings: Mapping[str, str] = field(default_factory=dict)

    def estimate(self, sample: Sample) -> Estimate:
        """The aligner's flow, timed."""
        start = time.perf_counter()
        if sample.may_be_mirrored:
            flow = flow_of_mirrored(self.aligner, sample.source, sample.target)
        else:
            flow = self.aligner.align(sample.source, sample.target).flow.data
        return Estimate(flow, time.perf_counter() - start)


def flow_of_mirrored(aligner: Aligner, source: npt.NDArray[Any], target: npt.NDArray[Any]) -> Field:
    raise NotImplementedError
