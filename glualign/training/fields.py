"""Frozen dataclasses from the tables of a TOML file: every value checked by the type and range of its field.

A field is annotated with its type and, for numbers, with the `Range` its values may have:
``Annotated[float, Range(0, 1)]``. The range of a list or table of numbers holds for each of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from glualign.errors import TrainingError

T = TypeVar("T")


@dataclass(frozen=True)
class Range:
    """Allowed numbers: from ``low`` to ``high``, both included, and multiples of ``step`` if given."""

    low: float
    high: float
    step: int = 0

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high and not (self.step and value % self.step)

    def __str__(self) -> str:
        multiple = f", a multiple of {self.step}" if self.step else ""
        return f"from {self.low:.10g} to {self.high:.10g}{multiple}"


FINITE = Range(-1e12, 1e12)
"""For numbers without a range of their own; NaN and infinity are outside of any range."""


def build(cls: type[T], table: Any, where: str) -> T:
    """An instance of a dataclass from a table; ``where`` names the table in messages.

    Raises:
        TrainingError: a key is unknown or missing, or a value has the wrong type or lies outside its range.
    """
    hints = get_type_hints(cls, include_extras=True)
    known = [field.name for field in fields(cls)]  # type: ignore[arg-type]
    refuse_unknown(table, known, where)
    values = {key: _checked(value, hints[key], FINITE, f"{where}.{key}") for key, value in table.items()}
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:  # a required key is missing; the class checks more by itself
        raise TrainingError(f"{where}: {str(error).removeprefix(f'{cls.__name__}.__init__() ')}") from error


def refuse_unknown(table: Any, known: list[str], where: str) -> None:
    """Raise TrainingError unless ``table`` is a table whose keys are all ``known``."""
    if not isinstance(table, Mapping):
        raise TrainingError(f"{where}: must be a table")
    unknown = sorted(str(key) for key in set(table) - set(known))
    if unknown:
        raise TrainingError(f"{where}: unknown key {', '.join(unknown)}; known are {', '.join(known)}")


def _checked(value: Any, hint: Any, bounds: Range, where: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _checked(value, arguments[0], arguments[1], where)
    if origin is Literal:
        if not any(value is allowed or value == allowed for allowed in arguments):
            raise TrainingError(f"{where}: {shown(value)} is not one of {', '.join(map(str, arguments))}")
        return value
    if origin is UnionType:  # X | None; TOML has no null
        return None if value is None else _checked(value, arguments[0], bounds, where)
    if origin is tuple:
        some = Ellipsis in arguments
        if not isinstance(value, (list, tuple)) or (not some and len(value) != len(arguments)):
            raise TrainingError(f"{where}: must be a list of {'some' if some else len(arguments)} values")
        return tuple(_checked(item, arguments[0], bounds, f"{where}[{n}]") for n, item in enumerate(value))
    if origin is not None:  # Mapping[str, float]
        if not isinstance(value, Mapping):
            raise TrainingError(f"{where}: must be a table")
        return {
            str(key): _checked(item, arguments[1], bounds, f"{where}.{key}") for key, item in value.items()
        }
    allowed = (int, float) if hint is float else hint
    if not isinstance(value, allowed) or (isinstance(value, bool) and hint is not bool):
        raise TrainingError(f"{where}: {shown(value)} must be of type {hint.__name__}")
    if hint in (int, float):
        if value not in bounds:
            raise TrainingError(f"{where}: {shown(value)} is not {bounds}")
        return hint(value)
    return value


def shown(value: Any) -> str:
    """A value for a message: its repr, cut to 60 characters (Python refuses that of very long integers)."""
    try:
        text = repr(value)
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) <= 60 else text[:57] + "..."
