"""What a batch shows while it runs and at its end, and how it is interrupted."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from glualign.batch import Progress as BatchProgress
from glualign.batch import Summary
from glualign.cli.console import console, error_console, print_facts, warn

_UNMATCHED_SHOWN = 20
_FAILURES_SHOWN = 20


class Interruption:
    """Turns the first Ctrl-C (or SIGTERM, from a scheduler) into a wish to stop; the second ends the process.

    Calling it answers whether to stop.

    Attributes:
        code: the exit code that shells expect after the signal; 0 while there was none.
    """

    def __init__(self) -> None:
        self.code = 0
        self._previous: dict[int, Any] = {}

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.code != 0

    def __enter__(self) -> Interruption:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.code = 128 + number
        self._restore()
        click.echo("glualign: finishing the pair at hand; once more to stop at once", err=True)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)


class Display:
    """A bar on a terminal, a line for each pair elsewhere, JSON lines for machines.

    Progress and failures go to stderr, the summary (and all of ``as_json``) to stdout.
    """

    def __init__(self, out: Path, *, quiet: bool = False, as_json: bool = False) -> None:
        self._out = out
        self._quiet = quiet
        self._json = as_json
        self._stack = ExitStack()
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._started = time.monotonic()

    def __enter__(self) -> Display:
        if error_console.is_terminal and not (self._quiet or self._json):
            self._bar = self._stack.enter_context(
                Progress(
                    TextColumn("{task.description}"),
                    BarColumn(),
                    MofNCompleteColumn(),
                    TextColumn("{task.fields[rate]}"),
                    TimeRemainingColumn(),
                    console=error_console,
                )
            )
            self._task = self._bar.add_task("Loading", total=None, rate="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def unmatched(self, lines: Sequence[str]) -> None:
        """Warn of files that are in no pair."""
        if self._quiet or self._json:
            return
        for line in lines[:_UNMATCHED_SHOWN]:
            warn(line)
        if len(lines) > _UNMATCHED_SHOWN:
            warn(f"{len(lines) - _UNMATCHED_SHOWN} more files are in no pair; summary.json lists them")

    def progress(self, progress: BatchProgress) -> None:
        """Show the plan, or a pair that was finished."""
        plan, record = progress.plan, progress.record
        if record is None:
            self._started = time.monotonic()
            counts = {"todo": len(plan.todo), "done": len(plan.done), "failed": len(plan.failed)}
            if self._json:
                _print_json({"event": "start", **counts})
            elif self._bar is not None:
                self._bar.update(self._task, description="Aligning", total=len(plan.todo))
            elif not self._quiet:
                line = "{todo} pairs to do, {done} done before, {failed} failed before".format(**counts)
                click.echo(line, err=True)
            if plan.again and not self._json:
                reasons = "; ".join(f"{count} {reason}" for reason, count in plan.again.items())
                warn(f"{sum(plan.again.values())} pairs are done again: {reasons}")
            return
        if self._json:
            _print_json({"event": "pair", **asdict(record)})
        elif record.status == "failed":
            self._line(f"{record.key}: failed: {record.error}")
        elif self._bar is None and not self._quiet:
            seconds = sum(record.seconds.values())
            place = f"{progress.finished}/{len(plan.todo)}"
            self._line(f"{place} {record.key}: {record.verdict or 'done'} ({seconds:.2f} s)")
        if not (self._quiet or self._json):
            for note in record.notes:
                self._line(f"{record.key}: {note}")
        if self._bar is not None:
            rate = progress.finished / max(time.monotonic() - self._started, 1e-9)
            self._bar.update(self._task, completed=progress.finished, rate=f"{rate:.2f} pairs/s")

    def summary(self, summary: Summary) -> None:
        """Show what the batch came to."""
        if self._json:
            _print_json({"event": "summary", **asdict(summary)})
            return
        if self._quiet:
            return
        verdicts = ", ".join(f"{count} {word}" for word, count in summary.verdicts.items())
        facts = [
            ("Pairs", str(summary.total)),
            ("Done", f"{summary.done} in this run, {summary.skipped} before"),
            ("Verdicts", f"{verdicts}, {summary.errors} in error"),
            ("Failed", str(summary.failed)),
            ("Not reached", str(summary.remaining)),
            ("In no pair", f"{len(summary.unmatched)} files"),
            ("Time", f"{summary.seconds:.1f} s, {summary.rate:.2f} pairs/s"),
            ("Written to", str(self._out)),
        ]
        unless_zero = {
            "Failed": summary.failed,
            "Not reached": summary.remaining,
            "In no pair": len(summary.unmatched),
        }
        print_facts([fact for fact in facts if unless_zero.get(fact[0], 1)])
        for key, reason in list(summary.failures.items())[:_FAILURES_SHOWN]:
            console.print(Text(f"failed: {key}: {reason}"), soft_wrap=True)
        if summary.failed > _FAILURES_SHOWN:
            console.print(f"... and {summary.failed - _FAILURES_SHOWN} more in summary.csv")
        if summary.remaining:
            console.print("Stopped early: the same command goes on from here.")

    def _line(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(Text(text), soft_wrap=True)
        else:
            click.echo(text, err=True)


def _print_json(value: Any) -> None:
    # ASCII, so that file names of any bytes pass through any pipe; flushed, because somebody is waiting.
    click.echo(json.dumps(value, allow_nan=False))
