"""One process or several: what `torchrun` started, and what only the first process does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from glualign.devices import choose_device


@dataclass(frozen=True)
class Processes:
    """This process among those that train together."""

    rank: int  # 0 is the one that writes
    world: int  # how many there are
    device: torch.device  # where this one computes

    @property
    def first(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def mean(self, values: Tensor) -> Tensor:
        """The mean of a tensor over all processes."""
        if self.world > 1:
            dist.all_reduce(values)
            values = values / self.world
        return values

    def agree(self, value: bool) -> bool:
        """The first process's answer, for decisions that depend on the clock."""
        if self.world == 1:
            return value
        answer = torch.tensor([float(value)], device=self.device)
        dist.broadcast(answer, 0)
        return bool(answer.item())


@contextmanager
def joined_processes(device: str) -> Iterator[Processes]:
    """Join the group when `torchrun` started this process, else be the only one.

    Raises:
        DeviceError: the device is unknown or not there.
    """
    rank, world, local = (int(os.environ.get(name, n)) for name, n in _VARIABLES.items())
    place = choose_device("cpu" if device == "auto" and not torch.cuda.is_available() else device)
    if place == torch.device("cuda"):
        place = torch.device("cuda", local)
        torch.cuda.set_device(place)
    if world == 1:
        yield Processes(0, 1, place)
        return
    dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield Processes(rank, world, place)
    finally:
        dist.destroy_process_group()


_VARIABLES = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0}
"""Of the environment in which `torchrun` starts a process, and their values without it."""
