"""How pairs are aligned: the options and the presets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from glualign.errors import OptionError

Preset = Literal["fast", "balanced"]
Transform = Literal["auto", "dense", "homography", "affine", "similarity", "translation", "tps"]

SMALLEST_SIDE = 16
"""Pixels; smaller images hold nothing that could be matched."""


@dataclass(frozen=True)
class AlignOptions:
    """How pairs are aligned.

    Attributes:
        max_side: longer side in pixels that the network works at; None for the images' own size.
        search: whether to try rotations, scales and key points where the matches of the pair as it is do not
            agree.
        transform: the simplest global model that explains the pair as well as the flow does, else the flow
            (``auto``); the flow (``dense``); or a global model to fit, where ``tps`` is a thin-plate spline.
        fuse_global_motion: use the global motion alone where it explains the target better than the flow.
        mirror: also consider that the source is mirrored.
        refine: sub-pixel refinement where the pair looks alike.

    Raises:
        OptionError: a value is not one of those, or out of range.
    """

    max_side: int | None = 1024
    search: bool = True
    transform: Transform = "auto"
    fuse_global_motion: bool = True
    mirror: bool = False
    refine: bool = True

    def __post_init__(self) -> None:
        side = self.max_side
        if side is not None and (type(side) is not int or side < SMALLEST_SIDE):
            raise OptionError(
                f"max_side must be a whole number, at least {SMALLEST_SIDE} or None, not {side!r}"
            )
        choices = {"transform": get_args(Transform)}
        for name, value in vars(self).items():
            allowed = choices.get(name, (True, False))
            if name != "max_side" and (value not in allowed or type(value) is not type(allowed[0])):
                raise OptionError(f"{name} must be one of {', '.join(map(str, allowed))}, not {value!r}")
        if self.mirror and not self.search:
            raise OptionError("mirror needs a search; search is off")


PRESETS: dict[str, AlignOptions] = {
    "fast": AlignOptions(max_side=512, search=False),
    "balanced": AlignOptions(),
}


def choose_options(preset: str, changes: dict[str, Any]) -> AlignOptions:
    """The options of a preset with some fields changed.

    Raises:
        OptionError: the preset or a field is unknown, or a value is not allowed.
    """
    if preset not in PRESETS:
        raise OptionError(f"preset {preset!r} is unknown; use {', '.join(PRESETS)}")
    known = vars(PRESETS[preset])
    unknown = sorted(set(changes) - set(known))
    if unknown:
        raise OptionError(f"unknown option {', '.join(unknown)}; use {', '.join(known)}")
    return replace(PRESETS[preset], **changes)
