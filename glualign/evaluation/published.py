"""Numbers published for GLU-Net, to stand beside ours (they hold for the official data and weights)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A published row: lengths in pixels, shares as fractions, None where nothing was published.

    ``pairs`` is the number of pairs of the official set (or group), where it is known.
    """

    method: str
    aepe: float | None = None
    pck_1: float | None = None
    pck_3: float | None = None
    pck_5: float | None = None
    pck_005: float | None = None
    fl: float | None = None
    pairs: int | None = None


_STATIC, _DYNAMIC, _SEMANTIC = "GLU-Net static", "GLU-Net dynamic", "Semantic-GLU-Net"
_LEVELS = ("I", "II", "III", "IV", "V")
_RATES = (3, 5, 7, 9, 11, 13, 15)
ALL = ""  # the row of all pairs
MEAN_OF_GROUPS = "mean of groups"


def _hpatches(levels: tuple[float, ...], overall: Published) -> dict[str, tuple[Published, ...]]:
    rows = {
        level: (Published(_STATIC, aepe=value, pairs=59),)
        for level, value in zip(_LEVELS, levels, strict=True)
    }
    return {**rows, ALL: (overall,)}


def _rates(*models: tuple[str, tuple[float, ...]]) -> dict[str, tuple[Published, ...]]:
    return {
        f"rate {rate}": tuple(Published(name, aepe=values[index]) for name, values in models)
        for index, rate in enumerate(_RATES)
    }


PUBLISHED: Mapping[str, Mapping[str, tuple[Published, ...]]] = {
    "hpatches-240": _hpatches(
        (0.59, 4.05, 7.64, 9.82, 14.89),
        Published(_STATIC, aepe=7.40, pck_1=0.59919, pck_5=0.83469, pck_005=0.89294, pairs=295),
    ),
    "hpatches": _hpatches(
        (1.53, 12.62, 27.38, 31.95, 51.11),
        Published(_STATIC, aepe=24.91, pck_1=0.3955, pck_5=0.7854, pairs=295),
    ),
    "kitti-2012": {
        ALL: (
            Published(_STATIC, aepe=3.33, fl=0.1891, pairs=194),
            Published(_DYNAMIC, aepe=3.12, fl=0.1973, pairs=194),
        )
    },
    "kitti-2015": {
        ALL: (
            Published(_STATIC, aepe=9.79, fl=0.3777, pairs=200),
            Published(_DYNAMIC, aepe=7.59, fl=0.3392, pairs=200),
        )
    },
    "tss": {
        "FG3DCar": (
            Published(_STATIC, pck_005=0.932, pairs=390),
            Published(_SEMANTIC, pck_005=0.944, pairs=390),
        ),
        "JODS": (
            Published(_STATIC, pck_005=0.737, pairs=162),
            Published(_SEMANTIC, pck_005=0.757, pairs=162),
        ),
        "PASCAL": (
            Published(_STATIC, pck_005=0.711, pairs=248),
            Published(_SEMANTIC, pck_005=0.783, pairs=248),
        ),
        MEAN_OF_GROUPS: (
            Published(_STATIC, pck_005=0.793, pairs=800),
            Published(_SEMANTIC, pck_005=0.828, pairs=800),
        ),
    },
    "eth3d": _rates(
        (_STATIC, (1.98, 2.54, 3.49, 4.24, 5.61, 7.55, 10.78)),
        (_DYNAMIC, (2.01, 2.46, 2.98, 3.51, 4.30, 6.11, 9.08)),
    ),
    "megadepth": {
        ALL: (
            Published(_STATIC, pck_1=0.2951, pck_3=0.5067, pck_5=0.5612, pairs=1600),
            Published(_DYNAMIC, pck_1=0.2159, pck_3=0.5227, pck_5=0.6191, pairs=1600),
        )
    },
}


def published_rows(dataset: str, group: str) -> tuple[Published, ...]:
    """What was published for a group of a data set (`ALL` for all pairs)."""
    return PUBLISHED.get(dataset, {}).get(group, ())
