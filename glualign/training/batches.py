"""Batches of training pairs, made ahead by worker processes: batch ``n`` of a stage depends on ``n`` alone.

Photographs of a class and frames of a clip make triplets: a source, a target that is the source warped by a
known map, and another photograph or frame between the two (WarpC; Truong et al., ICCV 2021).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from glualign.arrays import Array
from glualign.evaluation.metrics import scattered
from glualign.geometry import apply_transform, fill_unknown, inside, pixel_grid, rotation_scale_matrix
from glualign.network.config import COARSE_SIZE
from glualign.training.motion import Matrix, Rng
from glualign.training.photometric import Pixels
from glualign.training.photos import KINDS, Group
from glualign.training.synthesis import STRATA, PairSynthesis, Stratum, TrainingPair, draw_name, resample

Batch = dict[str, Tensor]
REACH = 1 / 40  # of the frame, around a match: pixels so near share its flow
FAR = 1e6  # pixels, the flow where no match is near
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_CHANGES = replace(STRATA["small"].photometric, occlusion=0.0)  # mild: the photographs differ by themselves
_CLASS, _VIDEO = (Stratum(STRATA[name].motion, _CHANGES) for name in ("class", "small"))
"""The target of a triplet."""


@dataclass(frozen=True, eq=False)
class BatchDataset(Dataset[Batch]):
    """Item ``step`` is a whole batch, so that all its pairs share one working size and one kind."""

    synthesis: PairSynthesis  # draws the pairs
    batch: int  # pairs per batch and process
    sizes: Sequence[int]  # working sizes to draw from
    rank: int = 0  # of this process among those that train together
    world: int = 1  # number of those processes
    groups: Mapping[str, Sequence[Group]] = field(default_factory=dict)  # of the kinds in the mix

    def __getitem__(self, step: int) -> Batch:
        """The batch of a step.

        ``source`` and ``target`` (B, 3, S, S) uint8, also at 256 as ``source_256``, ``target_256``; ``flow``
        (B, 2, S, S) float32 in pixels; ``valid`` and ``visible`` (B, 1, S, S) bool; ``kind``, the place in
        `KINDS`, or -1 for pairs made of one photograph each. A triplet has a further image ``between``, one
        of a class also ``negative``, a photograph of another class.
        """
        # The same for all processes.
        rng = np.random.default_rng((self.synthesis.seed, step, 1))
        size, kind = int(rng.choice(self.sizes)), draw_name(rng, self.synthesis.mix)
        indices = ((step * self.world + self.rank) * self.batch + k for k in range(self.batch))
        if kind in KINDS:
            items = [draw(self.synthesis, self.groups[kind], kind, index, size) for index in indices]
        else:
            items = [self.synthesis.pair(index, size)._asdict() for index in indices]
        batch = {"kind": torch.tensor(KINDS.index(kind) if kind in KINDS else -1)}
        for name in items[0]:
            values = [item[name] for item in items]
            if values[0].dtype == np.uint8:
                small = [
                    cv2.resize(each, (COARSE_SIZE,) * 2, interpolation=cv2.INTER_AREA) for each in values
                ]
                batch |= {name: as_tensor(values), f"{name}_256": as_tensor(small)}
            else:
                batch[name] = as_tensor([np.atleast_3d(each) for each in values]).contiguous()
        return batch


def draw(
    synthesis: PairSynthesis, groups: Sequence[Group], kind: str, index: int, size: int
) -> dict[str, Any]:
    """Item ``index`` of a kind at working size ``size``: what a `TrainingPair` has, and further images."""
    rng = np.random.default_rng((synthesis.seed, index, 2))
    number, turn = int(rng.integers(len(groups))), int(rng.choice([-1, 1]))
    group = groups[number]
    place = int(rng.integers(len(group)))
    first, second, matches = group[place]
    if kind == "classes":
        others = groups[(number + int(rng.integers(1, len(groups)))) % len(groups)]
        second = group[(place + int(rng.integers(1, len(group)))) % len(group)][0]
        negative = others[int(rng.integers(len(others)))][0]
        photos = [synthesis.photos[each] for each in (first, second, negative)]
        return _triplet(synthesis, rng, _CLASS, photos, size)
    photos = [synthesis.photos[each] for each in (first, second)[::turn]]
    if kind == "aligned":
        return synthesis.pair(index, size, (photos[0], photos[1]))._asdict()
    if kind == "video":
        return _triplet(synthesis, rng, _VIDEO, photos, size)
    assert matches is not None
    return _views(synthesis, rng, photos, matches.reshape(-1, 2, 2)[:, ::turn], size)._asdict()


def _triplet(
    synthesis: PairSynthesis, rng: Rng, stratum: Stratum, photos: Sequence[Pixels], size: int
) -> dict[str, Any]:
    """A pair of the first photograph; the second as ``between``; the third, if any, as ``negative``."""
    crops = _crops(rng, photos, size)
    if stratum is _VIDEO:  # both frames are cut at one place
        crops = crops[:1] * 2
    further = _changed(synthesis, rng, photos, crops, size)[1:]
    mapping = stratum.motion(rng, size)
    pair = synthesis.warped(rng, stratum, mapping, (photos[0], photos[0]), crops[0][:2])
    return pair._asdict() | dict(zip(("between", "negative"), further, strict=False))


def _views(
    synthesis: PairSynthesis, rng: Rng, photos: Sequence[Pixels], ends: Array, size: int
) -> TrainingPair:
    """A pair of two views; ``ends`` ``(N, 2, 2)`` of matches are from 0 to 1 over source and target."""
    crops = _crops(rng, photos, size, turned=True)
    images = _changed(synthesis, rng, photos, crops, size)
    places = [ends[:, k] * photo.shape[1::-1] - 0.5 for k, photo in enumerate(photos)]
    source, target = map(apply_transform, map(np.linalg.inv, crops), places)
    within = inside(source[:, 0], source[:, 1], (size, size))
    sparse = scattered(target[within], source[within], (size, size))
    away = cv2.distanceTransform((~sparse.mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    near = away <= REACH * size
    flow = np.where(near[..., None], fill_unknown(sparse.flow, sparse.mask), np.float32(FAR))
    return TrainingPair(images[0], images[1], flow, near, near)


def _crops(rng: Rng, photos: Sequence[Pixels], size: int, *, turned: bool = False) -> list[Matrix]:
    """3x3 from a frame's to each photograph's pixels: squares of 0.5 to 1 of its area, mirrored together."""
    mirror, crops = bool(rng.integers(2)), []
    for photo in photos:
        degrees, scale = rng.uniform(-15, 15) if turned else 0.0, rng.uniform(0.7, 1.0)
        crop = rotation_scale_matrix(
            (size, size), photo.shape[:2], degrees=degrees, scale=scale, mirror=mirror
        )
        crop[:2, 2] += rng.uniform(-0.1, 0.1, 2) * photo.shape[1::-1]
        crops.append(crop)
    return crops


def _changed(
    synthesis: PairSynthesis, rng: Rng, photos: Sequence[Pixels], crops: Sequence[Matrix], size: int
) -> list[Pixels]:
    still = pixel_grid((size, size))
    return [
        synthesis.changed(resample(photo, cv2.transform(still, crop[:2]), size), rng, _CHANGES)[0]
        for photo, crop in zip(photos, crops, strict=True)
    ]


def as_tensor(images: Sequence[Pixels]) -> Tensor:
    """(N, 3, H, W) of (H, W, 3); channels stay last in memory, which convolutions in bfloat16 want."""
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def load_batches(dataset: BatchDataset, first: int, last: int, workers: int, pin: bool) -> Iterator[Batch]:
    """Batches of steps ``first`` to ``last - 1`` in order, made ahead by ``workers`` processes.

    Workers are spawned: a fork of a process that has computed with several threads may hang.
    """
    loader: DataLoader[Batch] = DataLoader(
        dataset,
        batch_size=None,
        sampler=range(first, last),
        num_workers=workers,
        worker_init_fn=_prepare_worker,
        pin_memory=pin,
        prefetch_factor=4 if workers else None,
        multiprocessing_context="spawn" if workers else None,
    )
    if os.name != "posix":
        return iter(loader)
    # The workers do not see Ctrl-C and SIGTERM before `_prepare_worker`.
    former = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        return iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _prepare_worker(_: int) -> None:
    """One thread and a lower priority for each worker: the training step should not wait for its cores.

    The training process decides when to stop. Ctrl-C, and the SIGTERM of torchrun, go to its whole group, so
    workers leave the group; they end when it tells them to, or when it is gone.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if os.name == "posix":
        os.setsid()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        os.nice(3)
    cv2.setNumThreads(1)  # torch sees to its own
