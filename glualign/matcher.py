"""One network on one device: from 8-bit RGB images to the flow of its finest level."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from glualign.network.config import COARSE_SIZE
from glualign.network.folding import fold_batch_norms
from glualign.network.glunet import CoarseFeatures, GLUNet, WorkingFeatures
from glualign.network.preprocessing import prepare, working_size
from glualign.network.rectification import compose_flow_with_affine, compose_with_inverse_affine

Pixels = npt.NDArray[np.uint8]
Field = npt.NDArray[np.float32]
Features = TypeVar("Features", CoarseFeatures, WorkingFeatures)


class Encoded(NamedTuple):
    """Features of images of one working size, one or a batch of them."""

    coarse: CoarseFeatures
    working: WorkingFeatures | None
    """None where further looks decide how the image is seen at its working size."""
    image: Tensor
    """``(B, 3, H', W')``, normalised."""


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

    @property
    def stride(self) -> int:
        """Working pixels between the cells of the flow that the network answers with."""
        return self.config.stride

    @staticmethod
    def working_size(height: int, width: int) -> tuple[int, int]:
        """The size at which a target of that size is processed: at least 256 a side, multiples of 8."""
        return working_size(height, width)

    def encode_source(self, image: Pixels, size: tuple[int, int]) -> Encoded:
        """What `match` needs of a source, ``(H, W, 3)`` uint8 RGB, squeezed to the working ``size``."""
        return self.encode_sources([image], size)[0]

    def encode_target(self, image: Pixels, size: tuple[int, int]) -> Encoded:
        """The same of a target; it can be matched with any number of sources."""
        return self.encode_targets([image], size)[0]

    def encode_sources(self, images: Sequence[Pixels], size: tuple[int, int]) -> list[Encoded]:
        """Several sources in one forward pass of the pyramid; ``size`` is (height, width)."""
        return self._encoded(images, size, working=self.config.rectification_steps == 0)

    def encode_targets(self, images: Sequence[Pixels], size: tuple[int, int]) -> list[Encoded]:
        """Several targets in one forward pass of the pyramid; ``size`` is (height, width)."""
        return self._encoded(images, size, working=True)

    def _encoded(self, images: Sequence[Pixels], size: tuple[int, int], *, working: bool) -> list[Encoded]:
        truncate = self.config.truncate_to_uint8
        with self._computing():
            tensors = [self._tensor(image) for image in images]

            def resized(to: tuple[int, int]) -> Tensor:
                return torch.cat([prepare(tensor, to, truncate=truncate) for tensor in tensors])

            coarse = _split(self._coarse_features(resized((COARSE_SIZE, COARSE_SIZE))))
            at_size = resized(size)
            fine: list[WorkingFeatures | None] = [None] * len(images)
            if working:
                fine = list(_split(self._working_features(at_size)))
            return [Encoded(each, fine[k], at_size[k : k + 1]) for k, each in enumerate(coarse)]

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
        """Flow target -> source ``(H'/stride, W'/stride, 2)`` float32, in working pixels."""
        with self._computing():
            return self._matched(source, target, both_ways=False)[0][0]

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
            return self._matched(_joined(sources), _joined(targets), both_ways=True)

    def _matched(
        self, source: Encoded, target: Encoded, *, both_ways: bool
    ) -> tuple[list[Field], list[Field]]:
        """Flows target -> source, and source -> target when asked for."""
        network, size = self.network, (source.image.shape[2], source.image.shape[3])
        match = network.match_coarse(source.image, source.coarse, target.coarse)
        fine, target_fine = source.working or self._working_features(match.image), target.working
        assert target_fine is not None
        forward = network.match_fine(fine, target_fine, match.flow3)[-1]
        fields = _fields(compose_flow_with_affine(forward, match.view, size))
        if not both_ways:
            return fields, []
        # What the images see in each other is the same in both directions.
        _, flow3 = network.coarse_flows(match.target, match.source)
        backward = network.match_fine(target_fine, fine, flow3)[-1]
        return fields, _fields(compose_with_inverse_affine(backward, match.view, size))

    def match_coarse(self, source: CoarseFeatures, target: CoarseFeatures) -> tuple[Field, Field]:
        """The global half alone: flow ``(16, 16, 2)`` and ``(32, 32, 2)`` in pixels of 256 x 256."""
        with self._computing():
            flow4, flow3 = self.network.coarse_flows(*self.network.transform_features(source, target))
            return _field(flow4[0]), _field(flow3[0])

    def match_coarse_both_ways(
        self, sources: CoarseFeatures, target: CoarseFeatures
    ) -> tuple[list[Field], list[Field]]:
        """The ``(32, 32, 2)`` flows target -> source and back of a batch of sources with one target."""
        with self._computing():
            count = len(sources.level4)
            targets = CoarseFeatures(*(level.expand(count, -1, -1, -1) for level in target))
            sources, targets = self.network.transform_features(sources, targets)
            _, forward = self.network.coarse_flows(sources, targets)
            _, backward = self.network.coarse_flows(targets, sources)
            return _fields(forward), _fields(backward)

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


def _joined(images: Sequence[Encoded]) -> Encoded:
    """Several images as one batch."""
    if len(images) == 1:
        return images[0]
    working = [each.working for each in images if each.working is not None]
    return Encoded(
        _batched([each.coarse for each in images]),
        _batched(working) if working else None,
        torch.cat([each.image for each in images]),
    )


def _batched(features: Sequence[Features]) -> Features:
    """The feature maps of several images as those of one batch."""
    levels = (None if maps[0] is None else torch.cat(maps) for maps in zip(*features, strict=True))
    return type(features[0])._make(levels)


def _split(features: Features) -> list[Features]:
    """The feature maps of a batch image by image."""
    return [
        type(features)._make(None if level is None else level[k : k + 1] for level in features)
        for k in range(len(features[0]))
    ]


def _fields(flows: Tensor) -> list[Field]:
    return [_field(flow) for flow in flows]


def _field(flow: Tensor) -> Field:
    """``(2, h, w)`` on any device to ``(h, w, 2)`` in numpy."""
    array: Field = flow.permute(1, 2, 0).float().cpu().numpy()
    return np.ascontiguousarray(array)
