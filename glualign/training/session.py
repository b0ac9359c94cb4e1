"""One call of ``glualign train``: processes, recipe, photographs, weights and folder put together."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import safetensors.torch
import torch
import torch.distributed as dist

from glualign.devices import choose_device
from glualign.errors import DeviceError, TrainingError
from glualign.evaluation.datasets import open_dataset
from glualign.files import PathLike, reading
from glualign.locks import locked
from glualign.training.folder import CHECKPOINT_NAME
from glualign.training.loop import Trainer
from glualign.training.photos import open_photos
from glualign.training.recipe import find_recipe, read_recipe


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


def train(
    recipe_name: PathLike,
    photos: PathLike,
    output: PathLike,
    *,
    resume: bool = False,
    init: PathLike | None = None,
    eval_pairs: PathLike | None = None,
    cache: PathLike | None = None,
    max_steps: int | None = None,
    max_minutes: float | None = None,
    log: Callable[[str], None] = print,
    signals: Sequence[int] = (),
) -> bool:
    """Train by a recipe (a file, or the name of one that ships).

    Returns whether the recipe was finished; else a limit was reached or ``signals`` held any, and a
    checkpoint was left. A `TrainingError` says that recipe, photographs or folder are not usable, a
    `CheckpointError` that the starting weights are not.
    """
    started = time.monotonic()
    recipe = read_recipe(find_recipe(recipe_name))
    folder = Path(output)
    if resume and init:
        raise TrainingError("a resumed run goes on from its own checkpoint; leave --init out")
    if not resume and (folder / CHECKPOINT_NAME).exists():
        raise TrainingError(f"{folder}: already holds a run; continue it with --resume, or name another")
    with joined_processes(recipe.run.device) as processes, ExitStack() as stack:
        if processes.rank == 0:
            try:
                stack.enter_context(locked(folder / ".glualign", {"lock": False}))
            except BlockingIOError as error:
                raise TrainingError(
                    f"{folder}: another run is training there; name another folder"
                ) from error
            except OSError as error:
                raise TrainingError(f"{folder}: cannot be written ({error.strerror})") from error
        # OpenCV's own threads would compete with torch's; workers have one each.
        cv2.setNumThreads(1)
        store = open_photos(photos, cache)
        log = (lambda _: None) if processes.rank else log
        trainer = Trainer(recipe, store, folder, processes, log, signals)
        counts = f"{len(trainer.train_photos)} photographs to train on, {len(trainer.held_out)} held out"
        trainer.log(counts + f", {store.left_out} files left out" * bool(store.left_out))
        if eval_pairs is not None:
            trainer.eval_pairs = open_dataset("pairs", eval_pairs)
        if resume:
            trainer.resume()
        elif init or recipe.run.init:
            from glualign.checkpoints.load import load_model

            trainer.start_from(load_model(init or recipe.run.init).model.state_dict())
        elif recipe.model.pretrained:
            if not recipe.run.backbone:
                raise TrainingError("a pretrained model needs run.backbone or --init")
            with reading(recipe.run.backbone, TrainingError) as stream:
                trainer.start_from(safetensors.torch.load(stream.read()))
        minutes = None if max_minutes is None else max_minutes - (time.monotonic() - started) / 60
        return trainer.run(steps=max_steps, minutes=minutes)
