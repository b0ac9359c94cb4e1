"""The tables of a report: how well a pair is aligned and how long it took, as text with its meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from glualign.flow import Flow, jacobian_determinant
from glualign.viz.canvas import readable

_MEANINGS = {
    "median_error": "Median difference of forward and backward flow.",
    "edge_agreement": "How far edges run alike: up to 0.1 in unrelated images, from 0.4 in alike ones.",
    "content_agreement": "Squared correlation of what is between common edges: from 0.2 if alike.",
    "inlier_share": "Share of the trusted flow that the transform explains.",
}


@dataclass(frozen=True)
class TableRow:
    """One line of a table.

    Attributes:
        name: what it is.
        value: the number with its unit, ready to print.
        meaning: how to read it, one sentence or nothing.
    """

    name: str
    value: str
    meaning: str = ""


def flow_rows(flow: Flow, valid: npt.NDArray[np.bool_], trusted: npt.NDArray[np.bool_]) -> list[TableRow]:
    """Coverage of a flow, and its lengths and folds where it is ``trusted``."""
    lengths = np.hypot(*np.moveaxis(flow.data, -1, 0))[trusted]
    rows = [
        TableRow("Valid", f"{100 * valid.mean():.1f} %", "Share of the target that the source reaches."),
        TableRow("Trusted", f"{100 * trusted.mean():.1f} %", "Share where the flow is likely right."),
    ]
    if lengths.size:
        middle, high = (readable(float(value)) for value in np.percentile(lengths, [50, 95]))
        rows += [
            TableRow("Median motion", f"{middle} px", "Half of the trusted pixels move less than this."),
            TableRow("95 % move less than", f"{high} px"),
        ]
    if trusted.any() and min(flow.size) >= 2:
        with np.errstate(invalid="ignore"):
            folded = (jacobian_determinant(flow) <= 0)[trusted].mean()
        meaning = "Share of the trusted pixels where the map turns over and has no inverse."
        rows.append(TableRow("Folded", f"{100 * folded:.2g} %", meaning))
    return rows


def correlation_rows(before: float | None, after: float | None) -> list[TableRow]:
    """Correlation of source and target on the trusted pixels, unaligned and aligned; nothing if not known."""
    if before is None or after is None:
        return []
    meaning = (
        "Correlation of the grey values, 1 at best, with the source as it was and warped. "
        "Says little when the two images come from different kinds of sensor."
    )
    return [TableRow("Correlation, before and after", f"{before:.2f} to {after:.2f}", meaning)]


def quality_rows(quality: Mapping[str, Any]) -> list[TableRow]:
    """The numbers of a quality that `flow_rows` does not show: names made readable, values shortened."""
    elsewhere = ("valid_share", "trusted_share", "folding_share")
    shown = {name: value for name, value in quality.items() if name not in elsewhere}
    return [
        TableRow(_words(name), text, _MEANINGS.get(name, ""))
        for name, value in shown.items()
        if (text := _number(name, value))
    ]


def timing_rows(timings: Mapping[str, float]) -> list[TableRow]:
    """Seconds by step."""
    return [
        TableRow(_words(name), f"{seconds:.2f} s" if seconds >= 0.005 else "under 0.01 s")
        for name, seconds in timings.items()
    ]


def matrix_rows(transform: npt.NDArray[np.float64] | None) -> list[list[str]]:
    """A 3x3 transform as text, or no rows."""
    return [[f"{value:.6g}" for value in row] for row in transform] if transform is not None else []


def _words(name: str) -> str:
    text = name.replace("_", " ")
    return text[:1].upper() + text[1:]


def _number(name: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        return ""
    if name.endswith("_share"):
        return f"{100 * value:.1f} %"
    return readable(float(value)) + (" px" if name.endswith("_error") else "")
