"""Write docs/recipes.md, every key of a training recipe, from the dataclasses that read it.

python tools/build_recipe_reference.py            write the page
python tools/build_recipe_reference.py --check    exit with 1 if the page differs from what would be written
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pages import DOCS, write_or_check

from glualign.network.config import CHOICES, CONFIGS, LIMITS, MAX_CHANNELS, GLUNetConfig
from glualign.training.photos import KINDS
from glualign.training.recipe import FINITE, DataOptions, RunOptions, StageOptions
from glualign.training.synthesis import STRATA

INTRODUCTION = """\
<!-- Written by tools/build_recipe_reference.py from the docstrings of glualign/training/recipe.py. -->

# Keys of a recipe

A recipe is a TOML file with the tables `[model]`, `[data]` and `[run]`, and one `[[stages]]` for each stage,
of which there is at least one. Every key but `kind` and `steps` may be left out. An unknown key or a value
out of range is refused before anything starts. [Training](training.md) says what they are for; the recipes
that ship, in [`recipes/`](../recipes), are examples.
"""
MODEL = """\
`base` is the configuration to start from, one of {bases};
the default is `"compact"`, whose values are shown. All other keys change it.
Models of `semantic = true` can be used, but not trained.
"""
MIX = """\
The names in a `mix` are the strata {strata},
and for photographs that belong together {kinds} ([pairs](training.md#pairs)).
"""
TABLES: tuple[tuple[str, type], ...] = (
    ("[data]", DataOptions),
    ("[run]", RunOptions),
    ("[[stages]]", StageOptions),
    ("[model]", GLUNetConfig),
)
WORDS = {int: "integer", float: "number", str: "text", bool: "`true` or `false`"}


def page() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for heading, part in TABLES:
        parts.append(f"## {heading}\n")
        if part is GLUNetConfig:
            parts.append(MODEL.format(bases=_listed(CONFIGS)))
        parts.append("\n".join(_rows(part)) + "\n")
        if part is DataOptions:
            parts.append(MIX.format(strata=_listed(STRATA), kinds=_listed(KINDS)))
    return "\n".join(parts)


def _rows(part: type) -> Iterator[str]:
    meanings, hints = _meanings(part), get_type_hints(part, include_extras=True)
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    for each in fields(part):
        hint = hints[each.name]
        if part is GLUNetConfig:
            bounds = (1, MAX_CHANNELS) if each.name == "pyramid_channels" else LIMITS.get(each.name)
            value = _value(Annotated[hint, bounds] if bounds else hint)
            value += ", or 0" if each.name == "half_decoder_width" else ""
            if each.name in CHOICES:
                value = _listed(CHOICES[each.name])
            default: Any = getattr(CONFIGS["compact"], each.name)
        else:
            value, made = _value(hint), each.default_factory
            default = each.default if made is MISSING else made()
        shown = "required" if default is MISSING else f"`{_toml(default)}`"
        yield f"| `{each.name}` | {value} | {shown} | {meanings[each.name]} |"


def _meanings(part: type) -> dict[str, str]:
    """What the docstring says of each attribute, as Markdown."""
    listed = (inspect.getdoc(part) or "").partition("Attributes:\n")[2]
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", listed, re.MULTILINE)
    return {name: " ".join(text.split()).replace("``", "`").replace("|", "\\|") for name, text in entries}


def _value(hint: Any) -> str:
    """The type of a value, and the range that its numbers have."""
    bounds: tuple[float, ...] = ()
    if get_origin(hint) is Annotated:
        hint, bounds = get_args(hint)[:2]
    if get_origin(hint) is Literal:
        return _listed(get_args(hint))
    several = ""
    if get_origin(hint) is tuple:
        inner, *rest = get_args(hint)
        several = "list of " if Ellipsis in rest else f"list of {1 + len(rest)} "
        hint = inner
    elif isinstance(get_origin(hint), type) and issubclass(get_origin(hint), Mapping):
        several, hint = "table of ", get_args(hint)[1]
    word = WORDS[hint]
    text = f"{several}{word}s" if several and hint is not str else f"{several}{word}"
    if bounds and bounds[:2] != FINITE:
        low, high, *step = bounds
        text += f", {'each ' if several else ''}{low:.10g} to {high:.10g}"
        text += "".join(f", a multiple of {each}" for each in step)
    return text


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{key} = {_toml(item)}" for key, item in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else str(value)


def _listed(names: Any) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    write_or_check(__doc__, {DOCS / "recipes.md": page()})
