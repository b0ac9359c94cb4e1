"""A training recipe: TOML read into frozen dataclasses, every value checked before anything starts.

A field is annotated with its type and, for numbers, with their least and most value and the step between
them, if any. The range of a list or table of numbers holds for each of them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from glualign.checkpoints.registry import PACKAGED
from glualign.errors import TrainingError
from glualign.files import PathLike, reading
from glualign.network.config import CONFIGS, GLUNetConfig
from glualign.training.photos import KINDS
from glualign.training.synthesis import STRATA

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


FINITE = (-1e12, 1e12)  # for numbers without a range of their own; NaN and infinity are in none
StageKind = Literal["features", "coarse", "full", "fine", "half"]

Count = Annotated[int, (1, 1e9)]
Share = Annotated[float, (0, 1)]
Rate = Annotated[float, (0, 1)]
Weights = Annotated[Mapping[str, float], (0, 1e4)]
Minutes = Annotated[float, (0, 1e6)]


@dataclass(frozen=True)
class DataOptions:
    """Which pairs are drawn.

    Attributes:
        mix: weight of each stratum of pairs (`STRATA`), and of photographs that belong together (`KINDS`);
            kinds that are not named have none. By default all strata weigh the same.
        held_out: shell patterns of the photographs kept for validation, on names relative to the folder.
        held_out_share: share of the photographs that is kept when there are no patterns.
        workers: processes that synthesise pairs; 0: the training process does.
    """

    mix: Weights = field(default_factory=lambda: dict.fromkeys(STRATA, 1.0))
    held_out: tuple[str, ...] = ()
    held_out_share: Annotated[float, (0.001, 0.5)] = 0.04
    workers: Annotated[int, (0, 256)] = 2


@dataclass(frozen=True)
class StageOptions:
    """One stage of training.

    Attributes:
        kind: what learns: ``features`` (contrastive, pyramid and projection alone), ``coarse`` (levels 4 and
            3 at 256 x 256), ``full`` (all levels), ``fine`` (all levels are computed, those of the working
            size learn) or ``half`` (the same, the level at 1/2 alone learns).
        steps: optimiser steps.
        batch: pairs of a step and process.
        learning_rate: peak, of everything but the pyramid.
        pyramid_rate: peak, of the pyramid; 0 freezes it, and gradients stop at the flow that enters a warp.
        sizes: working sizes; each batch draws one. ``features`` and ``coarse`` work at 256 only.
        extra_layers: probability that a batch above 256 passes through one extra adaptive-resolution layer.
        contrastive: weight of the contrastive loss, the only loss of a ``features`` stage; with 0 the
            projection of pretrained features stays as it is.
        loss_exponents: exponent q of the robust end-point error (abs(d) + eps)^q, for flow4, flow3, flow2,
            flow1 and, in a model with ``half_decoder_width``, flow0.
        mix: weights of the pairs in this stage, as in ``data.mix``; empty: those of ``data``.
        frozen_norms: the decoders' batch norms normalise by the statistics they have, as at inference. Those
            of a small batch depend on which motions happen to be in it, and flow bears that badly.
    """

    kind: StageKind
    steps: Count
    batch: Annotated[int, (1, 4096)] = 8
    learning_rate: Rate = 5e-4
    pyramid_rate: Rate = 0.0
    sizes: Annotated[tuple[int, ...], (256, 4096, 8)] = (256,)
    extra_layers: Share = 0.0
    contrastive: Annotated[float, (0, 1e4)] = 0.0
    loss_exponents: Annotated[tuple[float, ...], (0.05, 2)] = (0.8, 0.7, 0.6, 0.5, 0.5)
    mix: Weights = field(default_factory=dict)
    frozen_norms: bool = False


@dataclass(frozen=True)
class RunOptions:
    """How the run goes.

    Attributes:
        seed: of weights and data.
        init: weights to start from, a path or a name of the registry. Empty: from nothing or, in a model that
            is ``pretrained``, from ``backbone``.
        backbone: file that ``tools/convert_backbones.py`` wrote, for a ``pretrained`` model without ``init``.
        device: ``auto`` (CUDA, else the CPU), ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
        precision: of convolutions; ``auto`` is bf16 where the hardware multiplies it.
        threads: of the training process on a CPU; 0 leaves torch's choice.
        ema: decay of the running average of weights that is validated and exported.
        log_every: steps between lines of the log.
        checkpoint_minutes: minutes between checkpoints; one closes each stage.
        validate_minutes: minutes between validations; one closes each stage.
        validation_pairs: pairs of each stratum.
        validation_size: working size of these.
    """

    seed: Annotated[int, (0, 2**31 - 1)] = 1
    init: str = ""
    backbone: str = ""
    device: str = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    threads: Annotated[int, (0, 1024)] = 0
    ema: Annotated[float, (0, 0.999999)] = 0.998
    log_every: Count = 20
    checkpoint_minutes: Minutes = 4.0
    validate_minutes: Minutes = 15.0
    validation_pairs: Annotated[int, (1, 100_000)] = 32
    validation_size: Annotated[int, (256, 4096, 8)] = 384


@dataclass(frozen=True)
class Recipe:
    """Everything a run depends on besides the photographs."""

    model: GLUNetConfig
    stages: tuple[StageOptions, ...]
    data: DataOptions = DataOptions()
    run: RunOptions = RunOptions()


def find_recipe(name_or_path: PathLike) -> Path:
    """A recipe by its path, or by its name one of those that ship; a `TrainingError` if there is none."""
    path = Path(name_or_path)
    if path.is_file():
        return path
    # Beside the weights, in a wheel as in the source tree.
    shipped = {file.stem: file for file in sorted(PACKAGED.with_name("recipes").glob("*.toml"))}
    if str(path) not in shipped:
        raise TrainingError(f"{path}: neither a file nor one of the recipes that ship: {', '.join(shipped)}")
    return shipped[str(path)]


def read_recipe(path: PathLike) -> Recipe:
    """Read and check a TOML recipe with the tables ``model``, ``data``, ``run`` and ``[[stages]]``.

    A `TrainingError` names the file that cannot be read, and the key or value that is wrong.
    """
    with reading(path, TrainingError) as stream:
        try:
            return parse_recipe(tomllib.load(stream))
        # Not UTF-8, not TOML, a number of thousands of digits, or nested too deeply.
        except (ValueError, RecursionError) as error:
            raise TrainingError(f"not valid TOML: {error}") from error


def parse_recipe(table: Mapping[str, Any]) -> Recipe:
    """A `Recipe` from the tables of a TOML file; a `TrainingError` names the key or value that is wrong."""
    model = table.get("model", {})
    if isinstance(model, Mapping):
        base = model.get("base", "compact")
        if not isinstance(base, str) or base not in CONFIGS:
            raise TrainingError(f"model.base: {_shown(base)} is not one of {', '.join(CONFIGS)}")
        model = {**CONFIGS[base].to_dict(), **model}
        model.pop("base", None)
    if not table.get("stages"):
        raise TrainingError("the recipe has no [[stages]]; add at least one")
    recipe: Recipe = _checked({**table, "model": model}, Recipe, FINITE, "")
    for n, stage in enumerate(recipe.stages):
        _check_stage(stage, recipe.model, stage.mix or recipe.data.mix, f"stages[{n}]")
    return recipe


def _check_stage(stage: StageOptions, model: GLUNetConfig, mix: Mapping[str, float], where: str) -> None:
    kind, levels, exponents = stage.kind, 5 if model.half_decoder_width else 4, len(stage.loss_exponents)
    coarse, finer = kind in ("features", "coarse"), kind in ("fine", "half")
    learns_features = stage.contrastive > 0 and (stage.pyramid_rate > 0 or model.pretrained)
    frozen = stage.pyramid_rate == stage.contrastive == 0
    rules = {
        ": a semantic model cannot be trained, only used": not model.semantic,
        ".sizes: name at least one size": bool(stage.sizes),
        f".sizes: a {kind} stage works at 256 only": not coarse or stage.sizes == (256,),
        ": a features stage needs contrastive above 0, and pyramid_rate above 0 unless the model "
        "is pretrained": kind != "features" or learns_features,
        f": a {kind} stage needs pyramid_rate 0 and contrastive 0": not finer or frozen,
        f": of the mix at least one of {', '.join(STRATA)} must be positive": any(map(mix.get, STRATA)),
        ": a half stage needs a model with half_decoder_width": kind != "half" or levels == 5,
        f".loss_exponents must be a list of {levels} values, one for each level": levels <= exponents <= 5,
    }
    for message, holds in rules.items():
        if not holds:
            raise TrainingError(where + message)


def _checked(value: Any, hint: Any, bounds: tuple[float, ...], where: str) -> Any:
    """A value that a field of type ``hint`` may have; tables become dataclasses, lists tuples."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _checked(value, arguments[0], arguments[1], where)
    if origin is Literal:
        if value not in arguments:
            raise TrainingError(f"{where}: {_shown(value)} is not one of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        some = Ellipsis in arguments
        if not isinstance(value, (list, tuple)) or (not some and len(value) != len(arguments)):
            raise TrainingError(f"{where}: must be a list of {'some' if some else len(arguments)} values")
        return tuple(_checked(item, arguments[0], bounds, f"{where}[{n}]") for n, item in enumerate(value))
    if origin is not None or is_dataclass(hint):  # the weights of strata, or a table
        if not isinstance(value, Mapping):
            raise TrainingError(f"{where}: must be a table")
        hints = (
            get_type_hints(hint, include_extras=True)
            if origin is None
            else dict.fromkeys((*STRATA, *KINDS), float)
        )
        if unknown := ", ".join(sorted(str(key) for key in value if key not in hints)):
            raise TrainingError(f"{where or 'recipe'}: unknown key {unknown}; known are {', '.join(hints)}")
        table = {
            str(key): _checked(item, hints[key], bounds, f"{where}.{key}".lstrip("."))
            for key, item in value.items()
        }
        try:
            return hint(**table) if origin is None else table
        except (TypeError, ValueError) as error:  # a required key is missing; the class checks more by itself
            reason = str(error).removeprefix(f"{hint.__name__}.__init__() ")
            raise TrainingError(f"{where}: {reason}") from error
    allowed = (int, float) if hint is float else hint
    if not isinstance(value, allowed) or (isinstance(value, bool) and hint is not bool):
        raise TrainingError(f"{where}: {_shown(value)} must be of type {hint.__name__}")
    low, high, *step = bounds
    if hint in (int, float) and not (low <= value <= high and not any(value % each for each in step)):
        multiple = "".join(f", a multiple of {each}" for each in step)
        raise TrainingError(f"{where}: {_shown(value)} is not from {low:.10g} to {high:.10g}{multiple}")
    return hint(value)


def _shown(value: Any) -> str:
    """A value for a message: its repr, cut to 60 characters (Python refuses that of very long integers)."""
    try:
        return f"{value!r:.60}"
    except ValueError:
        return "a number of thousands of digits"
