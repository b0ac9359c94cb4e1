"""The processes that train one network together, and the device of each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist

from glualign.devices import choose_device
from glualign.errors import DeviceError, TrainingError


@dataclass(frozen=True)
class Processes:
    """This process among those that train together."""

    rank: int  # 0 is the one that writes files and prints
    world: int  # how many there are
    device: torch.device  # where this one computes

    def agree(self, value: bool) -> bool:
        """The first process's answer, for decisions that depend on the clock."""
        if self.world == 1:
            return value
        answer = torch.tensor([float(value)], device=self.device)
        dist.broadcast(answer, 0)
        return bool(answer.item())


@contextmanager
def joined_processes(device: str) -> Iterator[Processes]:
    """Join the group when `torchrun` started this process, else be the only one."""
    variables = (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
    rank, world, local = (int(os.environ.get(*variable)) for variable in variables)
    try:
        place = choose_device("cpu" if device == "auto" and not torch.cuda.is_available() else device)
    except DeviceError as error:
        raise TrainingError(
            f"run.device of the recipe: {device!r} is unknown or not on this machine; use auto or cpu"
        ) from error
    if place == torch.device("cuda"):
        place = torch.device("cuda", local)
        torch.cuda.set_device(place)
    if world > 1:
        dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield Processes(rank, world, place)
    finally:
        if world > 1:
            dist.destroy_process_group()
