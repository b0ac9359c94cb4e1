"""How commands end: their exit codes, and what Ctrl-C and SIGTERM do."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import current_thread, main_thread
from types import FrameType

from glualign.cli.console import note

# Click's own codes are 0 for success and 2 for a wrong command line.
FAILED = 1
FAILED_PAIRS = 3  # of a batch or an evaluation, which is finished
FAILED_VERDICT = 4  # of the alignment, whose files are written
INTERRUPTED, TERMINATED = 130, 143  # as shells say it: 128 and the signal's number


@contextmanager
def termination_as_interrupt() -> Iterator[list[int]]:
    """Within the block SIGTERM, once added to the list yielded, does what Ctrl-C does: everything is tidied.

    A handler that is there already, or threads that may set none, are left alone.
    """
    signals: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        signals.append(number)
        raise KeyboardInterrupt

    with ExitStack() as former:
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL and current_thread() is main_thread():
            former.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, interrupt))
        yield signals


@contextmanager
def interruptible(what: str) -> Iterator[list[int]]:
    """Within the block the first Ctrl-C (or SIGTERM, from a scheduler) adds its number to the list yielded.

    The second ends the process, as it does otherwise.
    """
    signals: list[int] = []
    with ExitStack() as former:

        def take(number: int, frame: FrameType | None) -> None:
            signals.append(number)
            former.close()
            note(f"glualign: finishing the {what} at hand; once more to stop at once")

        for number in (signal.SIGINT, signal.SIGTERM):
            former.callback(signal.signal, number, signal.signal(number, take))
        yield signals
