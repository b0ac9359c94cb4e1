"""What a batch came to: counts, rate, and the pairs to look at first."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from glualign.batch.jobs import JobList, Shard
from glualign.batch.manifest import Record
from glualign.batch.plan import Plan
from glualign.files import write_text

_VERDICTS = ("failed", "doubtful", "good")  # from worst to best
_COLUMNS = ("key", "status", "verdict", "source", "target", "seconds", "error")


@dataclass(frozen=True)
class Summary:
    """The outcome of one run.

    Attributes:
        total: pairs in the list (or the shard).
        done: aligned in this run.
        skipped: done before and unchanged.
        failed: failed in this run or before.
        remaining: not reached, because the run was stopped.
        seconds: wall time of this run.
        rate: pairs finished (done or failed) in this run per second.
        verdicts: how many of the pairs done, now or before, have which verdict of quality.
        failures: key and reason of each failed pair.
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
    failures: Mapping[str, str]
    unmatched: Sequence[str]


def summarise(jobs: JobList, plan: Plan, records: Sequence[Record], *, seconds: float) -> Summary:
    """Count what became of the jobs; ``records`` has one record for each job that has one now."""
    done = sum(record.status == "done" for record in records)
    failures = {record.key: record.error or "" for record in records if record.status == "failed"}
    standing = len(plan.done) + len(plan.failed)
    finished = len(records) - standing
    return Summary(
        total=len(jobs),
        done=done - len(plan.done),
        skipped=len(plan.done),
        failed=len(failures),
        remaining=len(jobs) - len(records),
        seconds=round(seconds, 3),
        rate=round(finished / seconds, 4) if seconds > 0 else 0.0,
        verdicts=dict(Counter(verdict(record) for record in records if verdict(record))),
        failures=failures,
        unmatched=list(jobs.unmatched),
    )


def verdict(record: Record) -> str:
    """The one word on a pair's quality; empty for failed pairs."""
    return str(record.quality.get("verdict") or "")


def worst_first(records: Sequence[Record]) -> list[Record]:
    """Failed pairs, then by verdict, then by the share of valid pixels; equal ones keep their order."""

    def badness(record: Record) -> tuple[int, float]:
        if record.status == "failed":
            return -1, 0.0
        word = verdict(record)
        share = record.quality.get("valid_share")
        return _VERDICTS.index(word) if word in _VERDICTS else 0, 1.0 if share is None else float(share)

    return sorted(records, key=badness)


def write_summary(out: Path, summary: Summary, records: Sequence[Record], shard: Shard | None = None) -> None:
    """Write ``summary.json`` and ``summary.csv`` (one row a pair), the shard in the name if there is one."""
    name = "summary" if shard is None else f"summary-{shard}"
    write_text(out / f"{name}.json", json.dumps(asdict(summary), indent=2, allow_nan=False) + "\n")
    write_text(out / f"{name}.csv", _table(records))


def shard_summaries(out: Path) -> list[Path]:
    """The summaries that shards left in an output folder."""
    return sorted(out.glob("summary-*-of-*.*"))


def _table(records: Sequence[Record]) -> str:
    numbers = sorted(
        {key for record in records for key, value in record.quality.items() if _is_number(value)}
    )
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_COLUMNS, *numbers])
    for record in records:
        seconds = round(sum(record.seconds.values()), 3)
        writer.writerow(
            [
                record.key,
                record.status,
                verdict(record),
                record.source.path,
                record.target.path,
                seconds,
                record.error or "",
                *("" if record.quality.get(name) is None else record.quality[name] for name in numbers),
            ]
        )
    # A name that is not valid Unicode still has to fit into a UTF-8 file.
    return text.getvalue().encode("utf-8", "backslashreplace").decode("utf-8")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
