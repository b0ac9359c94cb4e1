import errno
import os
from dataclasses import replace

import pytest

from glualign.batch.jobs import Shard
from glualign.batch.lock import hold
from glualign.batch.manifest import Input, Manifest, Record, latest, manifest_path, read_records
from glualign.errors import BatchError, OutputError


def record(key: str, **changes) -> Record:
    image = Input(f"/data/{key}.png", {"size": 3, "mtime_ns": 4})
    plain = Record(key, "done", image, image, {"model": "compact"}, outputs={f"{key}_warped.png": 9})
    return replace(plain, **changes)


def test_records_survive_the_file_with_any_name(tmp_path) -> None:
    odd = 'sub/Ünï çödé \udcff\n"quoted"'
    with Manifest(tmp_path / "m.jsonl", []) as manifest:
        manifest.append(record(odd))
        manifest.append(record("b", status="failed", outputs={}, error="no such file"))
    assert list(read_records(tmp_path / "m.jsonl")) == [
        record(odd),
        record("b", status="failed", outputs={}, error="no such file"),
    ]


def test_a_line_cut_short_is_not_a_record_and_goes_away_on_opening(tmp_path) -> None:
    path = tmp_path / "m.jsonl"
    with Manifest(path, []) as manifest:
        manifest.append(record("a"))
        manifest.append(record("b"))
    path.write_bytes(path.read_bytes()[:-5])
    assert [r.key for r in read_records(path)] == ["a"]
    with Manifest(path, list(read_records(path))) as manifest:
        manifest.append(record("c"))
    assert [r.key for r in read_records(path)] == ["a", "c"]


@pytest.mark.parametrize("line", ["nonsense\n", "[]\n", '{"key": "a"}\n'])
def test_damage_in_the_middle_is_reported_with_its_line(tmp_path, line) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(record("a").to_json() + "\n" + line + record("b").to_json() + "\n")
    with pytest.raises(BatchError, match="line 2"):
        list(read_records(path))


def test_fields_of_a_later_version_are_ignored(tmp_path) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(record("a").to_json()[:-1] + ',"later":1}\n')
    assert list(read_records(path)) == [record("a")]


def test_done_outranks_failed_and_later_outranks_earlier() -> None:
    failed = record("a", status="failed", finished="2")
    done = record("a", finished="1")
    later = record("a", finished="3")
    assert latest([failed], [done])["a"] is done
    assert latest([done], [failed])["a"] is done
    assert latest([later], [done])["a"] is later


def test_each_line_is_on_the_disk_before_append_returns(tmp_path, monkeypatch) -> None:
    with Manifest(tmp_path / "m.jsonl", []) as manifest:
        synced = []
        monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
        manifest.append(record("a"))
        assert synced == [(tmp_path / "m.jsonl").stat().st_size]


def test_a_line_that_does_not_fit_leaves_the_file_as_it_was(tmp_path, monkeypatch) -> None:
    with Manifest(tmp_path / "m.jsonl", []) as manifest:
        manifest.append(record("a"))

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="No space left"):
            manifest.append(record("b"))
    assert [r.key for r in read_records(tmp_path / "m.jsonl")] == ["a"]


def test_shards_have_files_of_their_own(tmp_path) -> None:
    assert manifest_path(tmp_path).name == "manifest.jsonl"
    assert manifest_path(tmp_path, Shard(2, 7)).name == "manifest-2-of-7.jsonl"


def test_whole_runs_exclude_everything_and_shards_each_other_only_if_equal(tmp_path) -> None:
    first, second = Shard(1, 2), Shard(2, 2)
    with hold(tmp_path), pytest.raises(BatchError, match="another run"), hold(tmp_path):
        pass
    with hold(tmp_path, first), hold(tmp_path, second):
        with pytest.raises(BatchError, match="shard 1-of-2"), hold(tmp_path, first):
            pass
        with pytest.raises(BatchError, match="another run"), hold(tmp_path):
            pass
    with hold(tmp_path):  # the files are still there, the locks are not
        assert (tmp_path / "lock").exists()
