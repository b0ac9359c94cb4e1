"""Reading, the network and writing at the same time, with a bounded number of pixels in memory."""

from __future__ import annotations

import errno
import itertools
import math
import os
import shutil
import stat
import time
import warnings
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from PIL import Image as PillowImage

from glualign.batch.manifest import Input, Record
from glualign.batch.pairs import Pair
from glualign.batch.settings import Settings
from glualign.errors import BatchError, GlualignError, OutputError
from glualign.files import flush_to_disk, writing_in_place
from glualign.images import display_notes
from glualign.plain import plain

if TYPE_CHECKING:
    from glualign.aligner import Aligner
    from glualign.alignment import Alignment
    from glualign.images import Image

PIXELS_IN_FLIGHT = 128_000_000
"""Source and target pixels of the pairs that are read, aligned or written at one time; a larger pair is
alone. Two pairs of 24-megapixel photographs fit, so that the next is read while one is aligned."""
THREADS = 2
"""Threads that read, and as many that write: more gained nothing beside the network on two cores."""


class Writer:
    """Puts the outputs of a pair in place: written aside, flushed to the disk, then renamed.

    A process that dies leaves rubbish in its own folder below ``aside`` only, which the next run empties.
    """

    def __init__(self, out: Path, aside: Path) -> None:
        self.out = out
        self.aside = aside
        self._numbers = itertools.count()

    def __call__(
        self, alignment: Alignment, key: str, settings: Settings
    ) -> tuple[dict[str, int], Sequence[str]]:
        """Write the outputs of a pair; their sizes by name, and notes.

        Raises:
            BatchError: the disk is full or cannot be written at all.
        """
        folder = self.aside / f"{os.getpid()}-{next(self._numbers)}"
        below, _, stem = key.rpartition("/")
        final = self.out / below
        sizes: dict[str, int] = {}
        try:
            folder.mkdir(parents=True)
            with writing_in_place():
                written, notes = settings.write(alignment, folder, stem)
            for path in written:
                flush_to_disk(path)
            final.mkdir(parents=True, exist_ok=True)
            for path in written:
                sizes[(final / path.name).relative_to(self.out).as_posix()] = path.stat().st_size
                os.replace(path, final / path.name)
            flush_to_disk(final)
        except Exception as error:
            if _disk_refuses(error):
                raise BatchError(
                    f"{self.out}: the disk is full or read-only; pairs done so far are kept. "
                    "Make room and give the same command again"
                ) from error
            if isinstance(error, OutputError):
                raise OutputError(str(error).replace(str(folder), str(final))) from error
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return sizes, notes


def process(
    pairs: Sequence[Pair],
    settings: Settings,
    writer: Writer,
    stop: Callable[[], bool],
    *,
    aligner: Aligner | None = None,
) -> Iterator[Record]:
    """Work through ``pairs`` and yield their records, without options, in order: the local engine.

    `THREADS` threads read ahead and as many write behind, while the calling thread runs the network. The
    pairs in memory have `PIXELS_IN_FLIGHT` pixels at most, and their number is bounded, whatever the length
    of the list.

    Args:
        pairs: to be aligned.
        settings: how.
        writer: where results go.
        stop: once it says so nothing new is aligned; what was aligned is written.
        aligner: made by the settings; None: make it.

    Raises:
        BatchError: nothing more can be written. Pairs that fail do not raise; their records say so.
    """
    aligner = aligner or settings.make_aligner()
    size = settings.batch_size or (8 if aligner.device.startswith("cuda") else 1)
    waiting = deque(pairs)
    stages = _Stages(pairs, settings, aligner, writer)
    reading: deque[Future[_Work]] = deque()
    writing: deque[Future[Record]] = deque()
    in_flight: deque[int] = deque()  # pixels of the pairs in ``reading`` and ``writing``, oldest first
    readers = ThreadPoolExecutor(THREADS, thread_name_prefix="read")
    writers = ThreadPoolExecutor(THREADS, thread_name_prefix="write")
    try:
        while not stop():
            while waiting and len(reading) < 2 * THREADS + size:
                pixels = stages.claimed_pixels(waiting[0])
                if in_flight and sum(in_flight) + pixels > PIXELS_IN_FLIGHT:
                    break
                in_flight.append(pixels)
                reading.append(readers.submit(stages.read, waiting.popleft()))
            if reading:
                group = _take_group(reading, size)
                if stop():
                    break
                stages.align(group)
                writing.extend(writers.submit(stages.write, work) for work in group)
                del group  # the images belong to the writers now
            elif not waiting:
                break
            while writing and (not reading or writing[0].done() or len(writing) > THREADS + size):
                yield writing.popleft().result()
                in_flight.popleft()
        while writing:
            yield writing.popleft().result()
    finally:
        readers.shutdown(wait=True, cancel_futures=True)
        writers.shutdown(wait=True, cancel_futures=True)


@dataclass
class _Work:
    """A pair on its way through the stages: what it has come to, and what the next stage needs."""

    pair: Pair
    record: Record
    images: tuple[Image, Image] | None = None
    alignment: Alignment | None = None

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Those of the images; none without images."""
        return [image.size for image in self.images or ()]

    def note(self, **changes: Any) -> None:
        """Change fields of the record."""
        self.record = replace(self.record, **changes)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; what goes wrong with the pair becomes its error, what ends the run passes through."""
        started = time.perf_counter()
        try:
            yield
        except BatchError:
            raise
        except Exception as error:
            text = " ".join(str(error).split())
            self.note(error=text if isinstance(error, GlualignError) else f"{type(error).__name__}: {text}")
            self.images = self.alignment = None
        finally:
            self.note(seconds={**self.record.seconds, name: round(time.perf_counter() - started, 4)})


def _take_group(reading: deque[Future[_Work]], limit: int) -> list[_Work]:
    """The next pair and, up to ``limit``, those right behind it with images of the same sizes."""
    group = [reading.popleft().result()]
    while reading and group[0].sizes and len(group) < limit and reading[0].result().sizes == group[0].sizes:
        group.append(reading.popleft().result())
    return group


class _Stages:
    """The three stages with what they share: images that are used again, the target prepared last."""

    def __init__(self, pairs: Sequence[Pair], settings: Settings, aligner: Aligner, writer: Writer) -> None:
        self._settings = settings
        self._aligner = aligner
        self._writer = writer
        self._images = _SharedImages(settings.read, pairs)
        self._prepared: tuple[Image, Any] | None = None
        self._claimed = lru_cache(maxsize=1000)(_claimed_pixels)

    def claimed_pixels(self, pair: Pair) -> int:
        """Pixels of source and target as their headers have it."""
        return 0 if pair.fault else self._claimed(pair.source) + self._claimed(pair.target)

    def read(self, pair: Pair) -> _Work:
        check, paths = self._settings.check, (pair.source, pair.target)
        source, target = (Input(os.fspath(path)) if pair.fault else Input.of(path, check) for path in paths)
        work = _Work(pair, Record(pair.key, "failed", source, target, options={}, error=pair.fault))
        if not pair.fault:
            with work.stage("read"):
                work.images = images = (self._images(pair.source), self._images(pair.target))
                notes = [(image, note) for image in images for note in (*image.notes, *display_notes(image))]
                work.note(notes=tuple(f"{image.name}: {note}" for image, note in notes))
        return work

    def align(self, group: list[_Work]) -> None:
        if len(group) > 1 and self._align_together(group):
            return
        for work in group:
            if work.images is not None:
                source, target = work.images
                work.images = None
                with work.stage("align"):
                    work.alignment = self._aligner.align(source, self._reusable(target))

    def _align_together(self, group: list[_Work]) -> bool:
        """One forward pass for all; False if it failed, and then each is tried on its own."""
        started = time.perf_counter()
        pairs: list[tuple[Image, Any]] = [work.images for work in group if work.images is not None]
        try:
            if all(target is pairs[0][1] for _, target in pairs):
                pairs = [(source, self._reusable(target)) for source, target in pairs]
            alignments = self._aligner.align_many(pairs)
        except BatchError:
            raise
        except Exception:
            return False
        for work, alignment in zip(group, alignments, strict=True):
            work.images, work.alignment = None, alignment
            seconds = round((time.perf_counter() - started) / len(group), 4)
            work.note(seconds={**work.record.seconds, "align": seconds})
        return True

    def _reusable(self, target: Image) -> Any:
        """The target with its features, which are kept while the same image comes again."""
        if self._prepared is None or self._prepared[0] is not target:
            self._prepared = None  # free the old one before the new one is made
            self._prepared = (target, self._aligner.prepare(target))
        return self._prepared[1]

    def write(self, work: _Work) -> Record:
        if work.alignment is not None:
            with work.stage("write"):
                error, keep = self._settings.refusal(work.alignment)
                if keep:
                    outputs, notes = self._writer(work.alignment, work.pair.key, self._settings)
                    work.note(outputs=outputs, notes=(*work.record.notes, *notes))
                work.note(error=error, quality=plain(work.alignment.quality))
        work.alignment = None
        finished = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        return replace(work.record, status="failed" if work.record.error else "done", finished=finished)


class _SharedImages:
    """Decodes images; those that several pairs use are kept for them while there is room."""

    def __init__(self, read: Callable[[Path], Image], pairs: Sequence[Pair]) -> None:
        self._read = read
        self._uses = Counter(path for p in pairs if not p.fault for path in (p.source, p.target))
        self._kept: OrderedDict[Path, Future[Image]] = OrderedDict()
        self._lock = Lock()

    def __call__(self, path: Path) -> Image:
        with self._lock:
            self._uses[path] -= 1
            known = self._kept.pop(path, None)
            future: Future[Image] = known if known is not None else Future()
            if self._uses[path] > 0:
                self._kept[path] = future
        if known is None:
            try:
                future.set_result(self._read(path))
            except BaseException as error:
                future.set_exception(error)
            with self._lock:  # the images used last stay: half as many pixels as may be in flight, but one
                pixels = 0
                for kept, image in reversed(list(self._kept.items())):
                    if image.done() and image.exception() is None:
                        pixels += math.prod(image.result().size)
                        if pixels > PIXELS_IN_FLIGHT // 2 and kept != next(reversed(self._kept)):
                            del self._kept[kept]
        return future.result()


def _claimed_pixels(path: Path) -> int:
    """Pixels by the header of an image file; where Pillow cannot tell, as many as the file has bytes."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return 0
    if not stat.S_ISREG(found.st_mode):
        return 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PillowImage.DecompressionBombWarning)
            with PillowImage.open(path) as picture:
                return picture.width * picture.height
    except PillowImage.DecompressionBombError:
        return PIXELS_IN_FLIGHT
    except Exception:  # whatever a damaged header does to Pillow: the file is refused when it is read
        return found.st_size


def _disk_refuses(error: BaseException | None) -> bool:
    """Whether an error, or what it was raised from, says that nothing more can be written."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS}:
            return True
        error = error.__cause__ or error.__context__
    return False
