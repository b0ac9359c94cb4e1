"""A batch on a Ray cluster: Ray Data hands chunks of pairs to a pool of actors that keep the model."""

from __future__ import annotations

import logging
import math
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from glualign.batch.manifest import Record
from glualign.batch.pairs import Pair
from glualign.batch.pipeline import Writer, process
from glualign.batch.settings import Settings
from glualign.errors import BatchError, import_extra


@dataclass(frozen=True)
class RayEngine:
    """Actors that read, align and write; this process keeps the manifest.

    Inputs and the output folder must have the same paths on all machines of the cluster (a shared file
    system). Records come in the order in which pairs finish; the outputs are those of `process`.
    """

    workers: int = 1  # number of actors, each with the model in memory
    address: str | None = None  # of a cluster (``auto``, ``HOST:PORT``, ``ray://...``); None: start one here
    cpus: float = 1.0  # cores reserved for each actor; its network uses as many threads
    gpus: float = 0.0  # GPUs reserved for each actor; a fraction lets actors share one
    chunk: int = 16  # pairs an actor takes at a time, done again if it dies; records arrive pair by pair

    def __call__(
        self, pairs: Sequence[Pair], settings: Settings, writer: Writer, stop: Callable[[], bool]
    ) -> Iterator[Record]:
        """Join the cluster; returns the records as actors finish pairs.

        A `BatchError` says that the cluster cannot be reached, from the iterator that it or the disk fails; a
        `MissingExtraError` that Ray is not installed.
        """
        # Unless told otherwise, Ray reports usage over the network and writes its own log to stderr.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        ray = import_extra("ray", "ray", "--engine ray needs Ray")
        import_extra("ray.data", "ray", "--engine ray needs Ray")
        ours = not ray.is_initialized()  # a connection that the caller made is used and left alone
        if ours:
            self._connect(ray)
        return self._records(ray, ours, pairs, settings, writer, stop)

    def _records(
        self,
        ray: Any,
        ours: bool,
        pairs: Sequence[Pair],
        settings: Settings,
        writer: Writer,
        stop: Callable[[], bool],
    ) -> Iterator[Record]:
        # A short list, too, is spread over all actors. Pickled, for Arrow refuses names that are not Unicode.
        size = max(1, min(self.chunk, len(pairs) // self.workers))
        absolute = [replace(p, source=p.source.absolute(), target=p.target.absolute()) for p in pairs]
        chunks = [
            {"pairs": pickle.dumps(absolute[start : start + size])} for start in range(0, len(absolute), size)
        ]
        try:
            # Each record is handed over at once, and without a word.
            context = ray.data.DataContext.get_current()
            context.target_max_block_size, context.enable_progress_bars = 1, False
            logging.getLogger("ray.data").setLevel(logging.ERROR)
            results = ray.data.from_items(chunks, override_num_blocks=len(chunks)).map_batches(
                _Actor,
                fn_constructor_args=(settings, Writer(writer.out.absolute(), writer.aside.absolute())),
                batch_size=1,
                batch_format="numpy",
                compute=ray.data.ActorPoolStrategy(size=self.workers),
                num_cpus=self.cpus,
                num_gpus=self.gpus,
            )
            for row in results.iter_rows():
                if row["fatal"]:
                    raise BatchError(row["fatal"])
                yield Record.from_json(row["record"])
                if stop():
                    return
        except ray.exceptions.RayError as error:
            raise BatchError(f"Ray gave up: {_last_line(error)}") from error
        finally:
            if ours:
                ray.shutdown()

    def _connect(self, ray: Any) -> None:
        """Join the cluster, or start a local one."""
        options: dict[str, Any] = {"address": self.address}
        if self.address is None:
            # One core more than the actors take, for Ray Data's own tasks.
            options |= {"num_cpus": math.ceil(self.workers * self.cpus) + 1, "include_dashboard": False}
            options |= {"num_gpus": math.ceil(self.workers * self.gpus)} if self.gpus else {}
        try:
            ray.init(**options, logging_level=logging.ERROR, log_to_driver=False)
        except Exception as error:  # Ray raises bare Exception, too, when a node does not start in time
            where = self.address or "this machine"
            raise BatchError(f"no Ray cluster at {where}: {_last_line(error)}") from error


class _Actor:
    """Lives in a worker process; makes the aligner once and runs the local engine over each chunk."""

    def __init__(self, settings: Settings, writer: Writer) -> None:
        self._run = partial(process, settings=settings, writer=writer, stop=lambda: False)
        self._aligner = settings.make_aligner()

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, list[str]]]:
        try:
            for packed in batch["pairs"]:
                for record in self._run(pickle.loads(packed), aligner=self._aligner):
                    yield {"record": [record.to_json()], "fatal": [""]}
        except BatchError as error:
            # As a row, not as an exception: Ray would bury the message in its own.
            yield {"record": [""], "fatal": [str(error)]}


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
