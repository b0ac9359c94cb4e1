"""A training recipe: TOML read into frozen dataclasses, every value checked before anything starts."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import glualign
from glualign.errors import TrainingError
from glualign.network.config import CONFIGS, GLUNetConfig
from glualign.plain import plain
from glualign.training.fields import Range, build, refuse_unknown, shown
from glualign.training.strata import STRATA, check_mix

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Precision = Literal["auto", "fp32", "bf16"]
StageKind = Literal["features", "coarse", "full", "fine", "half"]

Count = Annotated[int, Range(1, 1e9)]
Share = Annotated[float, Range(0, 1)]
Rate = Annotated[float, Range(0, 1)]
Weight = Annotated[float, Range(0, 1e4)]
Weights = Annotated[Mapping[str, float], Range(0, 1e4)]
Size = Annotated[int, Range(256, 4096, step=8)]
Sizes = Annotated[tuple[int, ...], Range(256, 4096, step=8)]
Minutes = Annotated[float, Range(0, 1e6)]


@dataclass(frozen=True)
class DataOptions:
    """Which pairs are drawn.

    Attributes:
        mix: weight of each stratum of pairs.
        aligned: share of the pairs made from two photographs of the same place, pixel for pixel, whose names
            differ in a final ``_a`` and ``_b`` alone.
        held_out: shell patterns of the photographs kept for validation (relative names).
        held_out_share: share of the photographs that is kept when there are no patterns.
        workers: processes that synthesise pairs.
    """

    mix: Weights = field(default_factory=lambda: dict.fromkeys(STRATA, 1.0))
    aligned: Share = 0.0
    held_out: tuple[str, ...] = ()
    held_out_share: Annotated[float, Range(0.001, 0.5)] = 0.04
    workers: Annotated[int, Range(0, 256)] = 2


@dataclass(frozen=True)
class StageOptions:
    """One stage of training.

    Attributes:
        kind: ``features`` (contrastive, pyramid and feature transformer alone), ``coarse`` (levels 4 and 3 at
            256 x 256) or ``full`` (all levels); in ``fine`` all levels are computed and those of the working
            size learn, in ``half`` the one at 1/2 alone.
        steps: optimiser steps.
        batch: pairs per step and process.
        learning_rate: peak, for everything but the pyramid.
        pyramid_rate: peak for the pyramid; 0 freezes it, and gradients stop at the flow that enters a warp.
        sizes: working sizes (multiples of 8, at least 256); each batch draws one.
        extra_layers: probability that a batch above 256 passes through one extra adaptive-resolution layer.
        contrastive: weight of the contrastive loss (the only loss of a ``features`` stage).
        loss_exponents: exponent q of the robust end-point error (|d| + eps)^q, for flow4, flow3, flow2, flow1
            and, in a model with ``half_decoder_width``, flow0.
        mix: weight of each stratum of pairs in this stage; empty: that of ``data``.
        frozen_norms: the decoders' batch norms normalise by the statistics they have, as at inference. Those
            of a small batch depend on which motions happen to be in it, and flow bears that badly.
    """

    kind: StageKind
    steps: Count
    batch: Annotated[int, Range(1, 4096)] = 8
    learning_rate: Rate = 5e-4
    pyramid_rate: Rate = 0.0
    sizes: Sizes = (256,)
    extra_layers: Share = 0.0
    contrastive: Weight = 0.0
    loss_exponents: Annotated[tuple[float, ...], Range(0.05, 2)] = (0.8, 0.7, 0.6, 0.5, 0.5)
    mix: Weights = field(default_factory=dict)
    frozen_norms: bool = False


@dataclass(frozen=True)
class RunOptions:
    """How the run goes.

    Attributes:
        seed: of weights and data.
        init: weights to start from (a path, or a name of the registry); empty starts from nothing.
        backbone: frozen networks written by ``tools/convert_backbones.py``, for a model with a pretrained
            ``coarse_backbone`` that starts from nothing else.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: of convolutions; ``auto`` is bf16 where the hardware multiplies it, else fp32.
        threads: of the training process on a CPU; 0 leaves torch's choice.
        ema: decay of the running average of weights that is validated and exported.
        log_every: steps between lines of the log.
        checkpoint_minutes: between checkpoints.
        validate_minutes: between validations; one always closes a stage.
        validation_pairs: pairs of each stratum.
        validation_size: working size of those pairs.
    """

    seed: Annotated[int, Range(0, 2**31 - 1)] = 1
    init: str = ""
    backbone: str = ""
    device: str = "auto"
    precision: Precision = "auto"
    threads: Annotated[int, Range(0, 1024)] = 0
    ema: Annotated[float, Range(0, 0.999999)] = 0.998
    log_every: Count = 20
    checkpoint_minutes: Minutes = 4.0
    validate_minutes: Minutes = 15.0
    validation_pairs: Annotated[int, Range(1, 100_000)] = 32
    validation_size: Size = 384


@dataclass(frozen=True)
class Recipe:
    """Everything a run depends on besides the photographs."""

    model: GLUNetConfig
    stages: tuple[StageOptions, ...]
    data: DataOptions = DataOptions()
    run: RunOptions = RunOptions()


def find_recipe(name_or_path: str | os.PathLike[str]) -> Path:
    """A recipe by its path, or by its name one of those that ship with glualign (``compact``).

    Raises:
        TrainingError: there is none; the message lists the names.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path
    package = Path(glualign.__file__).parent
    installed = package / "recipes"
    folder = installed if installed.is_dir() else package.parent / "recipes"
    shipped = {file.stem: file for file in sorted(folder.glob("*.toml"))}
    if str(name_or_path) not in shipped:
        raise TrainingError(
            f"{name_or_path}: neither a file nor one of the recipes that ship: {', '.join(shipped)}"
        )
    return shipped[str(name_or_path)]


def read_recipe(path: str | os.PathLike[str]) -> Recipe:
    """Read and check a TOML recipe with the tables ``model``, ``data``, ``run`` and ``[[stages]]``.

    Raises:
        TrainingError: the file cannot be read, or a key or value is wrong (the message names it).
    """
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror})") from error
    # ValueError: not UTF-8, not TOML, or a number of thousands of digits; RecursionError: nested that deeply.
    except (ValueError, RecursionError) as error:
        raise TrainingError(f"{path}: not valid TOML: {error}") from error
    try:
        return parse_recipe(table)
    except TrainingError as error:
        raise TrainingError(f"{path}: {error}") from error


def parse_recipe(table: Mapping[str, Any]) -> Recipe:
    """A `Recipe` from the tables of a TOML file.

    Raises:
        TrainingError: a key or value is wrong.
    """
    refuse_unknown(table, ["model", "data", "run", "stages"], "recipe")
    stages = table.get("stages", ())
    if not isinstance(stages, (list, tuple)) or not stages:
        raise TrainingError("the recipe has no [[stages]]; add at least one")
    recipe = Recipe(
        model=_model(table.get("model", {})),
        stages=tuple(build(StageOptions, stage, f"stages[{n}]") for n, stage in enumerate(stages)),
        data=build(DataOptions, table.get("data", {}), "data"),
        run=build(RunOptions, table.get("run", {}), "run"),
    )
    check_mix(recipe.data.mix, "data.mix")
    for n, stage in enumerate(recipe.stages):
        _check_stage(stage, recipe.model, f"stages[{n}]")
    return recipe


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain values: what a checkpoint stores and compares on resume."""
    values: dict[str, Any] = plain(recipe)
    return values


def _model(table: Any) -> GLUNetConfig:
    if not isinstance(table, Mapping):
        raise TrainingError("model: must be a table")
    values = dict(table)
    base = values.pop("base", "compact")
    if not isinstance(base, str) or base not in CONFIGS:
        raise TrainingError(f"model.base: {shown(base)} is not one of {', '.join(CONFIGS)}")
    return build(GLUNetConfig, {**CONFIGS[base].to_dict(), **values}, "model")


def _check_stage(stage: StageOptions, model: GLUNetConfig, where: str) -> None:
    kind, levels = stage.kind, 5 if model.half_decoder_width else 4
    rules = {
        f"{where}.sizes: name at least one size": bool(stage.sizes),
        f"{where}.sizes: a {kind} stage works at 256 only": (
            kind in ("full", "fine", "half") or stage.sizes == (256,)
        ),
        f"{where}: a features stage needs contrastive above 0, and pyramid_rate above 0 unless the model has "
        "transformer_layers": (
            kind != "features"
            or (stage.contrastive > 0 and (stage.pyramid_rate > 0 or model.transformer_layers > 0))
        ),
        f"{where}: a {kind} stage needs pyramid_rate 0 and contrastive 0": (
            kind not in ("fine", "half") or (stage.pyramid_rate == 0 and stage.contrastive == 0)
        ),
        f"{where}: a half stage needs a model with half_decoder_width": kind != "half" or levels == 5,
        f"{where}.loss_exponents must be a list of {levels} values, one for each level": (
            levels <= len(stage.loss_exponents) <= 5
        ),
    }
    for message, holds in rules.items():
        if not holds:
            raise TrainingError(message)
    if stage.mix:
        check_mix(stage.mix, f"{where}.mix")
