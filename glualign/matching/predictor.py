"""`FlowPredictor`: one network on one device, from 8-bit RGB images to flow."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from glualign.arrays import Bytes, Field, Size
from glualign.geometry import resize_flow, resizing_matrix, to_source_pixels
from glualign.images import reduce_image
from glualign.network.config import COARSE_SIZE
from glualign.network.correlation import global_correlation
from glualign.network.decoders import fold_batch_norms
from glualign.network.glunet import CoarseFeatures, GLUNet, WorkingFeatures
from glualign.network.warping import prepare, resize_bilinear, working_size

Pixels = Bytes
Features = TypeVar("Features", CoarseFeatures, WorkingFeatures)

FARTHEST = 1e6
"""Working pixels; flow of wild weights or NaN is cut to it, which is outside every frame."""


class Encoded(NamedTuple):
    """One image, ready to be matched with others of the same working size."""

    coarse: CoarseFeatures
    working: WorkingFeatures


class FlowPredictor:
    """Runs a copy of a GLU-Net on images; holds weights, device and number format, and no other state.

    Args:
        model: any GLU-Net; it stays as it is and where it is.
        device: where to compute.
        dtype: number format of the convolutions; flow stays float32.
        as_published: neither merge batch norms into convolutions nor use the channels-last layout, as the
            published code runs.

    Attributes:
        checksum: of the weights, and of how and where they are used.
    """

    def __init__(
        self, model: GLUNet, *, device: torch.device, dtype: torch.dtype, as_published: bool = False
    ) -> None:
        self.config = model.config
        self.checksum = zlib.crc32(f"{device} {dtype} {as_published}".encode())
        for weights in model.state_dict().values():
            data = weights.cpu().contiguous().view(-1).view(torch.uint8).numpy()
            self.checksum = zlib.crc32(data, self.checksum)
        self.device = device
        self.dtype = dtype
        # In float32 the published kind stays as it is, operation by operation: a reference for others.
        fold = not as_published and (dtype != torch.float32 or model.config.pretrained)
        network = fold_batch_norms(model) if fold else copy.deepcopy(model).eval()
        # Channels last is what the fast convolutions of every backend want, whatever the number format.
        self._layout = torch.contiguous_format if as_published else torch.channels_last
        self.network: GLUNet = network.to(device=device, memory_format=self._layout)  # type: ignore[call-overload]

    def predict(self, pairs: Sequence[tuple[Pixels, Pixels]], *, max_side: int | None = None) -> list[Field]:
        """Flow target -> source of (source, target) pairs, in one forward pass each.

        Args:
            pairs: ``(H, W, 3)`` uint8 RGB images of any sizes.
            max_side: larger images are reduced to this longer side first; None: never.

        Returns:
            ``(H_target, W_target, 2)`` float32 in source pixels, one for each pair.
        """
        flows = []
        for source, target in pairs:
            size = working_size(*reduce_image(target, max_side).shape[:2])
            first, second = (self.encode([reduce_image(each, max_side)], size) for each in (source, target))
            [cells], _ = self.match(first, second, both_ways=False)
            flow = resize_flow(cells, target.shape[:2], frame=size)
            transform = resizing_matrix(size, source.shape[:2]) @ resizing_matrix(target.shape[:2], size)
            flows.append(to_source_pixels(flow, transform))
        return flows

    def encode(self, images: Sequence[Pixels], size: Size, *, level4: Tensor | None = None) -> list[Encoded]:
        """Features of ``(H, W, 3)`` uint8 RGB images resized to the working ``size``, in one batch.

        A target's can be matched with any number of sources. ``level4`` ``(B, C, 16, 16)`` where it is known;
        published networks make it from level 3, which they need in any case.
        """
        if not images:
            return []
        with self._computing():
            at_256 = self._prepared(images)
            if level4 is None or not self.config.pretrained:
                coarse = self.network.coarse_features(at_256)
            else:
                coarse = CoarseFeatures(level4, self.network.pyramid(at_256)[2])
            working = self.network.working_features(self._prepared(images, size))
            return [
                Encoded(
                    CoarseFeatures(*(level[k : k + 1] for level in coarse)),
                    WorkingFeatures._make(level if level is None else level[k : k + 1] for level in working),
                )
                for k in range(len(images))
            ]

    def match(
        self,
        sources: Sequence[Encoded],
        targets: Sequence[Encoded],
        *,
        both_ways: bool = True,
    ) -> tuple[list[Field], list[Field]]:
        """Flows target -> source and source -> target of pairs of one working size, as one batch.

        Returns:
            Two lists of ``(H'/stride, W'/stride, 2)`` float32 in working pixels; without ``both_ways`` the
            second is empty.
        """
        network = self.network
        with self._computing():
            coarse_source, coarse_target = (
                _joined([image.coarse for image in side]) for side in (sources, targets)
            )
            source, target = (_joined([image.working for image in side]) for side in (sources, targets))
            _, flow3 = network.coarse_flows(coarse_source, coarse_target)
            forward = _fields(network.fine_flows(source, target, flow3)[-1])
            if not both_ways:
                return forward, []
            _, flow3 = network.coarse_flows(coarse_target, coarse_source)
            # The backward flow serves the consistency check alone, for which 1/4 is fine enough.
            moving, still = (working._replace(half=None) for working in (target, source))
            backward = network.fine_flows(moving, still, flow3)[-1]
            return forward, _fields(resize_bilinear(backward, (forward[0].shape[0], forward[0].shape[1])))

    def coarse_flow(self, source: Pixels, target: Pixels) -> Field:
        """Flow target -> source at 16 x 16 alone: ``(16, 16, 2)`` in pixels of the 256 x 256 image."""
        with self._computing():
            both = [self.network.coarse_features(self._prepared([image])) for image in (source, target)]
            return _fields(self.network.coarse_flows(*both)[0])[0]

    def coarse_cells(self, images: Sequence[Pixels], size: Size = (COARSE_SIZE, COARSE_SIZE)) -> Tensor:
        """Level 4 of ``(H, W, 3)`` uint8 RGB images at ``size``, as one batch, for `similarities`.

        That of a pretrained network describes every 16 x 16 pixels, at any size; it alone is computed.
        """
        with self._computing():
            prepared = self._prepared(images, size)
            if not self.config.pretrained:
                return self.network.coarse_features(prepared).level4
            level4: Tensor = self.network.backbone(prepared)
            return level4

    def similarities(self, sources: Tensor, target: Tensor) -> Field:
        """Cosines of all cells of B sources with those of one target, ``(B, cells, cells)`` float32.

        Rows are cells of the source, columns those of the target; ``(B, C, N, N)`` and ``(1, C, N, N)`` are
        what `coarse_cells` returned. Those of pretrained features and of their descriptors, which find more
        matches but less exact ones, are averaged.
        """
        with torch.inference_mode():
            targets = target.float().expand(len(sources), -1, -1, -1)
            cosines = global_correlation(sources.float(), targets)
            if self.config.pretrained:
                described = (self.network.described(each) for each in (sources.float(), targets))
                cosines = (cosines + global_correlation(*described)) / 2
            return cosines.flatten(2).cpu().numpy()

    def _prepared(self, images: Sequence[Pixels], size: Size = (COARSE_SIZE, COARSE_SIZE)) -> Tensor:
        """Normalised images ``(B, 3, *size)`` on the device."""
        truncate = self.config.truncate_to_uint8
        batch = torch.cat([prepare(image, size, truncate=truncate) for image in images])
        return batch.to(self.device, memory_format=self._layout)

    @contextmanager
    def _computing(self) -> Iterator[None]:
        with (
            torch.inference_mode(),
            torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32),
        ):
            yield


def _joined(images: Sequence[Features]) -> Features:
    """The feature maps of several images as one batch."""
    if len(images) == 1:
        return images[0]
    levels = zip(*images, strict=True)
    return type(images[0])._make(None if maps[0] is None else torch.cat(maps) for maps in levels)


def _fields(flows: Tensor) -> list[Field]:
    """``(B, 2, h, w)`` on any device to ``(h, w, 2)`` arrays of finite numbers."""
    finite = flows.float().nan_to_num(FARTHEST).clamp(-FARTHEST, FARTHEST)
    return [np.ascontiguousarray(flow) for flow in finite.permute(0, 2, 3, 1).cpu().numpy()]
