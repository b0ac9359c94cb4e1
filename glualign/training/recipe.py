"""A training recipe: TOML read into frozen dataclasses, every value checked before anything starts."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from glualign.errors import TrainingError
from glualign.network.config import CONFIGS, GLUNetConfig
from glualign.training.strata import STRATA

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Precision = Literal["fp32", "bf16"]
StageKind = Literal["features", "coarse", "full", "fine", "half"]

LEVELS = ("flow4", "flow3", "flow2", "flow1", "flow0")
"""What a network answers, from coarse to fine; the last only with ``half_decoder_width``."""


@dataclass(frozen=True)
class DataOptions:
    """Which pairs are drawn.

    Attributes:
        mix: weight of each stratum of pairs.
        held_out: shell patterns of photographs kept for validation (relative names); none: every 25th.
        workers: processes that synthesise pairs.
        max_side: photographs are decoded at most this large.
    """

    mix: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys(STRATA, 1.0))
    held_out: tuple[str, ...] = ()
    workers: int = 2
    max_side: int = 1024


@dataclass(frozen=True)
class StageOptions:
    """One stage of training.

    Attributes:
        kind: ``features`` (contrastive, pyramid and context alone), ``coarse`` (levels 4 and 3 at
            256 x 256) or ``full`` (all levels); in ``fine`` all levels answer and those of the working size
            learn, in ``half`` the one at 1/2 alone.
        steps: optimiser steps.
        batch: pairs per step and process.
        learning_rate: peak, for everything but the pyramid.
        pyramid_rate: peak for the pyramid; 0 freezes it.
        frozen_groups: groups of the pyramid that stay as they are all the same. The full-resolution groups
            ``level_0`` and ``level_1`` take most of the backward pass on a CPU and are learned first.
        warm_up: share of the steps over which the rate rises; after that it falls along a cosine.
        final_rate: share of the peak that is left at the end.
        sizes: working sizes (multiples of 8, at least 256); each batch draws one.
        extra_layers: probability that a batch above 256 passes through one extra adaptive-resolution layer.
        detach: stop gradients at the flow that enters each warp. Follows ``pyramid_rate == 0`` if unset.
        contrastive: weight of the contrastive loss (the only loss of a ``features`` stage).
        outside: weight of pixels whose match lies outside the source frame.
        level_weights: of flow4, flow3, flow2, flow1 and, in a model with ``half_decoder_width``, flow0.
        loss_exponents: exponent q of the robust end-point error (|d| + eps)^q, for the same levels.
        mix: weight of each stratum of pairs in this stage; empty: that of ``data``.
        frozen_norms: the decoders' batch norms normalise by the statistics they have, as at inference. Those
            of a small batch depend on which motions happen to be in it, and flow bears that badly.
        weight_decay: of AdamW.
        clip: largest gradient norm.
    """

    kind: StageKind
    steps: int
    batch: int = 8
    learning_rate: float = 5e-4
    pyramid_rate: float = 0.0
    frozen_groups: tuple[str, ...] = ()
    warm_up: float = 0.03
    final_rate: float = 0.01
    sizes: tuple[int, ...] = (256,)
    extra_layers: float = 0.0
    detach: bool | None = None
    contrastive: float = 0.0
    outside: float = 0.05
    level_weights: tuple[float, ...] = (0.3, 0.4, 0.6, 1.0, 1.0)
    loss_exponents: tuple[float, ...] = (0.8, 0.7, 0.6, 0.5, 0.5)
    mix: Mapping[str, float] = field(default_factory=dict)
    frozen_norms: bool = False
    weight_decay: float = 1e-4
    clip: float = 1.0

    @property
    def stop_gradients(self) -> bool:
        """Whether flows are detached before each warp."""
        return self.pyramid_rate == 0 if self.detach is None else self.detach


@dataclass(frozen=True)
class RunOptions:
    """How the run goes.

    Attributes:
        seed: of weights and data.
        init: weights to start from (a path, or a name of the registry); empty starts from nothing.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: of convolutions.
        threads: of the training process on a CPU; 0 leaves torch's choice.
        compile: pass the network through ``torch.compile``.
        ema: decay of the running average of weights that is validated and exported.
        log_every: steps between lines of the log.
        checkpoint_minutes: between checkpoints.
        validate_minutes: between validations; one always closes a stage.
        validation_pairs: pairs of each stratum.
        validation_size: working size of those pairs.
    """

    seed: int = 1
    init: str = ""
    device: str = "auto"
    precision: Precision = "bf16"
    threads: int = 0
    compile: bool = False
    ema: float = 0.998
    log_every: int = 20
    checkpoint_minutes: float = 4.0
    validate_minutes: float = 15.0
    validation_pairs: int = 32
    validation_size: int = 384


@dataclass(frozen=True)
class Recipe:
    """Everything a run depends on besides the photographs."""

    model: GLUNetConfig
    stages: tuple[StageOptions, ...]
    data: DataOptions = DataOptions()
    run: RunOptions = RunOptions()


def read_recipe(path: str | os.PathLike[str]) -> Recipe:
    """Read and check a TOML recipe with the tables ``model``, ``data``, ``run`` and ``[[stages]]``.

    Raises:
        TrainingError: the file cannot be read, or a key or value is wrong (the message names it).
    """
    try:
        table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
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
    _refuse_unknown(table, ("model", "data", "run", "stages"), "recipe")
    stages = tuple(
        _build(StageOptions, stage, f"stages[{n}]") for n, stage in enumerate(table.get("stages", ()))
    )
    if not stages:
        raise TrainingError("the recipe has no [[stages]]; add at least one")
    recipe = Recipe(
        model=_model(table.get("model", {})),
        stages=stages,
        data=_build(DataOptions, table.get("data", {}), "data"),
        run=_build(RunOptions, table.get("run", {}), "run"),
    )
    _check(recipe)
    return recipe


def to_dict(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain values: what a checkpoint stores and compares on resume."""
    values = dataclasses.asdict(recipe)
    values["model"] = recipe.model.to_dict()
    return _plain(values)  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, (tuple, list)) else value


def _model(table: Mapping[str, Any]) -> GLUNetConfig:
    values = dict(table)
    base = values.pop("base", "compact")
    if base not in CONFIGS:
        raise TrainingError(f"model.base: {base!r} is not one of {', '.join(CONFIGS)}")
    try:
        return GLUNetConfig.from_dict({**CONFIGS[base].to_dict(), **values})
    except (ValueError, TypeError) as error:
        raise TrainingError(f"model: {error}") from error


def _refuse_unknown(table: Any, known: tuple[str, ...], where: str) -> None:
    if not isinstance(table, Mapping):
        raise TrainingError(f"{where}: must be a table")
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise TrainingError(f"{where}: unknown key {', '.join(unknown)}; known are {', '.join(known)}")


def _build(cls: type[Any], table: Any, where: str) -> Any:
    _refuse_unknown(table, tuple(f.name for f in fields(cls)), where)
    hints = get_type_hints(cls)
    values = {key: _convert(value, hints[key], f"{where}.{key}") for key, value in table.items()}
    try:
        return cls(**values)
    except TypeError as error:
        raise TrainingError(f"{where}: {error}") from error


def _convert(value: Any, hint: Any, where: str) -> Any:
    """Check ``value`` against the few kinds of types that recipes use."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        if value not in arguments:
            raise TrainingError(f"{where}: {value!r} is not one of {', '.join(map(str, arguments))}")
        return value
    if origin is UnionType:
        return None if value is None else _convert(value, arguments[0], where)
    if origin is tuple:
        if not isinstance(value, list) or (Ellipsis not in arguments and len(value) != len(arguments)):
            count = "some" if Ellipsis in arguments else len(arguments)
            raise TrainingError(f"{where}: must be a list of {count} values")
        return tuple(_convert(item, arguments[0], where) for item in value)
    if origin is not None:  # Mapping[str, float]
        if not isinstance(value, Mapping):
            raise TrainingError(f"{where}: must be a table")
        return {str(k): _convert(v, float, f"{where}.{k}") for k, v in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise TrainingError(f"{where}: {value!r} must be of type {hint.__name__}")
    return value


def _check(recipe: Recipe) -> None:
    rules = [
        *_mix_rules(recipe.data.mix, "data.mix"),
        (recipe.data.workers >= 0, "data.workers must not be negative"),
        (0 <= recipe.run.ema < 1, "run.ema must be in [0, 1)"),
        (recipe.run.log_every > 0, "run.log_every must be positive"),
        (recipe.run.validation_pairs > 0, "run.validation_pairs must be positive"),
        (
            recipe.run.validation_size >= 256 and recipe.run.validation_size % 8 == 0,
            "run.validation_size must be a multiple of 8, at least 256",
        ),
    ]
    levels = len(LEVELS) if recipe.model.half_decoder_width else len(LEVELS) - 1
    for n, stage in enumerate(recipe.stages):
        where = f"stages[{n}]"
        rules += [
            (stage.steps > 0 and stage.batch > 0, f"{where}: steps and batch must be positive"),
            (0 <= stage.warm_up < 1, f"{where}.warm_up must be in [0, 1)"),
            (
                bool(stage.sizes) and all(s >= 256 and s % 8 == 0 for s in stage.sizes),
                f"{where}.sizes: {list(stage.sizes)} must be multiples of 8, at least 256",
            ),
            (
                stage.kind in ("full", "fine", "half") or stage.sizes == (256,),
                f"{where}.sizes: a {stage.kind} stage works at 256 only",
            ),
            (
                stage.kind != "features"
                or (
                    stage.contrastive > 0 and (stage.pyramid_rate > 0 or recipe.model.transformer_layers > 0)
                ),
                f"{where}: a features stage needs contrastive above 0, and pyramid_rate above 0 "
                "unless the model has transformer_layers",
            ),
            (
                stage.kind not in ("fine", "half") or (stage.pyramid_rate == 0 and stage.contrastive == 0),
                f"{where}: a {stage.kind} stage needs pyramid_rate 0 and contrastive 0",
            ),
            (
                stage.kind != "half" or recipe.model.half_decoder_width > 0,
                f"{where}: a half stage needs a model with half_decoder_width",
            ),
            *(
                (
                    levels <= len(values) <= len(LEVELS),
                    f"{where}.{name} must be a list of {levels} values, one for each level",
                )
                for name, values in (
                    ("level_weights", stage.level_weights),
                    ("loss_exponents", stage.loss_exponents),
                )
            ),
            (min(stage.loss_exponents, default=0) > 0, f"{where}.loss_exponents must be positive"),
            *(_mix_rules(stage.mix, f"{where}.mix") if stage.mix else ()),
        ]
    for holds, message in rules:
        if not holds:
            raise TrainingError(message)


def _mix_rules(mix: Mapping[str, float], where: str) -> list[tuple[bool, str]]:
    unknown = sorted(set(mix) - set(STRATA))
    return [
        (not unknown, f"{where}: unknown stratum {', '.join(unknown)}; known are {', '.join(STRATA)}"),
        (min(mix.values(), default=-1) >= 0, f"{where}: weights must be positive"),
        (sum(mix.values()) > 0, f"{where}: at least one weight must be positive"),
    ]
