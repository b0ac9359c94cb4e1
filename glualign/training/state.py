"""The state of a run on disk: written atomically, read without executing anything, complete for resuming."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glualign.errors import TrainingError
from glualign.files import atomic_path

CHECKPOINT_NAME = "last.pt"


@dataclass
class TrainingProgress:
    """Where a run stands."""

    stage: int = 0  # index of the current stage
    step: int = 0  # steps done in that stage; the next batch is of this index
    pairs: int = 0  # pairs seen in all stages and processes
    seconds: float = 0.0  # time spent training, over all sessions
    warm: bool = False  # the run started from given weights, whose pyramid has no batch norm


@dataclass
class RunState:
    """What a checkpoint holds."""

    recipe: dict[str, Any]  # the recipe as plain values
    photos: str  # fingerprint of the photographs
    progress: TrainingProgress  # where the run stands
    network: dict[str, Tensor]  # the network's tensors
    average: dict[str, Tensor]  # the running average of those tensors, and its number of updates
    average_updates: int
    head: dict[str, Tensor]  # temperatures of the contrastive loss
    pyramid: dict[str, Tensor] | None = None  # with batch norm, during a features stage from scratch
    optimiser: dict[str, Any] | None = None  # state of AdamW, or None between stages


def save_state(path: Path, state: RunState) -> None:
    """Write a checkpoint; a former one stands until the new one is complete."""
    with atomic_path(path) as temporary:
        torch.save({**vars(state), "progress": vars(state.progress)}, temporary)


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
        return RunState(**{**values, "progress": TrainingProgress(**values["progress"])})
    except Exception as error:  # torch.load raises whatever the pickle or the zip runs into
        raise TrainingError(f"{path}: not a readable training checkpoint ({error})") from error


_FREE = frozenset(
    {
        "data.workers", "run.device", "run.precision", "run.threads", "run.log_every",
        "run.checkpoint_minutes", "run.validate_minutes", "run.validation_pairs", "run.validation_size",
    }
)  # fmt: skip
_FREE_IN_STAGE = frozenset(
    {"steps", "learning_rate", "pyramid_rate", "contrastive", "loss_exponents", "frozen_norms"}
)
"""What the stage that is running may change. Data, and which parameters learn, may not."""


def recipe_changes(
    stored: Mapping[str, Any], given: Mapping[str, Any], folder: Path, progress: TrainingProgress
) -> list[str]:
    """The values in which a recipe differs from that of the run it resumes, all of which will be applied.

    Model, data, seed and finished stages may not change; of a stage that is running rates, weights and its
    length may; stages that are still to come may in every respect.

    Returns:
        One line ``KEY: OLD -> NEW`` for each changed value.

    Raises:
        TrainingError: a value differs that cannot change; the message names it.
    """
    before, after = _leaves(stored), _leaves(given)
    lines = []
    for key in sorted(set(before) | set(after)):
        old, new = before.get(key, "nothing"), after.get(key, "nothing")
        if old == new:
            continue
        if not _may_change(key, old, new, progress):
            raise TrainingError(
                f"{folder}: the run was started with {key} = {old}, the recipe says {new}; "
                "give the same recipe, or start a new run with --init"
            )
        lines.append(f"{key}: {old} -> {new}")
    return lines


def _may_change(key: str, old: Any, new: Any, progress: TrainingProgress) -> bool:
    if not key.startswith("stages."):
        return key in _FREE
    _, stage, name, *_ = key.split(".")
    if int(stage) != progress.stage or progress.step == 0:
        return int(stage) >= progress.stage
    # Where a weight becomes zero, or no longer is, other parameters learn than the optimiser has states of.
    same_parameters = name not in ("pyramid_rate", "contrastive") or (old == 0) == (new == 0)
    return name in _FREE_IN_STAGE and same_parameters


def _leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted keys and values of nested tables; lists of tables count from 0."""
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        value = dict(enumerate(value))
    if not isinstance(value, Mapping):
        return {prefix.removesuffix("."): value}
    return {k: v for key, item in value.items() for k, v in _leaves(item, f"{prefix}{key}.").items()}
