"""One call of ``glualign train``: processes, recipe, photographs, weights and folder put together."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import cv2
import safetensors.torch

from glualign.checkpoints.load import load_model
from glualign.errors import TrainingError
from glualign.evaluation.datasets import open_dataset
from glualign.files import PathLike, locked, reading
from glualign.training.loop import Trainer
from glualign.training.photos import open_photos
from glualign.training.processes import joined_processes
from glualign.training.recipe import find_recipe, read_recipe
from glualign.training.run_folder import CHECKPOINT_NAME


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
            taken = TrainingError(f"{folder}: another run is training there; name another folder")
            stack.enter_context(locked(folder / ".glualign", {"lock": False}, taken))
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
            trainer.start_from(load_model(init or recipe.run.init).model.state_dict())
        elif recipe.model.pretrained:
            if not recipe.run.backbone:
                raise TrainingError("a pretrained model needs run.backbone or --init")
            with reading(recipe.run.backbone, TrainingError) as stream:
                trainer.start_from(safetensors.torch.load(stream.read()))
        minutes = None if max_minutes is None else max_minutes - (time.monotonic() - started) / 60
        return trainer.run(steps=max_steps, minutes=minutes)
