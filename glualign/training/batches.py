"""Batches of synthetic pairs from worker processes; batch ``n`` of a stage depends on nothing but ``n``."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from glualign.network.config import COARSE_SIZE
from glualign.training.photometric import Pixels
from glualign.training.synthesis import PairSynthesis

Batch = dict[str, Tensor]
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, eq=False)
class BatchDataset(Dataset[Batch]):
    """Item ``step`` is a whole batch, so that all its pairs share one working size."""

    synthesis: PairSynthesis  # draws the pairs
    batch: int  # pairs per batch and process
    sizes: Sequence[int]  # working sizes to draw from
    rank: int = 0  # of this process among those that train together
    world: int = 1  # number of those processes

    def __getitem__(self, step: int) -> Batch:
        """The batch of a step.

        ``source`` and ``target`` (B, 3, S, S) uint8, also at 256 as ``source_256``, ``target_256``; ``flow``
        (B, 2, S, S) float32 in pixels; ``valid`` and ``visible`` (B, 1, S, S) bool.
        """
        size = self.size(step)
        first = (step * self.world + self.rank) * self.batch
        pairs = [self.synthesis.pair(first + k, size) for k in range(self.batch)]
        sources, targets, flows, valid, visible = map(np.stack, zip(*pairs, strict=True))
        batch = {
            "flow": torch.from_numpy(flows.transpose(0, 3, 1, 2).copy()),
            "valid": torch.from_numpy(valid[:, None]),
            "visible": torch.from_numpy(visible[:, None]),
        }
        for name, images in (("source", sources), ("target", targets)):
            batch[name] = batch[f"{name}_256"] = as_tensor(images)
            if size != COARSE_SIZE:
                coarse = (COARSE_SIZE, COARSE_SIZE)
                small = [cv2.resize(image, coarse, interpolation=cv2.INTER_AREA) for image in images]
                batch[f"{name}_256"] = as_tensor(small)
        return batch

    def size(self, step: int) -> int:
        """Working size of a step: the same for all processes."""
        rng = np.random.default_rng((self.synthesis.seed, step, 1))
        return int(self.sizes[int(rng.integers(len(self.sizes)))])


def as_tensor(images: Sequence[Pixels] | Pixels) -> Tensor:
    """(N, 3, H, W) of (H, W, 3); channels stay last in memory, which convolutions in bfloat16 want."""
    return torch.from_numpy(np.stack([*images])).permute(0, 3, 1, 2)


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
        prefetch_factor=4 if workers else None,
        pin_memory=pin,
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
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
