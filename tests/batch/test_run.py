import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from batch_fakes import FakeAligner, FakeAlignment, contents, fake_task, picture, picture_folders, save

from glualign.batch import LocalEngine, Shard, match_folders, onto_target, read_records, run_batch, sequence
from glualign.errors import BatchError, CheckpointError


@pytest.fixture
def folders(tmp_path):
    return picture_folders(tmp_path, 6)


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


def manifest_keys(out: Path, name: str = "manifest.jsonl") -> list[str]:
    return [record.key for record in read_records(out / name)]


def test_every_pair_is_written_recorded_and_counted(folders, out) -> None:
    summary = run_batch(match_folders(*folders), out, fake_task(preset="fast"))
    assert (summary.total, summary.done, summary.failed, summary.remaining) == (6, 6, 0, 0)
    assert manifest_keys(out) == [f"frame{i}" for i in range(6)]
    record = next(iter(read_records(out / "manifest.jsonl")))
    source = folders[0] / "frame0.png"
    assert record.source.fingerprint == {"size": source.stat().st_size, "mtime_ns": source.stat().st_mtime_ns}
    assert record.outputs["frame0_warped.png"] == (out / "frame0_warped.png").stat().st_size
    assert record.options == {"preset": "fast"}
    assert record.quality["verdict"] == "good"
    assert set(record.seconds) == {"read", "align", "write"}
    assert json.loads((out / "summary.json").read_text())["done"] == 6
    assert len((out / "summary.csv").read_text().splitlines()) == 7
    assert sorted(path.name for path in (out / ".glualign").iterdir()) == ["lock"]


def test_results_mirror_sub_folders_so_that_equal_stems_stay_apart(tmp_path, out) -> None:
    for name in ("a.png", "x/a.png", "y/a.png"):
        picture(tmp_path / "s" / name, 90)
        picture(tmp_path / "t" / name)
    run_batch(match_folders(tmp_path / "s", tmp_path / "t"), out, fake_task())
    assert {"a_warped.png", "x/a_warped.png", "y/a_warped.png"} <= set(contents(out))


def test_a_second_run_does_nothing_and_says_so(folders, out) -> None:
    run_batch(match_folders(*folders), out, fake_task())
    aligner = FakeAligner()
    summary = run_batch(match_folders(*folders), out, fake_task(aligner))
    assert (aligner.calls, summary.done, summary.skipped) == (0, 0, 6)


def test_nothing_to_do_loads_no_model(folders, out) -> None:
    run_batch(match_folders(*folders), out, fake_task())

    def no_model() -> FakeAligner:
        raise AssertionError("loaded for nothing")

    run_batch(match_folders(*folders), out, replace(fake_task(), make_aligner=no_model))


@pytest.mark.parametrize("what", ["source", "target", "output", "shorter output", "options"])
def test_what_changed_is_done_again_and_nothing_else(folders, out, what) -> None:
    sources, targets = folders
    run_batch(match_folders(sources, targets), out, fake_task())
    before = contents(out)
    options = {}
    if what in ("source", "target"):
        picture((sources if what == "source" else targets) / "frame3.png", 70)
    elif what == "options":
        options = {"preset": "accurate"}
    elif what == "output":
        (out / "frame3_warped.png").unlink()
    else:
        (out / "frame3_warped.png").write_bytes(b"")
    aligner = FakeAligner()
    summary = run_batch(match_folders(sources, targets), out, fake_task(aligner, **options))
    expected = 6 if what == "options" else 1
    assert (aligner.calls, summary.done, summary.skipped) == (expected, expected, 6 - expected)
    assert len(set(manifest_keys(out))) == len(manifest_keys(out)) == 6
    assert what in ("source", "target") or contents(out) == before


def test_hashes_see_through_new_times_and_moved_folders(folders, out, tmp_path) -> None:
    task = replace(fake_task(), fingerprint="sha256")
    run_batch(match_folders(*folders), out, task)
    moved = tmp_path / "moved"
    folders[0].rename(moved)
    for path in moved.iterdir():
        os.utime(path, (1, 1))
    assert run_batch(match_folders(moved, folders[1]), out, task).skipped == 6
    picture(moved / "frame0.png", 99)
    assert run_batch(match_folders(moved, folders[1]), out, task).skipped == 5


def test_another_target_of_the_same_size_and_time_is_noticed(tmp_path, out) -> None:
    picture(tmp_path / "s" / "a.png")
    first, second = picture(tmp_path / "r1.bmp", 50), picture(tmp_path / "r2.bmp", 51)
    for path in (first, second):
        os.utime(path, (1, 1))
    run_batch(onto_target(tmp_path / "s", first), out, fake_task())
    assert run_batch(onto_target(tmp_path / "s", second), out, fake_task()).done == 1


def test_bad_pairs_are_recorded_and_do_not_stop_the_rest(folders, out) -> None:
    sources, targets = folders
    (sources / "frame1.png").write_bytes(b"")
    (sources / "frame2.png").write_bytes((sources / "frame3.png").read_bytes()[:60])
    picture(sources / "frame4.png", 252)
    (targets / "frame5.png").write_text("text")
    summary = run_batch(match_folders(sources, targets), out, fake_task())
    assert (summary.done, summary.failed) == (2, 4)
    assert sorted(summary.failures) == ["frame1", "frame2", "frame4", "frame5"]
    assert "nothing to see" in summary.failures["frame4"]
    assert all("frame" in reason for reason in summary.failures.values())
    assert {name for name in contents(out) if "warped" in name} == {"frame0_warped.png", "frame3_warped.png"}


def test_failed_pairs_wait_for_retry_or_a_change(folders, out) -> None:
    sources, targets = folders
    picture(sources / "frame4.png", 252)
    jobs = match_folders(sources, targets)
    run_batch(jobs, out, fake_task())
    again = FakeAligner()
    summary = run_batch(jobs, out, fake_task(again))
    assert (again.calls, summary.failed, summary.skipped) == (0, 1, 5)
    run_batch(jobs, out, fake_task(again), redo="failed")
    assert again.calls == 1
    picture(sources / "frame4.png", 90)
    assert run_batch(jobs, out, fake_task()).done == 1
    assert len(manifest_keys(out)) == 6


def test_overwrite_does_everything_again_and_goes_on_after_a_stop(folders, out) -> None:
    jobs = match_folders(*folders)
    run_batch(jobs, out, fake_task())
    aligner = FakeAligner()
    task = fake_task(aligner)
    stopped = run_batch(jobs, out, task, redo="all", stop=lambda: aligner.calls >= 2)
    assert (stopped.done, stopped.remaining) == (2, 4)
    assert manifest_keys(out) == ["frame0", "frame1"]
    assert run_batch(jobs, out, fake_task(aligner)).done == 4


def test_stop_finishes_the_pair_at_hand(folders, out) -> None:
    aligner = FakeAligner()
    summary = run_batch(match_folders(*folders), out, fake_task(aligner), stop=lambda: aligner.calls >= 1)
    assert (summary.done, summary.remaining, aligner.calls) == (1, 5, 1)
    assert set(contents(out)) == {"frame0_warped.png", "frame0_flow.npy"}


def test_fail_fast_starts_nothing_after_a_failure_is_known(folders, out) -> None:
    (folders[0] / "frame0.png").write_bytes(b"")
    aligner = FakeAligner(0.05)
    summary = run_batch(match_folders(*folders), out, fake_task(aligner), fail_fast=True)
    assert summary.failed == 1
    assert aligner.calls < 3
    assert summary.remaining == 5 - aligner.calls


def test_outputs_that_new_options_no_longer_make_are_removed(folders, out) -> None:
    jobs = match_folders(*folders)
    run_batch(jobs, out, fake_task())

    def warped_only(alignment: FakeAlignment, folder: Path, stem: str) -> list[Path]:
        return [path for path in save(alignment, folder, stem) if path.suffix == ".png"]

    run_batch(jobs, out, replace(fake_task(flow=False), write=warped_only))
    assert set(contents(out)) == {f"frame{i}_warped.png" for i in range(6)}


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_full_disk_ends_the_run_with_a_clear_message_and_keeps_what_is_done(folders, out, wrapped) -> None:
    jobs = match_folders(*folders)

    def fill(alignment: FakeAlignment, folder: Path, stem: str) -> list[Path]:
        if stem == "frame3":
            (folder / "half.png").write_bytes(b"half")
            error = OSError(errno.ENOSPC, "No space left on device")
            if wrapped:
                raise RuntimeError("encoder failed") from error
            raise error
        return save(alignment, folder, stem)

    with pytest.raises(BatchError, match="disk is full"):
        run_batch(jobs, out, replace(fake_task(), write=fill), engine=LocalEngine(io_workers=1))
    assert manifest_keys(out) == ["frame0", "frame1", "frame2"]
    assert not any("half" in name for name in contents(out))
    summary = run_batch(jobs, out, fake_task())
    assert (summary.skipped, summary.done) == (3, 3)


def test_a_model_that_does_not_load_ends_the_run(folders, out) -> None:
    def missing() -> FakeAligner:
        raise CheckpointError("weights.pth: no such file")

    with pytest.raises(CheckpointError, match="no such file"):
        run_batch(match_folders(*folders), out, replace(fake_task(), make_aligner=missing))


def test_shards_work_side_by_side_and_a_whole_run_merges_them(folders, out, tmp_path) -> None:
    jobs = match_folders(*folders)
    for i in (1, 2, 3):
        assert run_batch(jobs, out, fake_task(), shard=Shard(i, 3)).total == 2
    assert manifest_keys(out, "manifest-2-of-3.jsonl") == ["frame1", "frame4"]
    whole = run_batch(jobs, out, fake_task())
    assert (whole.skipped, whole.done) == (6, 0)
    assert sorted(manifest_keys(out)) == [f"frame{i}" for i in range(6)]
    assert not list(out.glob("*-of-*"))
    run_batch(jobs, tmp_path / "at once", fake_task())
    assert contents(out) == contents(tmp_path / "at once")
    assert run_batch(jobs, out, fake_task(), shard=Shard(1, 2)).skipped == 3


def test_a_common_target_is_read_and_prepared_once(folders, out, tmp_path) -> None:
    reference = picture(tmp_path / "ref.png", 80)
    prepared = []

    class Preparing(FakeAligner):
        def prepare_target(self, image):
            prepared.append(image)
            return image

    reads = []
    task = fake_task(Preparing())
    task = replace(task, read=lambda path, read=task.read: reads.append(path) or read(path))
    assert run_batch(onto_target(folders[0], reference), out, task).done == 6
    assert len(prepared) == 1
    assert reads.count(reference) == 1


def test_frames_of_a_sequence_are_read_once(folders, out) -> None:
    reads = []
    task = fake_task()
    task = replace(task, read=lambda path, read=task.read: reads.append(path) or read(path))
    assert run_batch(sequence(folders[0]), out, task, engine=LocalEngine(io_workers=1)).done == 5
    assert len(reads) == len(set(reads)) == 6


class Together(FakeAligner):
    """Aligns pairs of one size in one call; fails as a whole if one of them is bad."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: list[list[str]] = []

    def align_many(self, pairs):
        self.groups.append([source.name for source, _ in pairs])
        assert len({(source.size, target.size) for source, target in pairs}) == 1
        return [self.align(source, target) for source, target in pairs]


def test_pairs_of_equal_size_share_a_call_with_equal_results(folders, out, tmp_path) -> None:
    sources, targets = folders
    picture(sources / "frame2.png", 62, size=(20, 20))
    run_batch(match_folders(sources, targets), tmp_path / "single", fake_task())
    aligner = Together()
    run_batch(match_folders(sources, targets), out, fake_task(aligner), engine=LocalEngine(batch_size=3))
    assert aligner.groups == [["frame0.png", "frame1.png"], ["frame3.png", "frame4.png", "frame5.png"]]
    assert contents(out) == contents(tmp_path / "single")


def test_one_bad_pair_does_not_fail_those_it_shares_a_call_with(folders, out) -> None:
    picture(folders[0] / "frame1.png", 252)
    engine = LocalEngine(batch_size=4)
    summary = run_batch(match_folders(*folders), out, fake_task(Together()), engine=engine)
    assert (summary.done, list(summary.failures)) == (5, ["frame1"])


def test_the_network_stays_in_the_calling_thread(folders, out) -> None:
    import threading

    aligner = FakeAligner()
    run_batch(match_folders(*folders), out, fake_task(aligner))
    assert aligner.threads == {threading.get_ident()}


def test_few_images_are_in_memory_however_long_the_list(tmp_path, out) -> None:
    import weakref

    sources, targets = picture_folders(tmp_path, 60)
    alive: weakref.WeakSet[np.ndarray] = weakref.WeakSet()
    most = 0
    task = fake_task()

    def read(path: Path):
        nonlocal most
        image = task.read(path)
        alive.add(image.pixels)
        most = max(most, len(alive))
        return image

    run_batch(
        match_folders(sources, targets), out, replace(task, read=read), engine=LocalEngine(io_workers=2)
    )
    # Waiting: 5 pairs to be aligned, 3 to be written, and those in hand; plus the images kept for reuse.
    assert most <= 2 * (5 + 3 + 4) + 4
