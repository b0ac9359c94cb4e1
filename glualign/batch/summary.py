"""What a run of a batch reports: its progress, and the summary with which it ends."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from glualign.batch.manifest import Record, run_file
from glualign.batch.pairs import PairList, Shard
from glualign.files import write_text
from glualign.quality import VERDICTS

_COLUMNS = ("key", "status", "verdict", "source", "target", "seconds", "error")


@dataclass(frozen=True)
class BatchProgress:
    """Told to ``on_progress`` once when the work is known (``record`` is None) and after each pair."""

    todo: int  # pairs to be aligned in this run
    done: int  # pairs that need nothing
    failed: int  # pairs that failed before and are left alone
    again: Mapping[str, int]  # why pairs that had been finished are done again, and how many for each reason
    finished: int = 0  # pairs that this run is done with
    record: Record | None = None  # of the last of them


@dataclass(frozen=True)
class Summary:
    """The outcome of one run."""

    total: int  # pairs in the list (or the shard)
    done: int  # aligned in this run
    skipped: int  # done before and unchanged
    failed: int  # failed in this run or before: in error, or with a verdict that does not pass
    remaining: int  # not reached, because the run was stopped
    seconds: float  # wall time of this run
    rate: float  # pairs finished (done or failed) in this run per second
    verdicts: Mapping[str, int]  # aligned pairs, now or before, of the verdicts good, doubtful and failed
    errors: int  # pairs that could not be aligned or written at all, now or before
    failures: Mapping[str, str]  # key and reason of each failed pair
    again: Mapping[str, int]  # why pairs that had been finished were done again, and how many for each reason
    unmatched: Sequence[str]  # files that are in no pair, and why


def summarize(pairs: PairList, records: Sequence[Record], progress: BatchProgress, seconds: float) -> Summary:
    """The summary of a run over ``pairs`` that took ``seconds``, with the records that now stand."""
    failures = {record.key: record.error or "" for record in records if record.status == "failed"}
    verdicts = Counter(record.verdict for record in records)
    return Summary(
        total=len(pairs),
        done=len(records) - len(failures) - progress.done,
        skipped=progress.done,
        failed=len(failures),
        remaining=len(pairs) - len(records),
        seconds=round(seconds, 3),
        rate=round(progress.finished / max(seconds, 1e-9), 4),
        verdicts={word: verdicts[word] for word in reversed(VERDICTS)},
        errors=sum(not record.verdict for record in records if record.status == "failed"),
        failures=failures,
        again=progress.again,
        unmatched=pairs.unmatched,
    )


def write_summary(out: Path, summary: Summary, records: Sequence[Record], shard: Shard | None) -> None:
    """Write ``summary.json`` and ``summary.csv`` (one row a pair), the shard in the name if there is one."""
    text = json.dumps(asdict(summary), indent=2, allow_nan=False)
    write_text(run_file(out, "summary.json", shard), text + "\n")
    rows = []
    for record in records:
        row = {_cell(name): value for name, value in record.quality.items() if type(value) in (int, float)}
        words = (record.key, record.status, record.verdict, record.source.path, record.target.path)
        cells = (*map(_cell, words), round(sum(record.seconds.values()), 3), _cell(record.error or ""))
        rows.append(row | dict(zip(_COLUMNS, cells, strict=True)))
    names = [*_COLUMNS, *sorted({name for row in rows for name in row} - set(_COLUMNS))]
    writer = csv.DictWriter(table := io.StringIO(newline=""), names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(run_file(out, "summary.csv", shard), table.getvalue(), "backslashreplace")


def _cell(text: str) -> str:
    """Text that a spreadsheet does not take for a formula: with an apostrophe in front where it would."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
