"""One network on one device: from 8-bit RGB images to flow at a quarter of the working size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from glualign.network.config import COARSE_SIZE
from glualign.network.folding import fold_batch_norms
from glualign.network.glunet import CoarseFeatures, GLUNet, WorkingFeatures
from glualign.network.preprocessing import prepare, working_size

Pixels = npt.NDArray[np.uint8]
Field = npt.NDArray[np.float32]

STRIDE = 4
"""Working pixels between the cells of the flow that the network answers with."""


class Encoded(NamedTuple):
    """Features of one image at one working size; matching two of them costs no further pyramid."""

    coarse: CoarseFeatures
    working: WorkingFeatures


class Matcher:
    """Runs a GLU-Net on images; holds the weights, the device and the number format, and no other state."""

    def __init__(self, model: GLUNet, *, device: torch.device, dtype: torch.dtype) -> None:
        self.config = model.config
        self.device = device
        self.dtype = dtype
        # In float32 the network stays as published, operation by operation: its numbers are the reference.
        network = model if dtype == torch.float32 else fold_batch_norms(model)
        # Channels last is what the fast convolutions of every backend want, whatever the number format.
        self.network: GLUNet = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @staticmethod
    def working_size(height: int, width: int) -> tuple[int, int]:
        """The size at which a target of that size is processed: at least 256 a side, multiples of 8."""
        return working_size(height, width)

    def encode(self, image: Pixels, size: tuple[int, int]) -> Encoded:
        """Features of ``(H, W, 3)`` uint8 RGB, squeezed to the working ``size`` (height, width)."""
        return self.encode_many([image], size)[0]

    def encode_many(self, images: Sequence[Pixels], size: tuple[int, int]) -> list[Encoded]:
        """Features of several images in one forward pass of the pyramid."""
        truncate = self.config.truncate_to_uint8
        with self._computing():
            tensors = [self._tensor(image) for image in images]

            def resized(to: tuple[int, int]) -> Tensor:
                return torch.cat([prepare(tensor, to, truncate=truncate) for tensor in tensors])

            coarse = self._coarse_features(resized((COARSE_SIZE, COARSE_SIZE)))
            working = self._working_features(resized(size))
            return [
                Encoded(CoarseFeatures(*each), WorkingFeatures(*rest))
                for each, rest in zip(_split(coarse), _split(working), strict=True)
            ]

    def encode_coarse(self, image: Pixels) -> CoarseFeatures:
        """Features of ``(H, W, 3)`` uint8 RGB for `match_coarse` alone."""
        return self.encode_coarse_many([image])

    def encode_coarse_many(self, images: Sequence[Pixels]) -> CoarseFeatures:
        """The same for several images, as one batch."""
        truncate, size = self.config.truncate_to_uint8, (COARSE_SIZE, COARSE_SIZE)
        with self._computing():
            prepared = [prepare(self._tensor(image), size, truncate=truncate) for image in images]
            return self._coarse_features(torch.cat(prepared))

    def match(self, source: Encoded, target: Encoded) -> Field:
        """Flow target -> source ``(H'/4, W'/4, 2)`` float32, in working pixels."""
        with self._computing():
            return self._fields(*self._in_context(source, target))[0]

    def match_both_ways(self, source: Encoded, target: Encoded) -> tuple[Field, Field]:
        """Flow target -> source and flow source -> target, as `match` gives them, for less."""
        forward, backward = self.match_many_both_ways([(source, target)])
        return forward[0], backward[0]

    def match_many_both_ways(
        self, pairs: Sequence[tuple[Encoded, Encoded]]
    ) -> tuple[list[Field], list[Field]]:
        """Both flows of several (source, target) of one working size, in one forward pass each way."""
        sources, targets = zip(*pairs, strict=True)
        with self._computing():
            source, target = (
                Encoded(
                    CoarseFeatures(*_joined([each.coarse for each in side])),
                    WorkingFeatures(*_joined([each.working for each in side])),
                )
                for side in (sources, targets)
            )
            # What the images see in each other is the same in both directions.
            source, target = self._in_context(source, target)
            return self._fields(source, target), self._fields(target, source)

    def _in_context(self, source: Encoded, target: Encoded) -> tuple[Encoded, Encoded]:
        source_seen, target_seen = self.network.in_context(source.coarse, target.coarse)
        return source._replace(coarse=source_seen), target._replace(coarse=target_seen)

    def _fields(self, source: Encoded, target: Encoded) -> list[Field]:
        _, flow3 = self.network.coarse_flows(source.coarse, target.coarse)
        _, flow1 = self.network.match_fine(source.working, target.working, flow3)
        return [_field(flow) for flow in flow1]

    def match_coarse(self, source: CoarseFeatures, target: CoarseFeatures) -> tuple[Field, Field]:
        """The global half alone: flow ``(16, 16, 2)`` and ``(32, 32, 2)`` in pixels of 256 x 256."""
        with self._computing():
            flow4, flow3 = self.network.coarse_flows(*self.network.in_context(source, target))
            return _field(flow4[0]), _field(flow3[0])

    def match_coarse_both_ways(
        self, sources: CoarseFeatures, target: CoarseFeatures
    ) -> tuple[list[Field], list[Field]]:
        """The ``(32, 32, 2)`` flows target -> source and back of a batch of sources with one target."""
        with self._computing():
            count = len(sources.level4)
            targets = CoarseFeatures(*(level.expand(count, -1, -1, -1) for level in target))
            sources, targets = self.network.in_context(sources, targets)
            _, forward = self.network.coarse_flows(sources, targets)
            _, backward = self.network.coarse_flows(targets, sources)
            return [_field(flow) for flow in forward], [_field(flow) for flow in backward]

    def _coarse_features(self, image: Tensor) -> CoarseFeatures:
        return self.network.coarse_features(image.contiguous(memory_format=torch.channels_last))

    def _working_features(self, image: Tensor) -> WorkingFeatures:
        return self.network.working_features(image.contiguous(memory_format=torch.channels_last))

    def _tensor(self, image: Pixels) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(image)).to(self.device).permute(2, 0, 1)[None]

    @contextmanager
    def _computing(self) -> Iterator[None]:
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32),
        ):
            yield


def _joined(features: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """The feature maps of several images, level by level, as one batch."""
    return [torch.cat(level) for level in zip(*features, strict=True)]


def _split(features: Sequence[Tensor]) -> list[list[Tensor]]:
    """The inverse of `_joined`."""
    return [list(image) for image in zip(*(torch.split(level, 1) for level in features), strict=True)]


def _field(flow: Tensor) -> Field:
    """``(2, h, w)`` on any device to ``(h, w, 2)`` in numpy."""
    array: Field = flow.permute(1, 2, 0).float().cpu().numpy()
    return np.ascontiguousarray(array)
