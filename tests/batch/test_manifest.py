import errno
import json
import os
import random
from dataclasses import replace

import pytest
from batch_fakes import fake_settings, picture, picture_folders

from glualign.batch import Shard, align_batch, current_records, match_folders, onto_target, read_pairs
from glualign.batch.manifest import Input, Manifest, Record, hold, latest, read_records, run_file
from glualign.errors import BatchError, OutputError
from glualign.report.contact_sheet import worst_first


def record(key: str, **changes) -> Record:
    image = Input(f"/data/{key}.png", 3, 4)
    plain = Record(key, "done", image, image, {"model": "compact"}, outputs={f"{key}_warped.png": 9})
    return replace(plain, **changes)


def test_records_survive_the_file_with_any_name(tmp_path) -> None:
    odd = 'sub/Ünï çödé \udcff\n"quoted"'
    manifest = Manifest(tmp_path / "m.jsonl", [])
    manifest.append(record(odd))
    manifest.append(record("b", status="failed", outputs={}, error="no such file"))
    assert list(read_records(tmp_path / "m.jsonl")) == [
        record(odd),
        record("b", status="failed", outputs={}, error="no such file"),
    ]


def test_a_line_cut_short_is_not_a_record_and_goes_away_on_opening(tmp_path) -> None:
    path = tmp_path / "m.jsonl"
    manifest = Manifest(path, [])
    manifest.append(record("a"))
    manifest.append(record("b"))
    path.write_bytes(path.read_bytes()[:-5])
    assert [r.key for r in read_records(path)] == ["a"]
    manifest = Manifest(path, list(read_records(path)))
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


def test_a_former_record_stays_until_its_pair_has_another(tmp_path) -> None:
    path = tmp_path / "m.jsonl"
    former, other, new = record("a"), record("b"), record("a", status="failed", outputs={}, error="x")
    manifest = Manifest(path, [former, other])
    assert latest(read_records(path)) == {"a": former, "b": other}
    manifest.append(new)
    assert list(read_records(path)) == [former, other, new]
    assert latest(read_records(path)) == {"a": new, "b": other}
    manifest.close()
    assert list(read_records(path)) == [new, other]


def test_each_line_is_on_the_disk_before_append_returns(tmp_path, monkeypatch) -> None:
    manifest = Manifest(tmp_path / "m.jsonl", [])
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    manifest.append(record("a"))
    assert synced == [(tmp_path / "m.jsonl").stat().st_size]


def test_a_line_that_does_not_fit_leaves_the_file_as_it_was(tmp_path, monkeypatch) -> None:
    manifest = Manifest(tmp_path / "m.jsonl", [])
    manifest.append(record("a"))

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        manifest.append(record("b"))
    assert [r.key for r in read_records(tmp_path / "m.jsonl")] == ["a"]


def test_shards_have_files_of_their_own(tmp_path) -> None:
    assert run_file(tmp_path, "manifest.jsonl").name == "manifest.jsonl"
    assert run_file(tmp_path, "manifest.jsonl", Shard(2, 7)).name == "manifest-2-of-7.jsonl"


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
        assert (tmp_path / ".glualign" / "lock").exists()


def test_a_whole_run_removes_what_dead_ones_wrote_aside(tmp_path) -> None:
    private = tmp_path / ".glualign"
    left = [private / "merge-x", tmp_path / ".glualign-frames-x" / "new"]
    kept = [private / "aside-1-of-2", tmp_path / ".glualign-abc", tmp_path / "merge-x"]
    for folder in (*left, *kept):
        folder.mkdir(parents=True)
        (folder / "pixels").touch()
    with hold(tmp_path, Shard(1, 2)):
        assert all(folder.exists() for folder in left)
        with pytest.raises(BatchError), hold(tmp_path):
            pass
        assert all(folder.exists() for folder in left)
    with hold(tmp_path):
        assert not any(folder.exists() for folder in left)
    assert all((folder / "pixels").exists() for folder in kept)


WRONG = [
    None,
    True,
    -1,
    1e999,
    2**70,
    10**400,
    "x",
    "../x",
    "\0",
    "a\ud800",
    [],
    ["x"],
    {},
    {"a": []},
    [[[[[[[[[[]]]]]]]]]],
]


def damaged_lines(seed: int, count: int) -> list[bytes]:
    """A record's line with bytes, or values of the wrong kind, put in places of its own."""
    chance = random.Random(seed)
    whole = record("a", quality={"verdict": "good", "valid_share": 0.5}, seconds={"read": 0.1}, finished="x")
    lines = []
    for _ in range(count):
        data = json.loads(whole.to_json())
        kind = chance.randrange(4)
        if kind < 2:
            place = data
            while True:
                name = chance.choice(list(place))
                if not isinstance(place[name], dict) or not place[name] or chance.random() < 0.4:
                    break
                place = place[name]
            if kind == 0:
                place[name] = chance.choice(WRONG)
            else:
                place[str(chance.choice(WRONG))] = place.pop(name)
            lines.append(json.dumps(data).encode("ascii"))
        else:
            line = bytearray(whole.to_json().encode("ascii"))
            for _ in range(chance.randint(1, 3)):
                place = chance.randrange(len(line))
                if kind == 2:
                    line[place] = chance.randrange(256)
                else:
                    del line[place : place + chance.randint(1, 40)]
            lines.append(bytes(line).replace(b"\n", b" "))
    return lines


def test_damaged_lines_are_refused_or_can_be_lived_with(tmp_path) -> None:
    """Whatever a line holds, it is a record that a run can use and write again, or one error names it."""
    count = int(os.environ.get("GLUALIGN_FUZZ", 200))
    image = picture(tmp_path / "s" / "a.png")
    pairs = onto_target(tmp_path / "s", image)
    refused, accepted = [], 0
    for number, line in enumerate(damaged_lines(3, count)):
        out = tmp_path / f"out{number}"
        out.mkdir()
        (out / "manifest.jsonl").write_bytes(line + b"\n")
        try:
            summary = align_batch(pairs, out, fake_settings())
        except BatchError as error:
            refused.append(str(error))
            continue
        accepted += 1
        assert summary.total == summary.done + summary.skipped + summary.failed
        worst_first(current_records(out, pairs))
    assert len(refused) > count // 2
    assert accepted
    assert all("manifest.jsonl: line 1: is not a record" in message for message in refused)


@pytest.mark.parametrize(
    "name",
    ["../home/thesis.txt", "/home/thesis.txt", "thesis.txt", "a_/../../x", ".glualign/lock", "b_warped.png"],
)
def test_outputs_that_are_none_of_the_pair_are_never_removed(tmp_path, name) -> None:
    image = picture(tmp_path / "s" / "a.png")
    precious = tmp_path / "out" / name
    for path in (precious, tmp_path / "home" / "thesis.txt"):
        if path.is_relative_to(tmp_path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("years of work")
    foreign = record("a").to_json().replace("a_warped.png", name)
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out" / "manifest.jsonl").write_text(foreign + "\n")
    with pytest.raises(BatchError, match=r"line 1: .*not named after its key"):
        align_batch(onto_target(tmp_path / "s", image), tmp_path / "out", fake_settings())
    assert not precious.is_relative_to(tmp_path) or precious.read_text() == "years of work"


@pytest.mark.parametrize("damage", ["remove", "cut", "replace"])
def test_a_manifest_that_another_program_changes_is_noticed_and_restored(tmp_path, damage) -> None:
    sources, targets = picture_folders(tmp_path, 6)
    out = tmp_path / "out"
    path = out / "manifest.jsonl"

    def interfere(progress) -> None:
        if progress.finished == 3:
            if damage == "cut":
                os.truncate(path, 10)
            else:
                path.unlink()
            if damage == "replace":
                path.write_text("")

    with pytest.raises(BatchError, match="removed or changed by another program"):
        align_batch(match_folders(sources, targets), out, fake_settings(), on_progress=interfere)
    assert [r.key for r in read_records(path)] == [f"frame{i}" for i in range(4)]
    summary = align_batch(match_folders(sources, targets), out, fake_settings())
    assert (summary.skipped, summary.done) == (4, 2)


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need rights on Windows")
def test_links_in_place_of_the_lock_are_not_followed(tmp_path) -> None:
    for number, planted in enumerate(["lock", "lock-1-of-2", ""]):
        elsewhere = tmp_path / f"elsewhere{number}"
        folder = tmp_path / str(number) / ".glualign"
        (folder if planted else folder.parent).mkdir(parents=True)
        (folder / planted).symlink_to(elsewhere)
        with pytest.raises(BatchError, match="link"), hold(folder.parent, Shard(1, 2)):
            pass
        assert not elsewhere.exists()


@pytest.mark.skipif(os.name == "nt", reason="symbolic links need rights on Windows")
def test_a_run_through_a_link_to_the_same_folder_is_turned_away(tmp_path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "out")
    with (
        hold(tmp_path / "out"),
        pytest.raises(BatchError, match="another run"),
        hold(tmp_path / "link"),
    ):
        pass


@pytest.mark.skipif(os.name == "nt", reason="pipes need POSIX")
def test_pipes_in_place_of_manifest_or_list_do_not_hang(tmp_path) -> None:
    os.mkfifo(tmp_path / "manifest.jsonl")
    for read in (lambda path: list(read_records(path)), read_pairs):
        with pytest.raises(BatchError, match="pipe"):
            read(tmp_path / "manifest.jsonl")
