"""Many pairs: lists of pairs, the run that overlaps reading, network and writing, the manifest, engines."""

from glualign.batch.manifest import Record, read_records
from glualign.batch.pairs import (
    Pair,
    PairList,
    Row,
    Shard,
    from_rows,
    match_folders,
    onto_target,
    read_pairs,
    sequence,
)
from glualign.batch.run import align_batch, current_records, own_files
from glualign.batch.settings import Settings
from glualign.batch.summary import BatchProgress, Summary
