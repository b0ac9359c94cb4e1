"""Reading, the network and writing at the same time, with a bounded number of pixels in memory."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import time
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from PIL import Image as PillowImage

from glualign.batch.manifest import Input, Record, Status
from glualign.batch.pairs import Pair
from glualign.batch.settings import Settings
from glualign.errors import BatchError, GlualignError, OutputError
from glualign.files import flush_to_disk, json_values, writing_in_place
from glualign.images import display_notes

if TYPE_CHECKING:
    from glualign.aligner import Aligner
    from glualign.alignment import Alignment
    from glualign.images import Image

PIXELS_IN_FLIGHT = 128_000_000
"""Source and target pixels of the pairs that are read, aligned or written at one time; a larger pair is
alone. Two pairs of 24-megapixel photographs fit, so that the next is read while one is aligned."""
THREADS = 2
"""Threads that read, and as many that write: more gained nothing beside the network on two cores."""


@dataclass(frozen=True)
class Writer:
    """Puts the outputs of a pair in place: written aside, flushed to the disk, then renamed.

    A process that dies leaves rubbish below ``aside`` only, which the next run empties.
    """

    out: Path
    aside: Path

    def __call__(
        self, alignment: Alignment, key: str, settings: Settings
    ) -> tuple[dict[str, int], Sequence[str]]:
        """Write the outputs of a pair; their sizes by name, and notes.

        A `BatchError` says that the disk is full or cannot be written at all.
        """
        below, _, stem = key.rpartition("/")
        folder, final = self.aside / secrets.token_hex(8), self.out / below
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
            if isinstance(error, OSError):
                where = error.filename2 or final
                raise OutputError(f"{where}: cannot be written ({error.strerror or error})") from error
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
    """Work through ``pairs``; returns their records, without options, in order: the local engine.

    `THREADS` threads read ahead and as many write behind, while the calling thread runs the network. The
    pairs in memory have `PIXELS_IN_FLIGHT` pixels at most, and their number is bounded, whatever the length
    of the list. Once ``stop`` says so nothing new is aligned; what was aligned is written. ``aligner`` is
    made by the settings; None: make it.

    Raises:
        CheckpointError, DeviceError: from making the aligner, before this returns.
        BatchError: from the iterator: nothing more can be written. Pairs that fail do not raise; their
            records say so.
    """
    return _records(pairs, settings, writer, stop, aligner or settings.make_aligner())


def _records(
    pairs: Sequence[Pair], settings: Settings, writer: Writer, stop: Callable[[], bool], aligner: Aligner
) -> Iterator[Record]:
    size = settings.batch_size or (8 if aligner.device.startswith("cuda") else 1)
    stages, waiting = _Stages(pairs, settings, aligner, writer), deque(pairs)
    reading: deque[Future[_Work]] = deque()
    writing: deque[Future[Record]] = deque()
    in_flight: deque[int] = deque()  # pixels of the pairs in ``reading`` and ``writing``, oldest first
    readers, writers = (ThreadPoolExecutor(THREADS, thread_name_prefix=name) for name in ("read", "write"))
    try:
        while not stop():
            while waiting and len(reading) < 2 * THREADS + size:
                pixels = stages.claimed(waiting[0].source) + stages.claimed(waiting[0].target)
                if in_flight and sum(in_flight) + pixels > PIXELS_IN_FLIGHT:
                    break
                in_flight.append(pixels)
                reading.append(readers.submit(stages.read, waiting.popleft()))
            if reading:
                group = [reading.popleft().result()]
                sizes = [image.size for image in group[0].images]
                while reading and sizes and len(group) < size:
                    if [image.size for image in reading[0].result().images] != sizes:
                        break
                    group.append(reading.popleft().result())
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
        for pool in (readers, writers):
            pool.shutdown(wait=True, cancel_futures=True)


@dataclass
class _Work:
    """A pair on its way through the stages: fields of its record, and what the next stage needs."""

    pair: Pair
    fields: dict[str, Any]
    images: Sequence[Image] = ()
    alignment: Alignment | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage; what goes wrong with the pair becomes its error, what ends the run passes through."""
        started = time.perf_counter()
        try:
            yield
        except BatchError:
            raise
        except Exception as error:
            text = str(error)
            if isinstance(error, OSError) and error.filename and error.strerror:
                text = f"{error.filename}: {error.strerror}"
            elif not isinstance(error, GlualignError):
                text = f"{type(error).__name__}: {text}"
            self.fields["error"] = " ".join(text.split())
        finally:
            self.fields["seconds"][name] = round(time.perf_counter() - started, 4)


class _Stages:
    """The three stages with what they share: images that are used again, the target prepared last."""

    def __init__(self, pairs: Sequence[Pair], settings: Settings, aligner: Aligner, writer: Writer) -> None:
        self._settings, self._aligner, self._writer = settings, aligner, writer
        self._prepared: tuple[Image, Any] | None = None
        self._uses = Counter(path for pair in pairs for path in (pair.source, pair.target) if not pair.fault)
        self._kept: dict[Path, Future[Image]] = {}
        self._lock = Lock()
        self.claimed = cache(_claimed_pixels)

    def read(self, pair: Pair) -> _Work:
        paths = pair.source, pair.target
        files_of = self._settings.files_of
        source, target = (
            Input(os.fspath(path)) if pair.fault else Input.of(*files_of(path)) for path in paths
        )
        work = _Work(pair, {"source": source, "target": target, "error": pair.fault, "seconds": {}})
        if not pair.fault:
            with work.stage("read"):
                images = [self._image(path) for path in paths]
                notes = [(image, note) for image in images for note in (*image.notes, *display_notes(image))]
                work.fields["notes"] = tuple(f"{image.name}: {note}" for image, note in notes)
                work.images = images
        return work

    def _image(self, path: Path) -> Image:
        """Decode an image; one that further pairs use is kept for them while there is room."""
        with self._lock:
            self._uses[path] -= 1
            known = self._kept.pop(path, None)
            future: Future[Image] = Future() if known is None else known
            if self._uses[path] > 0:
                self._kept[path] = future
            # Those used last stay: half as many pixels as may be in flight, but one.
            while len(self._kept) > 1 and sum(map(self.claimed, self._kept)) > PIXELS_IN_FLIGHT // 2:
                del self._kept[next(iter(self._kept))]
        if known is None:
            try:
                future.set_result(self._settings.read(path))
            except BaseException as error:
                future.set_exception(error)
        return future.result()

    def align(self, group: list[_Work]) -> None:
        """Align pairs of equal sizes in one forward pass, or, where that fails, one by one."""
        works = [work for work in group if work.images]
        pairs = [(work.images[0], work.images[1]) for work in works]
        for work in works:
            work.images = ()
        if len(works) > 1:
            common = all(target is pairs[0][1] for _, target in pairs)
            started = time.perf_counter()
            with suppress(Exception):
                given = [(source, self._reusable(target) if common else target) for source, target in pairs]
                for work, work.alignment in zip(works, self._aligner.align_many(given), strict=True):
                    work.fields["seconds"]["align"] = round((time.perf_counter() - started) / len(works), 4)
                return
        for work, (source, target) in zip(works, pairs, strict=True):
            with work.stage("align"):
                work.alignment = self._aligner.align(source, self._reusable(target))

    def _reusable(self, target: Image) -> Any:
        """The target with its features, which are kept while the same image comes again."""
        if self._prepared is None or self._prepared[0] is not target:
            self._prepared = None  # free the old one before the new one is made
            self._prepared = (target, self._aligner.prepare(target))
        return self._prepared[1]

    def write(self, work: _Work) -> Record:
        alignment, work.alignment, fields = work.alignment, None, work.fields
        if alignment is not None:
            with work.stage("write"):
                error, keep = self._settings.refusal(alignment.quality.verdict)
                if keep:
                    fields["outputs"], notes = self._writer(alignment, work.pair.key, self._settings)
                    fields["notes"] = (*fields["notes"], *notes)
                fields |= {"error": error, "quality": json_values(alignment.quality)}
        status: Status = "failed" if fields["error"] else "done"
        finished = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        return Record(work.pair.key, status, options={}, finished=finished, **fields)


def _claimed_pixels(path: Path) -> int:
    """Pixels by the header of an image file; where Pillow cannot tell, as many as the file has bytes."""
    if not os.path.isfile(path):
        return 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PillowImage.DecompressionBombWarning)
            with PillowImage.open(path) as picture:
                return picture.width * picture.height
    except PillowImage.DecompressionBombError:
        return PIXELS_IN_FLIGHT
    except Exception:  # whatever a damaged header does to Pillow: the file is refused when it is read
        return path.stat().st_size if path.exists() else 0


def _disk_refuses(error: BaseException | None) -> bool:
    """Whether an error, or what it was raised from, says that nothing more can be written."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS}:
            return True
        error = error.__cause__ or error.__context__
    return False
