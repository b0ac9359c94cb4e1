"""What of a batch is still to be done, decided from the manifest and from what is on the disk."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from glualign import __version__
from glualign.batch.manifest import Check, Input, Record
from glualign.batch.pairs import Pair, PairList

Redo = Literal["changed", "failed", "all"]


@dataclass(frozen=True)
class Plan:
    """The pairs of a list, each in one of three groups.

    Attributes:
        todo: to be aligned in this run, in order.
        done: records of pairs that need nothing.
        failed: records of pairs that failed before and are left alone.
        again: why pairs that had been finished are in ``todo``, and how many for each reason.
    """

    todo: tuple[Pair, ...]
    done: tuple[Record, ...]
    failed: tuple[Record, ...]
    again: Mapping[str, int]


def make_plan(
    pairs: PairList,
    records: Mapping[str, Record],
    options: Mapping[str, Any],
    check: Check,
    out: Path,
    *,
    redo: Redo,
) -> Plan:
    """Sort the pairs into what is to be done and what stands.

    A record stands if it was made by this version with the same options from inputs that have not changed,
    and if its outputs are there in full size. ``redo`` says what is done again although nothing changed:
    nothing (``changed``), pairs that failed (``failed``), or everything (``all``).
    """
    todo: list[Pair] = []
    standing: dict[str, list[Record]] = {"done": [], "failed": []}
    again = {"changed": (), "failed": ("failed",), "all": ("done", "failed")}[redo]
    reasons: Counter[str] = Counter()
    for pair in pairs.pairs:
        record = records.get(pair.key)
        if record is None or record.status in again:
            todo.append(pair)
        elif reason := _changed(record, pair, options, check, out):
            reasons[reason] += 1
            todo.append(pair)
        else:
            standing[record.status].append(record)
    return Plan(tuple(todo), tuple(standing["done"]), tuple(standing["failed"]), dict(reasons))


def _changed(record: Record, pair: Pair, options: Mapping[str, Any], check: Check, out: Path) -> str | None:
    """Why a record no longer stands; None: it does."""
    if record.version != __version__:
        return f"made by glualign {record.version}, not {__version__}"
    differing = [name for name in options if record.options.get(name, ...) != options[name]]
    if differing or len(record.options) != len(options):
        return f"made with other options ({', '.join(differing) or 'of another version'})"
    if pair.fault is not None:
        return None if record.error == pair.fault else "the list changed"
    for name, then, path in (("source", record.source, pair.source), ("target", record.target, pair.target)):
        if not then.is_like(Input.of(path, check)):
            return f"the {name} changed"
    try:
        same = all(os.stat(out / name).st_size == size for name, size in record.outputs.items())
    except OSError:
        same = False
    return None if same else "results are missing or were changed"
