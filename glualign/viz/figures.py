"""The numbers of a report: how well a pair is aligned and how long it took, as text with its meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from glualign.flow import Flow, jacobian_determinant
from glualign.viz.canvas import Picture, readable
from glualign.viz.colorwheel import as_uv


@dataclass(frozen=True)
class Figure:
    """One line of a table.

    Attributes:
        name: what it is.
        value: the number with its unit, ready to print.
        meaning: how to read it, one sentence or nothing.
    """

    name: str
    value: str
    meaning: str = ""


def flow_figures(flow: Flow, valid: npt.NDArray[np.bool_]) -> list[Figure]:
    """Facts about a flow: coverage, lengths, folds."""
    lengths = np.hypot(*np.moveaxis(as_uv(flow), -1, 0))[valid]
    rows = [
        Figure(
            "Valid", f"{100 * valid.mean():.1f} %", "Share of the target's pixels that have a trusted source."
        )
    ]
    if lengths.size:
        middle, high = np.percentile(lengths, [50, 95])
        rows += [
            Figure(
                "Median motion",
                f"{readable(float(middle))} px",
                "Half of the valid pixels move less than this.",
            ),
            Figure("95 % move less than", f"{readable(float(high))} px"),
        ]
    if valid.any() and min(flow.size) >= 2:
        with np.errstate(invalid="ignore"):
            folded = (jacobian_determinant(flow) <= 0)[valid].mean()
        meaning = "Share of the valid pixels where the map turns over and has no inverse."
        rows.append(Figure("Folded", f"{100 * folded:.2g} %", meaning))
    return rows


def likeness(first: Picture, second: Picture, where: npt.NDArray[np.bool_]) -> float | None:
    """Correlation of two pictures' grey values in ``where``: 1 for equal up to brightness and contrast.

    Returns:
        A number in [-1, 1], or None where there is nothing to correlate.
    """
    a = cv2.cvtColor(first, cv2.COLOR_RGB2GRAY)[where].astype(np.float64)
    b = cv2.cvtColor(second, cv2.COLOR_RGB2GRAY)[where].astype(np.float64)
    if a.size < 2 or a.std() == 0 or b.std() == 0:
        return None
    return float(np.corrcoef(a, b)[0, 1])


def likeness_figures(before: float | None, after: float | None) -> list[Figure]:
    """How alike source and target are on the valid pixels, unaligned and aligned."""
    if before is None or after is None:
        return []
    meaning = (
        "Correlation of the grey values, 1 at best, with the source as it was and warped. "
        "Says little when the two images come from different kinds of sensor."
    )
    return [Figure("Likeness, before and after", f"{before:.2f} to {after:.2f}", meaning)]


def record_figures(record: Any) -> list[Figure]:
    """The plain fields of a dataclass or mapping as they are: names made readable, numbers shortened."""
    if record is None:
        return []
    if is_dataclass(record):
        items = [(field.name, getattr(record, field.name)) for field in fields(record)]
    elif isinstance(record, Mapping):
        items = [(str(name), value) for name, value in record.items()]
    else:
        return []
    return [Figure(_words(name), text) for name, value in items if (text := _plain(name, value)) is not None]


def timing_figures(timings: Mapping[str, float] | None) -> list[Figure]:
    """Seconds by stage."""
    return [
        Figure(_words(name), f"{seconds:.2f} s" if seconds >= 0.005 else "under 0.01 s")
        for name, seconds in (timings or {}).items()
    ]


def matrix_rows(transform: npt.NDArray[np.float64] | None) -> list[list[str]]:
    """A 3x3 transform as text, or no rows."""
    return [[f"{value:.6g}" for value in row] for row in transform] if transform is not None else []


def _words(name: str) -> str:
    text = name.replace("_", " ").strip()
    return text[:1].upper() + text[1:]


def _plain(name: str, value: Any) -> str | None:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value or None
    if isinstance(value, (int, float, np.integer, np.floating)):
        number = float(value)
        if not np.isfinite(number):
            return None
        if name.endswith("_share") and 0 <= number <= 1:
            return f"{100 * number:.1f} %"
        unit = " px" if name.endswith(("_px", "_error", "_epe")) else ""
        return readable(number) + unit
    if isinstance(value, (tuple, list)) and value and all(isinstance(item, str) for item in value):
        return "; ".join(value)
    return None
