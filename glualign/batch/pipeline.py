"""Reading, the network and writing at the same time, with a bounded number of pairs in memory."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from glualign.batch.jobs import Job
from glualign.batch.manifest import Record
from glualign.batch.task import Pair, PairAligner, Task, Writer

if TYPE_CHECKING:
    from glualign.images import Image


def process(
    jobs: Iterable[Job],
    task: Task,
    aligner: PairAligner,
    writer: Writer,
    *,
    io_workers: int = 2,
    batch_size: int = 1,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Record]:
    """Work through ``jobs`` and yield their records in order.

    ``io_workers`` threads read ahead and as many write behind, while the calling thread runs the network. At
    most ``2 * io_workers + batch_size`` pairs are waiting to be aligned and ``io_workers + batch_size`` to
    be written, whatever the length of the list. Once ``stop`` says so nothing new is aligned; what was
    aligned is written.

    Raises:
        BatchError: nothing more can be written. Pairs that fail do not raise; their records say so.
    """
    waiting = iter(jobs)
    stages = _Stages(task, aligner, writer, keep=io_workers + 2)
    reading: deque[Future[Pair]] = deque()
    writing: deque[Future[Record]] = deque()
    readers = ThreadPoolExecutor(io_workers, thread_name_prefix="read")
    writers = ThreadPoolExecutor(io_workers, thread_name_prefix="write")
    try:
        while not stop():
            while len(reading) < 2 * io_workers + batch_size and (job := next(waiting, None)) is not None:
                reading.append(readers.submit(stages.read, job))
            if not reading:
                break
            group = _take_group(reading, batch_size)
            if stop():
                break
            stages.align(group)
            writing.extend(writers.submit(stages.write, pair) for pair in group)
            del group  # the images belong to the writers now
            while writing and (writing[0].done() or len(writing) > io_workers + batch_size):
                yield writing.popleft().result()
        while writing:
            yield writing.popleft().result()
    finally:
        readers.shutdown(wait=True, cancel_futures=True)
        writers.shutdown(wait=True, cancel_futures=True)


def _take_group(reading: deque[Future[Pair]], limit: int) -> list[Pair]:
    """The next pair and, up to ``limit``, those right behind it with images of the same sizes."""
    group = [reading.popleft().result()]
    shape = _shape(group[0])
    while reading and shape is not None and len(group) < limit and _shape(reading[0].result()) == shape:
        group.append(reading.popleft().result())
    return group


def _shape(pair: Pair) -> tuple[Any, ...] | None:
    return None if pair.images is None else tuple(image.pixels.shape[:2] for image in pair.images)


class _Stages:
    """The three stages with what they share: the images read last, the target prepared last."""

    def __init__(self, task: Task, aligner: PairAligner, writer: Writer, *, keep: int) -> None:
        self._task = task
        self._aligner = aligner
        self._writer = writer
        self._images = _RecentImages(task.read, keep)
        self._align_many = getattr(aligner, "align_many", None)
        self._prepare = getattr(aligner, "prepare_target", None)
        self._prepared: tuple[Image, Any] | None = None

    def read(self, job: Job) -> Pair:
        pair = Pair(job, self._task.inputs(job))
        with pair.stage("read"):
            pair.images = (self._images(job.source), self._images(job.target))
        return pair

    def align(self, group: list[Pair]) -> None:
        if len(group) > 1 and self._align_many is not None and self._align_together(group):
            return
        for pair in group:
            if pair.images is not None:
                source, target = pair.images
                pair.images = None
                with pair.stage("align"):
                    pair.alignment = self._aligner.align(source, self._reusable(target))

    def _align_together(self, group: list[Pair]) -> bool:
        """One forward pass for all; False if it failed, and then each is tried on its own."""
        trial = Pair(group[0].job, group[0].inputs)
        with trial.stage("align"):
            alignments = self._align_many([pair.images for pair in group])  # type: ignore[misc]
        if trial.error is not None:
            return False
        for pair, alignment in zip(group, alignments, strict=True):
            pair.images, pair.alignment = None, alignment
            pair.seconds["align"] = round(trial.seconds["align"] / len(group), 4)
        return True

    def _reusable(self, target: Image) -> Any:
        """The target with its pyramid, which is kept while the same image comes again."""
        if self._prepare is None:
            return target
        if self._prepared is None or self._prepared[0] is not target:
            self._prepared = None  # free the old one before the new one is made
            self._prepared = (target, self._prepare(target))
        return self._prepared[1]

    def write(self, pair: Pair) -> Record:
        with pair.stage("write"):
            self._writer(pair, self._task)
        record = pair.record(self._task.options)
        pair.alignment = None
        return record


class _RecentImages:
    """Decodes images, each once while among the few used last: a common target, frames of a sequence."""

    def __init__(self, read: Callable[[Path], Image], keep: int) -> None:
        self._read = read
        self._keep = keep
        self._recent: OrderedDict[Path, Future[Image]] = OrderedDict()
        self._lock = Lock()

    def __call__(self, path: Path) -> Image:
        with self._lock:
            known = self._recent.get(path)
            future: Future[Image] = known if known is not None else Future()
            self._recent[path] = future
            self._recent.move_to_end(path)
            while len(self._recent) > self._keep:
                self._recent.popitem(last=False)
        if known is None:
            try:
                future.set_result(self._read(path))
            except BaseException as error:
                future.set_exception(error)
        return future.result()
