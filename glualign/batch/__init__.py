"""Many pairs: job lists, the run loop that overlaps reading, network and writing, the manifest, engines."""

from glualign.batch.jobs import Job, JobList, Shard
from glualign.batch.manifest import Record, read_records
from glualign.batch.pairing import from_rows, match_folders, onto_target, sequence
from glualign.batch.pairs_file import PairRow, read_pairs
from glualign.batch.run import LocalEngine, Progress, run_batch
from glualign.batch.summary import Summary
from glualign.batch.task import Task

__all__ = [
    "Job",
    "JobList",
    "LocalEngine",
    "PairRow",
    "Progress",
    "Record",
    "Shard",
    "Summary",
    "Task",
    "from_rows",
    "match_folders",
    "onto_target",
    "read_pairs",
    "read_records",
    "run_batch",
    "sequence",
]
