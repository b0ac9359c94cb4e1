import csv
import errno
import itertools
import json
import os
import stat
import weakref
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from batch_fakes import FakeAligner, FakeAlignment, contents, fake_settings, picture, picture_folders, save

import glualign
from glualign.batch import (
    Row,
    Settings,
    Shard,
    align_batch,
    current_records,
    from_rows,
    match_folders,
    onto_target,
    own_files,
    pipeline,
    read_pairs,
    read_records,
    sequence,
)
from glualign.batch.manifest import Input
from glualign.errors import (
    BatchError,
    CheckpointError,
    GlualignError,
    ImageError,
    OptionError,
    OutputError,
)
from glualign.images import read_image, write_image


@pytest.fixture
def folders(tmp_path):
    return picture_folders(tmp_path, 6)


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "out"


def manifest_keys(out: Path, name: str = "manifest.jsonl") -> list[str]:
    return [record.key for record in read_records(out / name)]


def test_every_pair_is_written_recorded_and_counted(folders, out) -> None:
    summary = align_batch(match_folders(*folders), out, fake_settings(options={"preset": "fast"}))
    assert (summary.total, summary.done, summary.failed, summary.remaining) == (6, 6, 0, 0)
    assert manifest_keys(out) == [f"frame{i}" for i in range(6)]
    record = next(iter(read_records(out / "manifest.jsonl")))
    source = folders[0] / "frame0.png"
    status = source.stat()
    assert record.source == Input(str(source), status.st_size, status.st_mtime_ns)
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
    align_batch(match_folders(tmp_path / "s", tmp_path / "t"), out, fake_settings())
    assert {"a_warped.png", "x/a_warped.png", "y/a_warped.png"} <= set(contents(out))


def test_a_second_run_does_nothing_and_says_so(folders, out) -> None:
    align_batch(match_folders(*folders), out, fake_settings())
    aligner = FakeAligner()
    summary = align_batch(match_folders(*folders), out, fake_settings(aligner))
    assert (aligner.calls, summary.done, summary.skipped) == (0, 0, 6)


def test_nothing_to_do_loads_no_model(folders, out) -> None:
    align_batch(match_folders(*folders), out, fake_settings())

    def no_model() -> FakeAligner:
        raise AssertionError("loaded for nothing")

    align_batch(match_folders(*folders), out, replace(fake_settings(), make=no_model))


@pytest.mark.parametrize("what", ["source", "target", "output", "shorter output", "options"])
def test_what_changed_is_done_again_and_nothing_else(folders, out, what) -> None:
    sources, targets = folders
    align_batch(match_folders(sources, targets), out, fake_settings())
    before = contents(out)
    options = {}
    if what in ("source", "target"):
        picture((sources if what == "source" else targets) / "frame3.png", 70)
    elif what == "options":
        options = {"preset": "fast"}
    elif what == "output":
        (out / "frame3_warped.png").unlink()
    else:
        (out / "frame3_warped.png").write_bytes(b"")
    aligner = FakeAligner()
    summary = align_batch(match_folders(sources, targets), out, fake_settings(aligner, options=options))
    expected = 6 if what == "options" else 1
    assert (aligner.calls, summary.done, summary.skipped) == (expected, expected, 6 - expected)
    assert len(set(manifest_keys(out))) == len(manifest_keys(out)) == 6
    assert what in ("source", "target") or contents(out) == before


def test_an_input_recorded_in_another_way_counts_as_changed(folders, out) -> None:
    align_batch(match_folders(*folders), out, fake_settings())
    path = out / "manifest.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[0]["source"]["sha256"] = None
    lines[1]["source"] |= {"sha256": "0" * 64, "mtime_ns": None}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    summary = align_batch(match_folders(*folders), out, fake_settings())
    assert (summary.skipped, summary.again) == (5, {"the source changed": 1})


def test_another_target_of_the_same_size_and_time_is_noticed(tmp_path, out) -> None:
    picture(tmp_path / "s" / "a.png")
    first, second = picture(tmp_path / "r1.bmp", 50), picture(tmp_path / "r2.bmp", 51)
    for path in (first, second):
        os.utime(path, (1, 1))
    align_batch(onto_target(tmp_path / "s", first), out, fake_settings())
    assert align_batch(onto_target(tmp_path / "s", second), out, fake_settings()).done == 1


def test_bad_pairs_are_recorded_and_do_not_stop_the_rest(folders, out) -> None:
    sources, targets = folders
    (sources / "frame1.png").write_bytes(b"")
    (sources / "frame2.png").write_bytes((sources / "frame3.png").read_bytes()[:60])
    picture(sources / "frame4.png", 252)
    (targets / "frame5.png").write_text("text")
    summary = align_batch(match_folders(sources, targets), out, fake_settings())
    assert (summary.done, summary.failed) == (2, 4)
    assert sorted(summary.failures) == ["frame1", "frame2", "frame4", "frame5"]
    assert "nothing to see" in summary.failures["frame4"]
    assert all("frame" in reason for reason in summary.failures.values())
    assert {name for name in contents(out) if "warped" in name} == {"frame0_warped.png", "frame3_warped.png"}


def test_failed_pairs_wait_for_retry_or_a_change(folders, out) -> None:
    sources, targets = folders
    picture(sources / "frame4.png", 252)
    jobs = match_folders(sources, targets)
    align_batch(jobs, out, fake_settings())
    again = FakeAligner()
    summary = align_batch(jobs, out, fake_settings(again))
    assert (again.calls, summary.failed, summary.skipped) == (0, 1, 5)
    align_batch(jobs, out, fake_settings(again), redo="failed")
    assert again.calls == 1
    picture(sources / "frame4.png", 90)
    assert align_batch(jobs, out, fake_settings()).done == 1
    assert len(manifest_keys(out)) == 6


def test_overwrite_does_everything_again_and_goes_on_after_a_stop(folders, out) -> None:
    jobs = match_folders(*folders)
    align_batch(jobs, out, fake_settings())
    aligner = FakeAligner()
    task = fake_settings(aligner)
    stopped = align_batch(jobs, out, task, redo="all", stop=lambda: aligner.calls >= 2)
    assert (stopped.done, stopped.remaining) == (2, 4)
    again = {record.key: record.again for record in read_records(out / "manifest.jsonl")}
    assert again == {f"frame{i}": "asked for" if i > 1 else "" for i in range(6)}
    assert align_batch(jobs, out, fake_settings(aligner), stop=lambda: aligner.calls >= 3).done == 1
    summary = align_batch(jobs, out, fake_settings(aligner))
    assert (summary.done, summary.skipped, summary.again) == (3, 3, {})
    assert not any(record.again for record in read_records(out / "manifest.jsonl"))


def test_a_part_goes_on_with_an_overwrite_of_a_merged_batch(folders, out) -> None:
    jobs, aligner = match_folders(*folders), FakeAligner()
    align_batch(jobs, out, fake_settings())
    part, stop = Shard(1, 2), lambda: aligner.calls >= 1
    assert align_batch(jobs, out, fake_settings(aligner), redo="all", stop=stop, shard=part).done == 1
    assert align_batch(jobs, out, fake_settings(aligner), shard=part).done == 2
    assert align_batch(jobs, out, fake_settings(aligner)).skipped == 6


@pytest.mark.parametrize("redo", ["changed", "all"])
def test_a_run_that_does_not_start_leaves_the_manifest_as_it_is(folders, out, redo) -> None:
    jobs = match_folders(*folders)
    align_batch(jobs, out, fake_settings())
    before = (out / "manifest.jsonl").read_bytes()

    def missing() -> FakeAligner:
        raise CheckpointError("weights.pth: damaged")

    with pytest.raises(CheckpointError):
        align_batch(jobs, out, replace(fake_settings(options={"model": "x"}), make=missing), redo=redo)
    assert (out / "manifest.jsonl").read_bytes() == before
    assert align_batch(jobs, out, fake_settings()).skipped == 6


def save_jpg(alignment: FakeAlignment, folder: Path, stem: str) -> list[Path]:
    write_image(folder / f"{stem}_warped.jpg", alignment.source)
    return [folder / f"{stem}_warped.jpg"]


def test_work_with_other_options_that_was_stopped_costs_nothing_and_leaves_nothing(folders, out) -> None:
    jobs, aligner = match_folders(*folders), FakeAligner()
    align_batch(jobs, out, fake_settings())
    undisturbed = contents(out)
    jpg = fake_settings(aligner, options={"format": "jpg"}, saver=save_jpg)
    stopped = align_batch(jobs, out, jpg, stop=lambda: aligner.calls >= 1)
    assert (stopped.done, stopped.remaining) == (1, 5)
    assert [record.key for record in current_records(out, jobs)] == ["frame0"]
    back = align_batch(jobs, out, fake_settings())
    assert (back.done, back.skipped, contents(out)) == (1, 5, undisturbed)
    assert [record.key for record in current_records(out, jobs)] == [f"frame{i}" for i in range(6)]
    align_batch(jobs, out, jpg, stop=lambda: aligner.calls >= 2)
    assert align_batch(jobs, out, jpg).remaining == 0
    assert set(contents(out)) == {f"frame{i}_warped.jpg" for i in range(6)}


def test_results_that_a_run_put_in_place_before_it_died_are_not_taken_for_former_ones(folders, out) -> None:
    """They have the size of the former ones, and no line in the manifest yet."""
    jobs, aligner = match_folders(*folders), FakeAligner()
    align_batch(jobs, out, fake_settings())
    align_batch(jobs, out, fake_settings(aligner, options={"x": 1}), stop=lambda: aligner.calls >= 1)
    os.utime(out / "frame3_flow.npy")
    back = align_batch(jobs, out, fake_settings())
    assert (back.done, back.skipped) == (2, 4)
    assert back.again["results are missing or were changed"] == 1


def test_stop_finishes_the_pair_at_hand(folders, out) -> None:
    aligner = FakeAligner()
    summary = align_batch(
        match_folders(*folders), out, fake_settings(aligner), stop=lambda: aligner.calls >= 1
    )
    assert (summary.done, summary.remaining, aligner.calls) == (1, 5, 1)
    assert set(contents(out)) == {"frame0_warped.png", "frame0_flow.npy"}


def test_fail_fast_starts_nothing_after_a_failure_is_known(folders, out) -> None:
    (folders[0] / "frame0.png").write_bytes(b"")
    aligner = FakeAligner(0.05)
    summary = align_batch(match_folders(*folders), out, fake_settings(aligner), fail_fast=True)
    assert summary.failed == 1
    assert aligner.calls < 3
    assert summary.remaining == 5 - aligner.calls


def test_outputs_that_new_options_no_longer_make_are_removed(folders, out) -> None:
    jobs = match_folders(*folders)
    align_batch(jobs, out, fake_settings())

    def warped_only(alignment: FakeAlignment, folder: Path, stem: str) -> list[Path]:
        return [path for path in save(alignment, folder, stem) if path.suffix == ".png"]

    align_batch(jobs, out, replace(fake_settings(options={"flow": False}), saver=warped_only))
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
        align_batch(jobs, out, replace(fake_settings(), saver=fill))
    assert manifest_keys(out) == ["frame0", "frame1", "frame2"]
    assert not any("half" in name for name in contents(out))
    summary = align_batch(jobs, out, fake_settings())
    assert (summary.skipped, summary.done) == (3, 3)


def test_a_model_that_does_not_load_ends_the_run(folders, out) -> None:
    def missing() -> FakeAligner:
        raise CheckpointError("weights.pth: no such file")

    with pytest.raises(CheckpointError, match="no such file"):
        align_batch(match_folders(*folders), out, replace(fake_settings(), make=missing))


def test_shards_work_side_by_side_and_a_whole_run_merges_them(folders, out, tmp_path) -> None:
    jobs = match_folders(*folders)
    for i in (1, 2, 3):
        assert align_batch(jobs, out, fake_settings(), shard=Shard(i, 3)).total == 2
    assert manifest_keys(out, "manifest-2-of-3.jsonl") == ["frame1", "frame4"]
    whole = align_batch(jobs, out, fake_settings())
    assert (whole.skipped, whole.done) == (6, 0)
    assert sorted(manifest_keys(out)) == [f"frame{i}" for i in range(6)]
    assert not list(out.glob("*-of-*"))
    align_batch(jobs, tmp_path / "at once", fake_settings())
    assert contents(out) == contents(tmp_path / "at once")
    assert align_batch(jobs, out, fake_settings(), shard=Shard(1, 2)).skipped == 3


def test_merging_shards_removes_their_files_only(folders, out) -> None:
    jobs = onto_target(folders[0], picture(out / "summary-of-of-2.png"))
    inputs = onto_target(folders[0], picture(out / "summary-1-of-1.json.png"))
    align_batch(jobs, out, fake_settings(), shard=Shard(1, 1))
    others = ["summary-a-of-b.txt", "summary-1-of-1.png", "summary-2-of-3.csv", "manifest-a-of-b.jsonl"]
    for name in others:
        (out / name).write_text("years of work")
    target = out / "summary-1-of-1.csv"
    target.unlink()
    os.link(inputs.pairs[0].target, target)  # an input under the name of a shard's file
    assert align_batch(replace(jobs, pairs=inputs.pairs), out, fake_settings()).done == 6
    assert all((out / name).read_text() == "years of work" for name in others)
    assert (out / "summary-of-of-2.png").exists()
    assert target.exists()
    assert not list(out.glob("*-1-of-1.json*l")) + list(out.glob("*-1-of-1.json"))


def test_a_common_target_is_read_and_prepared_once(folders, out, tmp_path) -> None:
    reference = picture(tmp_path / "ref.png", 80)
    reads = []
    aligner = FakeAligner()
    task = fake_settings(aligner)
    task = replace(task, reader=lambda path: reads.append(path) or read_image(path))
    assert align_batch(onto_target(folders[0], reference), out, task).done == 6
    assert len(aligner.prepared) == 1
    assert reads.count(reference) == 1


def test_frames_of_a_sequence_are_read_once(folders, out) -> None:
    reads = []
    task = fake_settings()
    task = replace(task, reader=lambda path: reads.append(path) or read_image(path))
    assert align_batch(sequence(folders[0]), out, task).done == 5
    assert len(reads) == len(set(reads)) == 6


def test_pairs_of_equal_size_share_a_call_with_equal_results(folders, out, tmp_path) -> None:
    sources, targets = folders
    picture(sources / "frame2.png", 62, size=(20, 20))
    align_batch(match_folders(sources, targets), tmp_path / "single", fake_settings())
    aligner = FakeAligner()
    align_batch(match_folders(sources, targets), out, fake_settings(aligner, batch_size=3))
    assert aligner.groups == [["frame0.png", "frame1.png"], ["frame3.png", "frame4.png", "frame5.png"]]
    assert contents(out) == contents(tmp_path / "single")


def test_one_bad_pair_does_not_fail_those_it_shares_a_call_with(folders, out) -> None:
    picture(folders[0] / "frame1.png", 252)
    summary = align_batch(match_folders(*folders), out, fake_settings(batch_size=4))
    assert (summary.done, list(summary.failures)) == (5, ["frame1"])


def test_the_network_stays_in_the_calling_thread(folders, out) -> None:
    import threading

    aligner = FakeAligner()
    align_batch(match_folders(*folders), out, fake_settings(aligner))
    assert aligner.threads == {threading.get_ident()}


def test_few_images_are_in_memory_however_long_the_list(tmp_path, out) -> None:
    sources, targets = picture_folders(tmp_path, 60)
    alive: weakref.WeakSet[np.ndarray] = weakref.WeakSet()
    most = 0

    def read(path: Path):
        nonlocal most
        image = read_image(path)
        alive.add(image.pixels)
        most = max(most, len(alive))
        return image

    align_batch(match_folders(sources, targets), out, fake_settings(reader=read))
    # Waiting: 5 pairs to be aligned, 3 to be written, and those in hand; plus the images kept for reuse.
    assert most <= 2 * (5 + 3 + 4) + 4


@pytest.mark.parametrize("mode", ["folder", "target", "hard link", "list"])
def test_a_result_never_overwrites_an_input(tmp_path, mode) -> None:
    sources = tmp_path / "s"
    for name in ("x.png", "x_warped.png"):
        picture(sources / name, 90)
        picture(tmp_path / "t" / name)
    out, pairs = sources, match_folders(sources, tmp_path / "t")
    if mode == "target":
        pairs = onto_target(sources, tmp_path / "t" / "x.png")
    elif mode == "hard link":
        out = tmp_path / "elsewhere"
        out.mkdir()
        os.link(sources / "x_warped.png", out / "x_warped.png")
    elif mode == "list":
        (sources / "summary.csv").write_text("source,target\nx.png,../t/x.png\n")
        (sources / "x_warped.png").unlink()
        pairs = read_pairs(sources / "summary.csv")
    before = contents(sources)
    with pytest.raises(OutputError, match="is an input and would be overwritten"):
        align_batch(pairs, out, fake_settings())
    assert contents(sources) == before


@pytest.mark.parametrize("mask_from", [None, "file"])
def test_a_mask_that_is_read_is_an_input(tmp_path, mask_from) -> None:
    source, mask = (picture(tmp_path / "s" / name, 90) for name in ("x.png", "x_mask.png"))
    drawn = mask.read_bytes()
    settings = Settings(mask_from=mask_from, kinds=["mask"])
    pairs = from_rows([Row(str(source), str(picture(tmp_path / "t.png")), "x")])
    refused = pytest.raises(OutputError, match=r"x_mask\.png: is an input and would be overwritten")
    with refused if mask_from else nullcontext():
        align_batch(pairs, tmp_path / "s", settings, engine=lambda *_: iter(()))
    assert mask.read_bytes() == drawn


@pytest.mark.parametrize("whose", ["source", "target"])
def test_a_mask_that_was_added_changed_or_removed_is_noticed(folders, out, whose) -> None:
    jobs = match_folders(*folders)
    settings = fake_settings(mask_from="file")
    align_batch(jobs, out, settings)
    mask = folders[0 if whose == "source" else 1] / "frame2_mask.png"
    for change in (lambda: picture(mask, 90), lambda: picture(mask, 91, (8, 8)), mask.unlink):
        change()
        summary = align_batch(jobs, out, settings)
        assert (summary.done, summary.again) == (1, {f"the {whose}'s mask changed": 1})
        assert align_batch(jobs, out, settings).skipped == 6
    picture(mask)
    assert align_batch(jobs, out, fake_settings()).again == {"the source's mask changed": 6}


def test_a_result_of_an_earlier_run_that_is_an_input_now_is_kept(tmp_path, out) -> None:
    """The flow of a pair is no longer made, its image is the source of the next run."""

    def save_as_tif(alignment: FakeAlignment, folder: Path, stem: str) -> list[Path]:
        write_image(folder / f"{stem}_warped.tif", alignment.source)
        return [folder / f"{stem}_warped.tif"]

    target = picture(tmp_path / "t.png")
    align_batch(from_rows([Row(str(picture(tmp_path / "a.png")), str(target), "a")]), out, fake_settings())
    pairs = from_rows([Row(str(out / "a_warped.png"), str(target), "a")])
    settings = fake_settings(saver=save_as_tif, options={"format": "tif"}, file_names=("_warped.tif",))
    assert align_batch(pairs, out, settings).done == 1
    assert {path.name for path in out.glob("a_*")} == {"a_warped.png", "a_warped.tif"}
    assert align_batch(pairs, out, settings).skipped == 1


def test_results_may_lie_beside_the_sources(tmp_path) -> None:
    pairs = match_folders(*picture_folders(tmp_path, 2))
    for expected in ((2, 0), (0, 2)):
        summary = align_batch(pairs, tmp_path / "sources", fake_settings())
        assert (summary.done, summary.skipped) == expected


def test_rows_with_a_fault_fail_alone_in_every_run(folders, out, tmp_path) -> None:
    sources, targets = folders
    pair = {"source": f"{sources}/frame0.png", "target": f"{targets}/frame0.png"}
    rows = ['{"source": "a\\u0000b", "target": "x"}', json.dumps(pair), "nonsense"]
    (tmp_path / "l.jsonl").write_text("\n".join(rows))
    for done in (1, 0):
        summary = align_batch(read_pairs(tmp_path / "l.jsonl"), out, fake_settings())
        assert (summary.done, summary.skipped, summary.failed, summary.errors) == (done, 1 - done, 2, 2)
        assert "l.jsonl, line 3: is not JSON" in summary.failures["row-3"]
    assert len(manifest_keys(out)) == 3


def test_a_name_too_long_for_its_results_fails_alone(folders, out) -> None:
    sources, targets = folders
    for folder in folders:
        picture(folder / f"{'x' * 250}.png")
    summary = align_batch(match_folders(sources, targets), out, fake_settings())
    assert (summary.done, list(summary.failures)) == (6, ["x" * 250])
    assert "too long" in summary.failures["x" * 250]
    assert ".glualign" not in summary.failures["x" * 250]


def test_a_result_that_cannot_be_put_in_place_is_one_line_about_it(folders, out) -> None:
    picture(folders[0] / "sub" / "a.png")
    picture(folders[1] / "sub" / "a.png")
    (out / "frame1_warped.png").mkdir(parents=True)
    (out / "sub").touch()

    def unreadable(path: Path):
        if path.stem == "frame2":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return read_image(path)

    summary = align_batch(match_folders(*folders), out, fake_settings(reader=unreadable))
    assert summary.failures == {
        "frame1": f"{out / 'frame1_warped.png'}: cannot be written (Is a directory)",
        "frame2": f"{folders[0] / 'frame2.png'}: Permission denied",
        "sub/a": f"{out / 'sub'}: cannot be written (File exists)",
    }


@pytest.mark.skipif(os.name == "nt", reason="pipes need POSIX")
def test_pipes_devices_and_folders_in_a_list_fail_and_do_not_hang(folders, out, tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    target = folders[1] / "frame0.png"
    sources = [tmp_path / "pipe.png", Path("/dev/zero"), tmp_path, folders[0] / "frame0.png"]
    summary = align_batch([(source, target) for source in sources], out, fake_settings())
    assert (summary.done, summary.failed) == (1, 3)


def test_what_is_done_stands_under_another_limit_and_any_verdict_that_it_has(folders, out) -> None:
    """Of these pairs the verdict is good; a pair that failed may owe that to the limit."""
    picture(folders[0] / "frame4.png", 252)
    jobs, again = match_folders(*folders), FakeAligner()
    align_batch(jobs, out, fake_settings(options={"max_pixels": 1, "min_quality": "none"}))
    other = {"max_pixels": 2, "min_quality": "good"}
    summary = align_batch(jobs, out, fake_settings(again, options=other, min_quality="good"))
    assert (summary.skipped, summary.failed, again.calls) == (5, 1, 1)


def test_what_is_done_with_a_worse_verdict_than_is_asked_now_is_done_again(tmp_path, out) -> None:
    picture(tmp_path / "s" / "a.png", 40)
    pairs = onto_target(tmp_path / "s", picture(tmp_path / "t.png"))
    summary = align_batch(pairs, out, fake_settings(options={"min_quality": "failed"}))
    assert (summary.done, summary.verdicts["doubtful"]) == (1, 1)
    summary = align_batch(pairs, out, fake_settings(options={"min_quality": "good"}, min_quality="good"))
    assert (summary.failed, contents(out)) == (1, {})


def test_a_pair_in_error_keeps_its_files_and_they_stay_its_own(folders, out) -> None:
    sources, targets = folders
    jobs = match_folders(sources, targets)
    align_batch(jobs, out, fake_settings())
    (sources / "frame0.png").write_bytes(b"")
    assert align_batch(jobs, out, fake_settings()).failed == 1
    assert {out / "frame0_warped.png", out / "frame0_flow.npy"} <= own_files(out)
    assert (out / "frame0_warped.png").is_file()


@pytest.mark.parametrize("verdict", ["good", "doubtful", "failed"])
@pytest.mark.parametrize("least", ["none", "failed", "doubtful", "good"])
def test_a_failed_verdict_fails_its_pair_and_keeps_its_files(tmp_path, out, verdict, least) -> None:
    grey = {"good": 90, "doubtful": 40, "failed": 5}[verdict]
    picture(tmp_path / "s" / "a.png", grey)
    pairs = onto_target(tmp_path / "s", picture(tmp_path / "t.png"))
    words = ["none", "failed", "doubtful", "good"]
    below = words.index(verdict) < words.index(least)
    failed = below or verdict == least == "failed"
    for run in range(2):
        summary = align_batch(pairs, out, fake_settings(min_quality=least))
        assert (summary.failed, summary.done + summary.skipped) == (int(failed), 1 - failed)
        assert summary.verdicts == {word: int(word == verdict) for word in ("good", "doubtful", "failed")}
        assert summary.errors == 0
        assert (set(contents(out)) == set()) == below
        assert run == 0 or summary.done == 0


def test_an_upgrade_does_not_mix_results(folders, out, monkeypatch) -> None:
    pairs = match_folders(*folders)
    align_batch(pairs, out, fake_settings())
    text = (out / "manifest.jsonl").read_text()
    (out / "manifest.jsonl").write_text(text.replace('"version":"', '"version":"0.0.', 2))
    seen = []
    summary = align_batch(pairs, out, fake_settings(), on_progress=seen.append)
    assert (summary.done, summary.skipped) == (2, 4)
    assert list(summary.again.values()) == [2]
    assert next(iter(seen[0].again)).startswith("made by glualign 0.0.")


def test_reasons_for_doing_pairs_again_are_counted(folders, out) -> None:
    sources, targets = folders
    align_batch(match_folders(sources, targets), out, fake_settings())
    picture(sources / "frame0.png", 70)
    picture(targets / "frame1.png", 70)
    (out / "frame2_flow.npy").unlink()
    summary = align_batch(match_folders(sources, targets), out, fake_settings())
    assert summary.again == {
        "the source changed": 1,
        "the target changed": 1,
        "results are missing or were changed": 1,
    }
    again = align_batch(match_folders(sources, targets), out, fake_settings(options={"fill": "target"}))
    assert again.again == {"made with other options (fill)": 6}


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"mask_from": "zzz"}, OptionError, "mask_from must be one of None, alpha, file, not 'zzz'"),
        ({"min_quality": "x"}, OptionError, "min_quality must be one of none, failed, doubtful, good"),
        ({"interpolation": "area"}, OptionError, "interpolation must be one of None, nearest"),
        ({"preset": "slow"}, OptionError, "preset 'slow' is unknown"),
        ({"align": {"transform": "bend"}}, OptionError, "transform must be one of"),
        ({"fill": "no colour"}, ImageError, "fill 'no colour' is not one of"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_once(wrong, error, words) -> None:
    with pytest.raises(error, match=words):
        Settings(**wrong)


def test_what_auto_meant_is_part_of_the_options(monkeypatch) -> None:
    import torch

    def precision(has_bf16: bool) -> str:
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
            monkeypatch.setattr(torch.cpu, name, lambda: has_bf16, raising=False)
        return Settings(device="cpu").fingerprint()["precision"]

    assert (precision(True), precision(False)) == ("bfloat16", "float32")
    known = Settings(precision="fp32").fingerprint()
    assert known["device"] == ("cuda" if torch.cuda.is_available() else "cpu")
    assert len(known["weights"]) == 64
    assert json.loads(json.dumps(known)) == known
    if not torch.cuda.is_available():  # workers elsewhere may have one
        assert Settings(device="cuda:1").fingerprint()["device"] == "cuda"


def test_pairs_that_share_a_call_share_a_common_target(folders, out, tmp_path) -> None:
    reference = picture(tmp_path / "ref.png", 80)
    aligner = FakeAligner()
    align_batch(onto_target(folders[0], reference), out, fake_settings(aligner, batch_size=3))
    assert [len(group) for group in aligner.groups] == [3, 3]
    assert len(aligner.prepared) == 1


@pytest.mark.parametrize("size", [100, 1000])
def test_the_images_in_memory_are_bounded_by_their_pixels(tmp_path, out, monkeypatch, size) -> None:
    monkeypatch.setattr(pipeline, "PIXELS_IN_FLIGHT", 4 * 200 * 100)
    for i in range(12):
        picture(tmp_path / "s" / f"{i}.png", 60 + i, size=(200, size))
        picture(tmp_path / "t" / f"{i}.png", 60, size=(200, size))
    alive: weakref.WeakSet[np.ndarray] = weakref.WeakSet()
    most = 0

    def read(path: Path):
        nonlocal most
        image = read_image(path)
        alive.add(image.pixels)
        most = max(most, sum(pixels.size // 3 for pixels in alive))
        return image

    align_batch(match_folders(tmp_path / "s", tmp_path / "t"), out, fake_settings(reader=read))
    assert most <= (4 * 200 * 100 if size == 100 else 2 * 200 * 1000)


def test_cells_that_a_spreadsheet_would_run_are_text(tmp_path, out) -> None:
    names = ["=1+1", "+cmd", "-x", "@SUM(A1)", "plain"]
    for name in names:
        picture(tmp_path / "s" / f"{name}.png", 90)
    align_batch(onto_target(tmp_path / "s", picture(tmp_path / "t.png")), out, fake_settings())
    with (out / "summary.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["key"] for row in rows) == sorted(
        f"'{name}" if name != "plain" else name for name in names
    )
    assert all(float(row["valid_share"]) > 0.5 for row in rows)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_folders_that_cannot_be_flushed_do_no_harm(folders, out, monkeypatch, number) -> None:
    original = os.fsync

    def refuse(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        original(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    assert align_batch(match_folders(*folders), out, fake_settings()).done == 6


def test_pairs_of_paths_are_enough(folders, out) -> None:
    names = [f"frame{i}.png" for i in range(6)]
    pairs = [(folders[0] / name, str(folders[1] / name)) for name in names]
    assert glualign.align_batch(pairs, str(out), fake_settings()).done == 6
    assert {name for name in contents(out) if "warped" in name} == {f"frame{i}_warped.png" for i in range(6)}


def test_each_result_is_renamed_once(folders, out, monkeypatch) -> None:
    renamed = []
    original = os.replace

    def count(source, target) -> None:
        renamed.append(os.path.basename(target))
        original(source, target)

    monkeypatch.setattr(os, "replace", count)
    align_batch(match_folders(*folders), out, fake_settings())
    assert sorted(name for name in renamed if name.startswith("frame")) == sorted(contents(out))


INJECTED = ("open", "stat", "replace", "mkdir", "fsync", "unlink", "scandir", "ftruncate")


@pytest.mark.parametrize("call", INJECTED)
def test_an_error_of_the_system_at_any_call_loses_and_doubles_nothing(tmp_path, monkeypatch, call) -> None:
    sources, targets = picture_folders(tmp_path, 4)
    pairs = match_folders(sources, targets)
    align_batch(pairs, tmp_path / "undisturbed", fake_settings())
    original = getattr(os, call)
    for failing in range(0, 40, 3):
        out = tmp_path / f"out{failing}"
        calls = itertools.count()

        def fail(*arguments, calls=calls, failing=failing, **options):
            if next(calls) == failing:
                raise OSError(errno.EIO, "Input/output error")
            return original(*arguments, **options)

        with monkeypatch.context() as patch, suppress(GlualignError):
            patch.setattr(os, call, fail)
            align_batch(pairs, out, fake_settings())
        for record in read_records(out / "manifest.jsonl"):
            assert all((out / name).stat().st_size == size for name, size in record.outputs.items())
        align_batch(pairs, out, fake_settings(), redo="failed")
        assert sorted(manifest_keys(out)) == [f"frame{i}" for i in range(4)]
        assert contents(out) == contents(tmp_path / "undisturbed")


def test_a_manifest_torn_anywhere_costs_at_most_its_last_line(folders, out, tmp_path) -> None:
    pairs = match_folders(*folders)
    align_batch(pairs, out, fake_settings())
    whole, results = (out / "manifest.jsonl").read_bytes(), contents(out)
    for length in range(0, len(whole), 97):
        (out / "manifest.jsonl").write_bytes(whole[:length])
        summary = align_batch(pairs, out, fake_settings())
        assert summary.skipped == whole[:length].count(b"\n")
        assert sorted(manifest_keys(out)) == [f"frame{i}" for i in range(6)]
    assert contents(out) == results
