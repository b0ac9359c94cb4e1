"""What happens to one pair: read, align, write, and a record of it. Both engines run this."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from glualign.batch import fingerprint as prints
from glualign.batch.jobs import Job
from glualign.batch.manifest import Input, Record
from glualign.errors import BatchError, GlualignError
from glualign.plain import plain

if TYPE_CHECKING:
    from glualign.alignment import Alignment
    from glualign.images import Image


class PairAligner(Protocol):
    """What a batch needs of an aligner: `glualign.Aligner` is one.

    Two more methods are used where they exist: ``align_many(pairs) -> list[Alignment]``, one forward pass for
    pairs of equal size, and ``prepare_target(image)``, whose result may stand in for the target of ``align``.
    """

    def align(self, source: Any, target: Any) -> Alignment:
        """Align ``source`` onto ``target``."""


@dataclass(frozen=True)
class Task:
    """How each pair is treated. Engines on other machines receive it pickled.

    Attributes:
        make_aligner: called once in each process that aligns.
        read: decodes one image file.
        write: ``(alignment, folder, stem)`` -> the files written, all inside ``folder``.
        options: everything that decides what the outputs look like, as JSON values; a pair that was done with
            other options is done again.
        fingerprint: how a changed input is noticed.
    """

    make_aligner: Callable[[], PairAligner]
    read: Callable[[Path], Image]
    write: Callable[[Alignment, Path, str], Sequence[Path]]
    options: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: prints.Mode = "mtime"

    def inputs(self, job: Job) -> tuple[Input, Input]:
        """Source and target of a job as they are now."""
        first, second = (
            Input(os.path.abspath(path), prints.fingerprint(path, self.fingerprint))
            for path in (job.source, job.target)
        )
        return first, second


@dataclass
class Pair:
    """A pair on its way through the stages; each stage fills in its part, or ``error``."""

    job: Job
    inputs: tuple[Input, Input]
    images: tuple[Image, Image] | None = None
    alignment: Alignment | None = None
    outputs: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    error: str | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; what goes wrong with the pair becomes its error, what ends the run passes through."""
        started = time.perf_counter()
        try:
            yield
        except BatchError:
            raise
        except Exception as error:
            self.error = describe(error)
            self.images = self.alignment = None
        finally:
            self.seconds[name] = round(time.perf_counter() - started, 4)

    def record(self, options: Mapping[str, Any]) -> Record:
        """The manifest line for this pair."""
        quality = {} if self.alignment is None else plain(self.alignment.quality)
        return Record(
            key=self.job.key,
            status="done" if self.error is None else "failed",
            source=self.inputs[0],
            target=self.inputs[1],
            options=options,
            outputs=self.outputs,
            quality=quality,
            seconds=self.seconds,
            error=self.error,
            finished=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        )


def describe(error: Exception) -> str:
    """One line for the manifest: our own messages as they are, others with their type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, GlualignError) else f"{type(error).__name__}: {text}"


class Writer:
    """Puts the outputs of a pair in place: written aside, flushed to the disk, then renamed.

    A process that dies leaves rubbish in its own folder below ``aside`` only, which the next run empties.
    """

    def __init__(self, out: Path, aside: Path) -> None:
        self.out = out
        self.aside = aside
        self._numbers = itertools.count()

    def __call__(self, pair: Pair, task: Task) -> None:
        """Write the pair's outputs and note their names and sizes.

        Raises:
            BatchError: the disk is full or cannot be written at all.
        """
        if pair.alignment is None:
            return
        folder = self.aside / f"{os.getpid()}-{next(self._numbers)}"
        try:
            folder.mkdir(parents=True)
            written = task.write(pair.alignment, folder, pair.job.stem)
            for path in written:
                _flush(path)
            for path in written:
                name = (Path(pair.job.folder) / path.relative_to(folder)).as_posix()
                final = self.out / name
                final.parent.mkdir(parents=True, exist_ok=True)
                pair.outputs[name] = path.stat().st_size
                os.replace(path, final)
            for parent in {(self.out / name).parent for name in pair.outputs}:
                _flush(parent)
        except Exception as error:
            pair.outputs.clear()
            if _disk_refuses(error):
                raise BatchError(
                    f"{self.out}: the disk is full or read-only; pairs done so far are kept. "
                    "Make room and give the same command again"
                ) from error
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _flush(path: Path) -> None:
    """Have the operating system put a file, or the names in a folder, on the disk."""
    if os.name == "nt":  # Windows flushes neither folders nor files opened for reading
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _disk_refuses(error: BaseException | None) -> bool:
    """Whether an error, or what it was raised from, says that nothing more can be written."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS}:
            return True
        error = error.__cause__ or error.__context__
    return False
