import io
import json
from pathlib import Path

import pytest
from batch_fakes import picture
from hypothesis import given
from hypothesis import strategies as st

from glualign.batch import Shard, from_rows, match_folders, onto_target, read_pairs, sequence
from glualign.batch.jobs import Entry, build
from glualign.errors import BatchError


def keys(jobs) -> list[str]:
    return [job.key for job in jobs.jobs]


@pytest.fixture
def two_folders(tmp_path):
    for name in ("a.png", "sub/a.png", "sub/b.jpg", "only_source.png"):
        picture(tmp_path / "s" / name)
    for name in ("a.tif", "sub/a.png", "sub/b.png", "only_target.png"):
        picture(tmp_path / "t" / name)
    return tmp_path / "s", tmp_path / "t"


def test_folders_match_by_relative_stem_and_name_what_does_not(two_folders) -> None:
    sources, targets = two_folders
    jobs = match_folders(sources, targets)
    assert keys(jobs) == ["a", "sub/a", "sub/b"]
    assert [job.target.relative_to(targets).as_posix() for job in jobs.jobs] == [
        "a.tif",
        "sub/a.png",
        "sub/b.png",
    ]
    assert [line.split(": ")[0] for line in jobs.unmatched] == [
        str(sources / "only_source.png"),
        str(targets / "only_target.png"),
    ]
    assert "no target only_source.*" in jobs.unmatched[0]


def test_equal_extension_wins_and_a_real_choice_is_left_to_the_user(tmp_path) -> None:
    for name in ("x.png", "y.png"):
        picture(tmp_path / "s" / name)
    for name in ("x.png", "x.jpg", "y.jpg", "y.tif"):
        picture(tmp_path / "t" / name)
    jobs = match_folders(tmp_path / "s", tmp_path / "t")
    assert [job.target.name for job in jobs.jobs] == ["x.png"]
    assert any("2 targets have this stem: y.jpg, y.tif" in line for line in jobs.unmatched)


def test_folders_without_a_common_name_are_refused(tmp_path) -> None:
    picture(tmp_path / "s" / "left1.png")
    picture(tmp_path / "t" / "right1.png")
    with pytest.raises(BatchError, match=r"left1\.png and right1\.png"):
        match_folders(tmp_path / "s", tmp_path / "t")


def test_equal_stems_never_share_a_key(tmp_path) -> None:
    for name in ("a.jpg", "a.png", "A.tif", "sub/a.png"):
        picture(tmp_path / "s" / name)
    jobs = onto_target(tmp_path / "s", picture(tmp_path / "ref.png"))
    folded = [key.casefold() for key in keys(jobs)]
    assert len(set(folded)) == 4
    assert "sub/a" in folded


@given(
    st.lists(st.sampled_from(["a.png", "a.jpg", "A.png", "a_to_t.png", "a_2.png", "d/a.png"]), max_size=12)
)
def test_keys_are_unique_whatever_the_list(names) -> None:
    jobs = build(Entry.of(name, Path(name), Path("t.png")) for name in names)
    assert len({job.key.casefold() for job in jobs.jobs}) == len(names)


def test_sequence_onto_previous_and_onto_first(tmp_path) -> None:
    for i in (1, 2, 10):
        picture(tmp_path / f"f{i}.png")
    picture(tmp_path / "alone" / "x.png")
    previous = sequence(tmp_path)
    assert [(job.source.name, job.target.name) for job in previous.jobs] == [
        ("f2.png", "f1.png"),
        ("f10.png", "f2.png"),
    ]
    assert "the only frame" in previous.unmatched[0]
    first = sequence(tmp_path, onto="first")
    assert [job.target.name for job in first.jobs] == ["f1.png", "f1.png"]


def test_sequence_of_one_frame_is_refused(tmp_path) -> None:
    picture(tmp_path / "f1.png")
    with pytest.raises(BatchError, match="at least two frames"):
        sequence(tmp_path)


def test_missing_target_is_refused(tmp_path) -> None:
    picture(tmp_path / "s" / "a.png")
    with pytest.raises(BatchError, match="no such file"):
        onto_target(tmp_path / "s", tmp_path / "ref.png")


def test_csv_paths_start_at_the_list_and_outputs_are_honoured(tmp_path) -> None:
    text = 'source,target,output\nx/1.png,y/1.png,\n"x/a, b.png",y/1.png,named/pair.png\nx/1.png,y/2.png,\n'
    (tmp_path / "list.csv").write_text(text)
    jobs = from_rows(read_pairs(tmp_path / "list.csv"))
    assert keys(jobs) == ["x/1.png_to_1", "named/pair", "x/1.png_to_2"]
    assert jobs.jobs[1].source == tmp_path / "x" / "a, b.png"


def test_json_lines_and_csv_from_standard_input(tmp_path, monkeypatch) -> None:
    rows = [{"source": "a.png", "target": "b.png"}, {"source": "sub/c.png", "target": "b.png", "output": "d"}]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(map(json.dumps, rows)) + "\n\n"))
    assert keys(from_rows(read_pairs("-"))) == ["a", "d"]
    monkeypatch.setattr("sys.stdin", io.StringIO("source,target\na.png,b.png\n"))
    jobs = from_rows(read_pairs("-"))
    assert jobs.jobs[0].source == Path("a.png")


def test_absolute_sources_are_named_below_their_common_folder(tmp_path) -> None:
    (tmp_path / "list.csv").write_text(
        f"source,target\n{tmp_path}/data/x/1.png,t.png\n{tmp_path}/data/y/1.png,t.png\n../up.png,t.png\n"
    )
    rows = read_pairs(tmp_path / "list.csv")
    assert keys(from_rows(rows[:2])) == ["x/1", "y/1"]
    assert all(".." not in key and not key.startswith("/") for key in keys(from_rows(rows)))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.csv", "left,right\na,b\n", "must name the columns"),
        ("l.csv", "", "it has nothing"),
        ("l.csv", "source,target\na.png\n", "line 2: no target"),
        ("l.csv", "source,target\na.png,b.png,c.png\n", "line 2: more fields"),
        ("l.csv", "source,target,output\na.png,b.png,../c\n", "line 2: output '../c'"),
        ("l.csv", "source,target,output\na.png,b.png,/c\n", "line 2: output '/c'"),
        ("l.jsonl", '{"source": "a.png", "target": "b.png"}\n{"source"\n', "line 2: is not JSON"),
        ("l.jsonl", "[1]\n", "line 1: must be an object"),
        ("l.jsonl", '{"source": "a.png", "target": 3}\n', "line 1: no target"),
    ],
)
def test_malformed_lists_are_refused_with_their_line(tmp_path, name, text, message) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(BatchError, match=message):
        read_pairs(tmp_path / name)


def test_an_output_asked_for_twice_and_an_empty_list_are_refused(tmp_path) -> None:
    (tmp_path / "l.csv").write_text("source,target,output\na.png,b.png,c\nd.png,b.png,c\n")
    with pytest.raises(BatchError, match="names the output c 2 times"):
        from_rows(read_pairs(tmp_path / "l.csv"))
    with pytest.raises(BatchError, match="empty"):
        from_rows([])


@given(st.integers(0, 40), st.integers(1, 9))
def test_shards_are_disjoint_complete_and_balanced(length, count) -> None:
    jobs = build(Entry.of(f"{i}.png", Path(f"{i}.png"), Path("t.png")) for i in range(length))
    parts = [jobs.shard(Shard(i, count)).jobs for i in range(1, count + 1)]
    assert sorted(job.key for part in parts for job in part) == sorted(keys(jobs))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2", ""])
def test_impossible_shards_are_refused(text) -> None:
    with pytest.raises(BatchError, match="shard"):
        Shard.parse(text)
