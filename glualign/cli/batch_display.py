"""How ``glualign batch`` shows its progress and what it came to."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from glualign.cli.console import is_quiet, note, print_json, print_table, progress_on, summary_rows, warn

if TYPE_CHECKING:
    from glualign.batch import BatchProgress, Summary

_LINES_SHOWN = 20
"""Of files in no pair, and of failures: the rest is in the summary's files."""


class Display:
    """A bar on a terminal, a line for each pair elsewhere, JSON lines for machines.

    Progress and failures go to stderr, the summary (and all of ``as_json``) to stdout. The ``bar`` is entered
    for the time of the run.
    """

    def __init__(self, *, as_json: bool) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

        self._json = as_json
        self._shows = not (as_json or is_quiet())
        self._started = time.monotonic()
        rate = TextColumn("{task.fields[rate]}")
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate
        self.bar = progress_on(*columns, TimeRemainingColumn(), show=self._shows, transient=False)
        self._task = self.bar.add_task("Loading", total=None, rate="")

    def unmatched(self, lines: Sequence[str]) -> None:
        """Warn of files that are in no pair."""
        if self._shows:
            warn(*lines[:_LINES_SHOWN])
            if len(lines) > _LINES_SHOWN:
                warn(f"{len(lines) - _LINES_SHOWN} more files are in no pair; summary.json lists them")

    def progress(self, progress: BatchProgress) -> None:
        """Show the plan, or a pair that was finished."""
        record = progress.record
        logs = self._shows and self.bar.disable
        if record is None:
            self._started = time.monotonic()
            counts = {name: getattr(progress, name) for name in ("todo", "done", "failed")}
            self.bar.update(self._task, description="Aligning", total=progress.todo)
            self._event("start", counts)
            if logs:
                note("{todo} pairs to do, {done} done before, {failed} failed before".format(**counts))
            if progress.again and self._shows:
                reasons = "; ".join(f"{count} {reason}" for reason, count in progress.again.items())
                warn(f"{sum(progress.again.values())} pairs are done again: {reasons}")
            return
        self._event("pair", asdict(record))
        if record.status == "failed" and not self._json:
            note(f"{record.key}: failed: {record.error}")
        elif logs:
            seconds = sum(record.seconds.values())
            place = f"{progress.finished}/{progress.todo}"
            note(f"{place} {record.key}: {record.verdict or 'done'} ({seconds:.2f} s)")
        for text in record.notes if self._shows else ():
            note(f"{record.key}: {text}")
        rate = progress.finished / max(time.monotonic() - self._started, 1e-9)
        self.bar.update(self._task, completed=progress.finished, rate=f"{rate:.2f} pairs/s")

    def summary(self, summary: Summary, out: Path) -> None:
        """Show what the batch came to, and where."""
        self._event("summary", asdict(summary))
        if not self._shows:
            return
        verdicts = ", ".join(f"{count} {word}" for word, count in summary.verdicts.items())
        values = {
            "Pairs": summary.total,
            "Done": f"{summary.done} in this run, {summary.skipped} before",
            "Verdicts": f"{verdicts}, {summary.errors} in error",
            "Failed": summary.failed or None,
            "Not reached": summary.remaining or None,
            "In no pair": f"{len(summary.unmatched)} files" if summary.unmatched else None,
            "Time": f"{summary.seconds:.1f} s, {summary.rate:.2f} pairs/s",
            "Written to": out,
        }
        print_table(summary_rows(values))
        for key, reason in list(summary.failures.items())[:_LINES_SHOWN]:
            click.echo(f"failed: {key}: {reason}")
        if summary.failed > _LINES_SHOWN:
            click.echo(f"... and {summary.failed - _LINES_SHOWN} more in summary.csv")
        if summary.remaining:
            click.echo("Stopped early: the same command goes on from here.")

    def wrote(self, what: str, path: Path) -> None:
        """Show where a file made from all pairs is."""
        self._event(what, {"file": path})
        if self._shows:
            click.echo(f"{what}: {path}")

    def remark(self, text: str) -> None:
        """Warn of what the command does not do."""
        if self._shows:
            warn(text)

    def _event(self, name: str, values: Mapping[str, Any]) -> None:
        if self._json:  # in ASCII, so that file names of any bytes pass through any pipe
            print_json({"event": name, **values}, ascii_only=True)
