"""One call of ``glualign train``: recipe, photographs, weights and folder put together."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import cv2

from glualign.training.loop import Limits, Trainer, require_empty
from glualign.training.photos import open_photos
from glualign.training.processes import joined_processes
from glualign.training.recipe import read_recipe

PathLike = str | os.PathLike[str]


def train(
    recipe_path: PathLike,
    photos: PathLike,
    output: PathLike,
    *,
    resume: bool = False,
    init: PathLike | None = None,
    eval_pairs: PathLike | None = None,
    cache: PathLike | None = None,
    max_steps: int | None = None,
    max_minutes: float | None = None,
    say: Callable[[str], None] = print,
) -> bool:
    """Train by a recipe; returns whether the recipe was finished (else a limit was reached).

    Raises:
        TrainingError: the recipe, the photographs or the folder are not usable.
        CheckpointError: the starting weights are not.
    """
    recipe = read_recipe(recipe_path)
    folder = Path(output)
    with joined_processes(recipe.run.device) as processes:
        if not resume:
            require_empty(folder)
        folder.mkdir(parents=True, exist_ok=True)
        # OpenCV's own threads would compete with torch's; workers have one each.
        cv2.setNumThreads(1)
        store = open_photos(photos, cache, recipe.data.max_side)
        trainer = Trainer(recipe, store, folder, processes, say=say if processes.first else lambda _: None)
        if processes.first:
            say(f"{len(trainer.train_photos)} photographs to train on, {len(trainer.held_out)} held out")
        if eval_pairs is not None:
            from glualign.training.real_pairs import real_pairs_validator

            trainer.validators.append(real_pairs_validator(Path(eval_pairs), processes.device))
        if resume:
            trainer.resume()
        elif init or recipe.run.init:
            from glualign.checkpoints import load_model

            trainer.start_from(load_model(init or recipe.run.init).model.state_dict())
            trainer.validate(recipe.stages[0])
        with _stopping_politely(trainer):
            return trainer.run(Limits(max_steps, max_minutes))


@contextmanager
def _stopping_politely(trainer: Trainer) -> Iterator[None]:
    """On Ctrl-C or a polite kill, finish the step and write a checkpoint; a second one stops at once."""

    def stop(number: int, _: FrameType | None) -> None:
        if trainer.stop_requested:
            raise KeyboardInterrupt
        trainer.stop_requested = True

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
