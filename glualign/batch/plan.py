"""What of a batch is still to be done, decided from the manifest and from what is on the disk."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from glualign.batch.jobs import Job, JobList
from glualign.batch.manifest import Input, Record
from glualign.batch.task import Task

Redo = Literal["changed", "failed", "all"]


@dataclass(frozen=True)
class Plan:
    """The jobs of a list, each in one of three groups.

    Attributes:
        todo: to be aligned in this run, in order.
        done: records of pairs that need nothing.
        failed: records of pairs that failed before and are left alone.
    """

    todo: tuple[Job, ...]
    done: tuple[Record, ...]
    failed: tuple[Record, ...]


def make_plan(jobs: JobList, records: Mapping[str, Record], task: Task, out: Path, *, redo: Redo) -> Plan:
    """Sort the jobs into what is to be done and what stands.

    A record stands if it was made with the same options from inputs that have not changed and, for done
    pairs, if its outputs are there in full size. ``redo`` says what is done again although nothing changed:
    nothing (``changed``), pairs that failed (``failed``), or everything (``all``).
    """
    todo: list[Job] = []
    standing: dict[str, list[Record]] = {"done": [], "failed": []}
    again = {"changed": (), "failed": ("failed",), "all": ("done", "failed")}[redo]
    options = dict(task.options)
    for job in jobs.jobs:
        record = records.get(job.key)
        if record is None or record.status in again or not _stands(record, job, task, options, out):
            todo.append(job)
        else:
            standing[record.status].append(record)
    return Plan(tuple(todo), tuple(standing["done"]), tuple(standing["failed"]))


def _stands(record: Record, job: Job, task: Task, options: Mapping[str, object], out: Path) -> bool:
    return (
        dict(record.options) == options
        and all(map(_same, (record.source, record.target), task.inputs(job)))
        and all(_has_size(out / name, size) for name, size in record.outputs.items())
    )


def _same(then: Input, now: Input) -> bool:
    """Whether an input is what it was: by content if its hash is known, else by path, size and time."""
    if then.fingerprint != now.fingerprint:
        return False
    return "sha256" in now.fingerprint or then.path == now.path


def _has_size(path: Path, size: int) -> bool:
    try:
        return os.stat(path).st_size == size
    except OSError:
        return False
