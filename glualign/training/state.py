"""The state of a run on disk: written atomically, read without executing anything, complete for resuming."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glualign.errors import TrainingError
from glualign.files import atomic_path

CHECKPOINT_NAME = "last.pt"


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        stage: index of the current stage.
        step: steps done in that stage; the next batch is of this index.
        pairs: pairs seen in all stages and processes.
        seconds: time spent training, over all sessions.
        warm: the run started from given weights, whose pyramid has no batch norm.
    """

    stage: int = 0
    step: int = 0
    pairs: int = 0
    seconds: float = 0.0
    warm: bool = False


@dataclass
class RunState:
    """What a checkpoint holds.

    Attributes:
        recipe: the recipe as plain values.
        progress: where the run stands.
        network: the network's tensors.
        average: the running average of those tensors, and its number of updates.
        head: temperatures of the contrastive loss.
        pyramid: the pyramid with batch norm during a features stage from scratch, else None.
        optimiser: state of AdamW, or None between stages.
    """

    recipe: dict[str, Any]
    progress: Progress
    network: dict[str, Tensor]
    average: dict[str, Tensor]
    average_updates: int
    head: dict[str, Tensor]
    pyramid: dict[str, Tensor] | None
    optimiser: dict[str, Any] | None


def save_state(folder: Path, state: RunState, name: str = CHECKPOINT_NAME) -> Path:
    """Write a checkpoint into the run's folder; a former one stands until the new one is complete."""
    path = folder / name
    values = {**vars(state), "progress": vars(state.progress)}
    with atomic_path(path) as temporary:
        torch.save(values, temporary)
    return path


def load_state(folder: Path) -> RunState:
    """Read ``last.pt`` of a run's folder.

    Raises:
        TrainingError: there is none, or it is damaged or not of such a run.
    """
    path = folder / CHECKPOINT_NAME
    if not path.is_file():
        raise TrainingError(f"{path}: no checkpoint to resume from; start the run without --resume")
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
        known = {field.name: values[field.name] for field in fields(RunState)}
        return RunState(**{**known, "progress": Progress(**known["progress"])})
    except Exception as error:  # torch.load raises whatever the pickle or the zip runs into
        raise TrainingError(f"{path}: not a readable training checkpoint ({error})") from error


def check_same_recipe(stored: Mapping[str, Any], given: Mapping[str, Any], path: Path, *, stage: int) -> None:
    """Refuse to resume under a recipe that would not continue the same run.

    The model, the data, the seed, and kinds and mixes of the stages begun so far may not change. Rates,
    lengths and later stages may (the run is then another one from there on), and so may threads, workers
    and the log.

    Raises:
        TrainingError: they differ; the message names the key.
    """
    begun = stage + 1
    if _draws(stored["stages"][:begun]) != _draws(given["stages"][:begun]):
        raise TrainingError(f"{path}: the run was started with other stages; give the same recipe")
    for key in ("model", "data.mix", "data.held_out", "data.max_side", "run.seed", "run.ema"):
        if _at(stored, key) != _at(given, key):
            raise TrainingError(
                f"{path}: the run was started with {key} = {_at(stored, key)}, "
                f"the recipe says {_at(given, key)}; give the same recipe, or start a new run with --init"
            )


def _draws(stages: Sequence[Mapping[str, Any]]) -> list[tuple[Any, Any]]:
    # A checkpoint written before stages had mixes of their own lacks the key.
    return [(stage["kind"], stage.get("mix", {})) for stage in stages]


def _at(values: Mapping[str, Any], key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values
