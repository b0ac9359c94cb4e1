"""What a batch came to: counts, rate, and the pairs to look at first."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glualign.batch.manifest import Record, run_file
from glualign.batch.pairs import PairList, Shard
from glualign.files import write_text

if TYPE_CHECKING:
    from glualign.batch.run import Plan

_VERDICTS = ("failed", "doubtful", "good")  # from worst to best
_COLUMNS = ("key", "status", "verdict", "source", "target", "seconds", "error")


@dataclass(frozen=True)
class Summary:
    """The outcome of one run.

    Attributes:
        total: pairs in the list (or the shard).
        done: aligned in this run.
        skipped: done before and unchanged.
        failed: failed in this run or before: in error, or with a verdict that does not pass.
        remaining: not reached, because the run was stopped.
        seconds: wall time of this run.
        rate: pairs finished (done or failed) in this run per second.
        verdicts: how many aligned pairs, now or before, have the verdict ``good``, ``doubtful``, ``failed``.
        errors: pairs that could not be aligned or written at all, now or before.
        failures: key and reason of each failed pair.
        again: why pairs that had been finished were done again, and how many for each reason.
        unmatched: files that are in no pair, and why.
    """

    total: int
    done: int
    skipped: int
    failed: int
    remaining: int
    seconds: float
    rate: float
    verdicts: Mapping[str, int]
    errors: int
    failures: Mapping[str, str]
    again: Mapping[str, int]
    unmatched: Sequence[str]


def summarise(pairs: PairList, plan: Plan, records: Sequence[Record], *, seconds: float) -> Summary:
    """Count what became of the pairs; ``records`` has one record for each pair that has one now."""
    failures = {record.key: record.error or "" for record in records if record.status == "failed"}
    finished = len(records) - len(plan.done) - len(plan.failed)
    verdicts = Counter(record.verdict for record in records)
    return Summary(
        total=len(pairs),
        done=len(records) - len(failures) - len(plan.done),
        skipped=len(plan.done),
        failed=len(failures),
        remaining=len(pairs) - len(records),
        seconds=round(seconds, 3),
        rate=round(finished / seconds, 4) if seconds > 0 else 0.0,
        verdicts={word: verdicts[word] for word in reversed(_VERDICTS)},
        errors=sum(not record.verdict for record in records if record.status == "failed"),
        failures=failures,
        again=plan.again,
        unmatched=list(pairs.unmatched),
    )


def worst_first(records: Sequence[Record]) -> list[Record]:
    """Pairs in error, then by verdict, then by the share of valid pixels; equal ones keep their order."""

    def badness(record: Record) -> tuple[int, float]:
        share = record.quality.get("valid_share")
        rank = _VERDICTS.index(record.verdict) if record.verdict in _VERDICTS else -1
        return rank, float(share) if isinstance(share, (int, float)) else 1.0

    return sorted(records, key=badness)


def write_summary(out: Path, summary: Summary, records: Sequence[Record], shard: Shard | None = None) -> None:
    """Write ``summary.json`` and ``summary.csv`` (one row a pair), the shard in the name if there is one."""
    text = json.dumps(asdict(summary), indent=2, allow_nan=False)
    write_text(run_file(out, "summary.json", shard), text + "\n")
    rows = [
        {_cell(name): value for name, value in record.quality.items() if type(value) in (int, float)}
        for record in records
    ]
    table = io.StringIO(newline="")
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow([*_COLUMNS, *(numbers := sorted({name for row in rows for name in row}))])
    for record, row in zip(records, rows, strict=True):
        words = (record.key, record.status, record.verdict, record.source.path, record.target.path)
        cells = [*map(_cell, words), round(sum(record.seconds.values()), 3), _cell(record.error or "")]
        writer.writerow([*cells, *(row.get(name, "") for name in numbers)])
    # A name that is not valid Unicode still has to fit into a UTF-8 file.
    text = table.getvalue().encode("utf-8", "backslashreplace").decode("utf-8")
    write_text(run_file(out, "summary.csv", shard), text)


def _cell(text: str) -> str:
    """Text that a spreadsheet does not take for a formula: with an apostrophe in front where it would."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
