"""The files of a run's folder: checkpoints, complete for resuming, and logs with their plots.

All are written atomically. A checkpoint is read without executing anything.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from glualign.errors import TrainingError
from glualign.files import atomic_path, reading, write_text

Row = Mapping[str, float]
CHECKPOINT_NAME = "last.pt"


@dataclass
class TrainingProgress:
    """Where a run stands."""

    stage: int = 0  # index of the current stage
    step: int = 0  # steps done in that stage; the next batch is of this index
    pairs: int = 0  # pairs seen in all stages and processes
    warm: bool = False  # the run started from given weights, whose pyramid has no batch norm

    def place(self) -> dict[str, float]:
        """The first columns of a row of the logs."""
        return {"pairs": self.pairs, "stage": self.stage, "step": self.step}


class State(NamedTuple):
    """What a checkpoint holds."""

    recipe: Mapping[str, Any]
    photos: str  # their fingerprint
    progress: TrainingProgress
    network: dict[str, Tensor]
    average: dict[str, Tensor]
    average_updates: int
    head: dict[str, Tensor]
    pyramid: bool  # whether it has batch norms
    optimiser: dict[str, Any] | None


def load_state(folder: Path) -> State:
    """The checkpoint ``last.pt`` of a run's folder.

    A `TrainingError` says that there is none, or that it is damaged or not of such a run.
    """
    path = folder / CHECKPOINT_NAME
    if not path.is_file():
        raise TrainingError(f"{path}: no checkpoint to resume from; start the run without --resume")
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
        return State(**{**values, "progress": TrainingProgress(**values["progress"])})
    except Exception as error:  # torch.load raises whatever the pickle or the zip runs into
        raise TrainingError(
            f"{path}: not a readable checkpoint of such a run; the stage-N.pt beside it are older ones"
        ) from error


_FIXED_IN_RUN = ("seed", "init", "backbone", "ema")
_FREE_IN_STAGE = ("steps", "learning_rate", "pyramid_rate", "contrastive", "loss_exponents", "frozen_norms")
"""What the stage that is running may change. Data, and which parameters learn, may not."""


def recipe_changes(
    stored: Mapping[str, Any], given: Mapping[str, Any], folder: Path, progress: TrainingProgress
) -> list[str]:
    """Lines ``KEY: OLD -> NEW``: how a recipe differs from that of the run it resumes; all will be applied.

    Model, data, seed and finished stages may not change, which a `TrainingError` says; of a stage that is
    running rates, weights and its length may; stages that are still to come may in every respect.
    """
    before, after = _leaves(stored), _leaves(given)
    lines = []
    for key in sorted({**before, **after}):
        old, new = (values.get(key, "nothing") for values in (before, after))
        if old == new:
            continue
        table, number, name, *_ = *key.split("."), "", ""
        allowed = key == "data.workers" or (table == "run" and number not in _FIXED_IN_RUN)
        if table == "stages":
            allowed = int(number) >= progress.stage
            if int(number) == progress.stage and progress.step:
                # Where a rate or weight becomes zero, or no longer is, other parameters learn than before.
                switched = name in ("pyramid_rate", "contrastive") and (old == 0) != (new == 0)
                allowed = name in _FREE_IN_STAGE and not switched
        if not allowed:
            raise TrainingError(
                f"{folder}: the run was started with {key} = {old}, the recipe says {new}; "
                "give the same recipe, or start a new run with --init"
            )
        lines.append(f"{key}: {old} -> {new}")
    return lines


def _leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted keys and values of nested tables; lists of tables count from 0."""
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        value = dict(enumerate(value))
    if not isinstance(value, Mapping):
        return {prefix.removesuffix("."): value}
    return {k: v for key, item in value.items() for k, v in _leaves(item, f"{prefix}{key}.").items()}


def append_row(path: Path, row: Row) -> None:
    """Add a row to a CSV file; cells that it or others lack, and values that are not finite, stay empty."""
    _write_rows(path, [*read_rows(path), row])


def rewind(path: Path, pairs: int) -> None:
    """Keep the rows up to and including ``pairs``: what came later will be trained again."""
    if path.exists():
        _write_rows(path, [row for row in read_rows(path) if row["pairs"] <= pairs])


def _write_rows(path: Path, rows: Sequence[Row]) -> None:
    names = dict.fromkeys(name for row in rows for name in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(names), restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        finite = {name: value for name, value in row.items() if math.isfinite(value)}
        # Counts have to be exact: a run that goes on finds its place by them.
        writer.writerow({k: f"{v:.0f}" if v % 1 == 0 else f"{v:.6g}" for k, v in finite.items()})
    write_text(path, text.getvalue())


def read_rows(path: Path) -> list[dict[str, float]]:
    """The rows of a log, without empty cells; none before there is a log."""
    if not path.exists():
        return []
    with reading(path, TrainingError) as stream:
        lines = stream.read().decode("utf-8").splitlines()
        return [{k: float(v) for k, v in row.items() if k and v} for row in csv.DictReader(lines)]


def plot(rows: Sequence[Row], columns: Sequence[str], path: Path) -> None:
    """Write the curves of some columns over pairs as a PNG of 900 x 500 with logarithmic values.

    A curve runs through the means of at most 400 parts of its rows; without two positive values it is left
    out, and without any curve nothing is written.
    """
    curves = {}
    for name in columns:
        points = np.array([(r["pairs"], math.log10(r[name])) for r in rows if r.get(name, 0) > 0])
        if len(points) > 1:
            curves[name] = np.array([p.mean(axis=0) for p in np.array_split(points, min(len(points), 400))])
    if not curves:
        return
    picture = Image.new("RGB", (900, 500), "white")
    draw = ImageDraw.Draw(picture)
    everything = np.concatenate([*curves.values()])
    low, high = everything.min(axis=0), everything.max(axis=0)
    scale = np.array([780, -400]) / np.maximum(high - low, 1e-6)
    for value in (low[1], *range(math.ceil(low[1]), math.floor(high[1]) + 1), high[1]):
        y = 450 + (value - low[1]) * scale[1]
        draw.line((60, y, 840, y), "#e1e1e1")
        draw.text((5, y - 6), f"{10**value:.3g}", "black")
    draw.text((740, 470), f"{high[0]:.0f} pairs", "black")
    for index, (name, curve) in enumerate(curves.items()):
        colour = f"hsl({360 * index // len(curves)}, 80%, 40%)"
        draw.line([*map(tuple, (curve - low) * scale + (60, 450))], colour)
        draw.text((730, 60 + 16 * index), name, colour)
    with atomic_path(path) as temporary:
        picture.save(temporary)
