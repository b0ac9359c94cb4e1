import io
import json
import os
import re
from pathlib import Path

import pytest
from batch_fakes import picture
from hypothesis import given
from hypothesis import strategies as st

from glualign.batch import (
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
from glualign.batch import pairs as pairs_module
from glualign.errors import BatchError


def keys(pairs) -> list[str]:
    return [pair.key for pair in pairs.pairs]


@pytest.fixture
def two_folders(tmp_path):
    for name in ("a.png", "sub/a.png", "sub/b.jpg", "only_source.png"):
        picture(tmp_path / "s" / name)
    for name in ("a.tif", "sub/a.png", "sub/b.png", "only_target.png"):
        picture(tmp_path / "t" / name)
    return tmp_path / "s", tmp_path / "t"


def test_folders_match_by_relative_stem_and_name_what_does_not(two_folders) -> None:
    sources, targets = two_folders
    pairs = match_folders(sources, targets)
    assert keys(pairs) == ["a", "sub/a", "sub/b"]
    assert [pair.target.relative_to(targets).as_posix() for pair in pairs.pairs] == [
        "a.tif",
        "sub/a.png",
        "sub/b.png",
    ]
    assert [line.split(": ")[0] for line in pairs.unmatched] == [
        str(sources / "only_source.png"),
        str(targets / "only_target.png"),
    ]
    assert "no target only_source.*" in pairs.unmatched[0]


def test_equal_extension_wins_and_a_real_choice_is_left_to_the_user(tmp_path) -> None:
    for name in ("x.png", "y.png"):
        picture(tmp_path / "s" / name)
    for name in ("x.png", "x.jpg", "y.jpg", "y.tif"):
        picture(tmp_path / "t" / name)
    pairs = match_folders(tmp_path / "s", tmp_path / "t")
    assert [pair.target.name for pair in pairs.pairs] == ["x.png"]
    assert any("2 targets have this stem: y.jpg, y.tif" in line for line in pairs.unmatched)


def test_folders_without_a_common_name_are_refused(tmp_path) -> None:
    picture(tmp_path / "s" / "left1.png")
    picture(tmp_path / "t" / "right1.png")
    with pytest.raises(BatchError, match=r"left1\.png and right1\.png"):
        match_folders(tmp_path / "s", tmp_path / "t")


def test_equal_stems_never_share_a_key(tmp_path) -> None:
    for name in ("a.jpg", "a.png", "A.tif", "sub/a.png"):
        picture(tmp_path / "s" / name)
    pairs = onto_target(tmp_path / "s", picture(tmp_path / "ref.png"))
    folded = [key.casefold() for key in keys(pairs)]
    assert len(set(folded)) == 4
    assert "sub/a" in folded


@given(
    st.lists(
        st.sampled_from(["a.png", "a.jpg", "A.png", "a_to_t.png", "a_2.png", "d/a.png"]),
        min_size=1,
        max_size=12,
    )
)
def test_keys_are_unique_whatever_the_list(names) -> None:
    pairs = from_rows(Row(name, "t.png") for name in names)
    assert len({pair.key.casefold() for pair in pairs.pairs}) == len(names)


def test_equal_keys_are_told_apart_by_what_differs() -> None:
    rows = [("a.jpg", "t"), ("a.png", "t"), ("a.png", "u"), ("a.jpg", "u"), ("a.jpg", "t"), ("a.jpg", "t")]
    named = ["a", "a.png", "a.png_to_u", "a_to_u", "a_2", "a_3"]
    assert keys(from_rows(Row(source, f"{target}.png") for source, target in rows)) == named


@given(
    st.lists(
        st.tuples(st.sampled_from(["a.png", "a.jpg", "A.png", "a_2.png"]), st.sampled_from("tu")), min_size=2
    )
)
def test_rows_added_at_the_end_rename_nothing(rows) -> None:
    listed = [Row(source, target) for source, target in rows]
    assert keys(from_rows(listed))[:-1] == keys(from_rows(listed[:-1]))


def test_sequence_onto_previous_and_onto_first(tmp_path) -> None:
    for i in (1, 2, 10):
        picture(tmp_path / f"f{i}.png")
    picture(tmp_path / "alone" / "x.png")
    previous = sequence(tmp_path)
    assert [(pair.source.name, pair.target.name) for pair in previous.pairs] == [
        ("f2.png", "f1.png"),
        ("f10.png", "f2.png"),
    ]
    assert "the only frame" in previous.unmatched[0]
    first = sequence(tmp_path, onto="first")
    assert [pair.target.name for pair in first.pairs] == ["f1.png", "f1.png"]


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
    pairs = read_pairs(tmp_path / "list.csv")
    assert keys(pairs) == ["x/1", "named/pair", "x/1_to_2"]
    assert pairs.pairs[1].source == tmp_path / "x" / "a, b.png"


def stdin(monkeypatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_json_lines_and_csv_from_standard_input(monkeypatch) -> None:
    rows = [{"source": "a.png", "target": "b.png"}, {"source": "sub/c.png", "target": "b.png", "output": "d"}]
    stdin(monkeypatch, b"\n".join(json.dumps(row).encode() for row in rows) + b"\n\n")
    assert keys(read_pairs("-")) == ["a", "d"]
    stdin(monkeypatch, b"source,target\na.png,b.png\n")
    assert read_pairs("-").pairs[0].source == Path("a.png")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_the_list(tmp_path, monkeypatch, encoding) -> None:
    for text in ("source,target\ngrün.png,b.png\n", '{"source": "grün.png", "target": "b.png"}\n'):
        stdin(monkeypatch, text.encode(encoding))
        assert keys(read_pairs("-")) == ["grün"]
    (tmp_path / "l.csv").write_bytes("source,target\ngrün.png,b.png\n".encode(encoding))
    assert keys(read_pairs(tmp_path / "l.csv")) == ["grün"]


def test_names_of_any_bytes_come_through_a_list(tmp_path) -> None:
    (tmp_path / "l.csv").write_bytes(b"source,target\nb\xe9.png,b.png\n")
    pair = read_pairs(tmp_path / "l.csv").pairs[0]
    assert (pair.fault, os.fsencode(pair.source.name)) == (None, b"b\xe9.png")


def test_absolute_sources_are_named_below_their_common_folder(tmp_path) -> None:
    rows = [Row(f"{tmp_path}/data/{name}", "t.png") for name in ("x/1.png", "y/1.png")]
    assert keys(from_rows(rows)) == ["x/1", "y/1"]
    higher = from_rows([*rows, Row("../up.png", "t.png")], folder=tmp_path)
    assert all(".." not in key and not key.startswith("/") for key in keys(higher))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("l.csv", "left,right\na,b\n", "must name the columns"),
        ("l.csv", "", "it has nothing"),
        ("l.csv", '"', "it has nothing"),
        ("l.csv", "source,target\n", "is empty"),
        ("nowhere.csv", None, "no such file"),
    ],
)
def test_lists_without_pairs_are_refused(tmp_path, name, text, message) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(BatchError, match=message):
        read_pairs(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("l.csv", "a.png", "no target"),
        ("l.csv", "a.png,b.png,c,d.png", "more fields"),
        ("l.csv", "a.png,b.png,../c", "output '../c' must be a relative name"),
        ("l.csv", "a.png,b.png,/c", "output '/c' must be"),
        ("l.csv", "a.png,b.png,.glualign/x", "the run's own files"),
        ("l.csv", "a.png,b.png,.GLUALIGN/x", "the run's own files"),
        ("l.csv", ".glualign/x.png,b.png,", "the run's own files"),
        ("l.csv", f"{'a' * 140_000}.png,b.png,", "is not CSV"),
        ("l.csv", "a\0b.png,b.png,", "NUL"),
        ("l.jsonl", '{"source"', "is not JSON"),
        ("l.jsonl", "[1]", "must be an object"),
        ("l.jsonl", "[" * 100_000, "is not JSON"),
        ("l.jsonl", f'{{"source": {"9" * 5000}}}', "is not JSON"),
        ("l.jsonl", r'{"source": "C:\pictures\x.png", "target": "b.png"}', "is not JSON"),
        ("l.jsonl", '{"source": "a.png", "target": 3}', "target must be text"),
        ("l.jsonl", r'{"source": "a\u0000b", "target": "x"}', r"'a\\x00b' holds a NUL"),
        ("l.jsonl", r'{"source": "a", "target": "x\ud800"}', r"target 'x\\ud800' holds a character"),
        ("l.jsonl", r'{"source": "a", "target": "x", "output": "y\u0000"}', "must be a relative name"),
    ],
)
def test_a_malformed_row_is_a_pair_with_a_fault_and_the_others_stand(tmp_path, name, row, message) -> None:
    first, last = "x.png,y.png,", "z.png,y.png,"
    lines = ["source,target,output", first, row, last]
    if name == "l.jsonl":
        pairs = (dict(zip(("source", "target"), line.split(","), strict=False)) for line in (first, last))
        first, last = map(json.dumps, pairs)
        lines = [first, row, last]
    (tmp_path / name).write_text("\n".join(lines) + "\n")
    found = read_pairs(tmp_path / name).pairs
    assert [pair.key for pair in found] == ["x", "row-2", "z"]
    assert [pair.fault is None for pair in found] == [True, False, True]
    assert re.search(rf"{name}, line {lines.index(row) + 1}: .*{message}", str(found[1].fault))


def test_a_line_separator_inside_a_json_line_belongs_to_the_name(tmp_path) -> None:
    rows = [{"source": "a\u2028b\x85.png", "target": "t.png"}, {"source": "c.png", "target": "t.png"}]
    text = "\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (tmp_path / "l.jsonl").write_text(text, encoding="utf-8", newline="")
    assert keys(read_pairs(tmp_path / "l.jsonl")) == ["a\u2028b\x85", "c"]


@pytest.mark.parametrize("outputs", ["cc", "c/c.png", "cC", "é/é"])
def test_an_output_asked_for_twice_is_refused(tmp_path, outputs) -> None:
    first, second = outputs.split("/") if "/" in outputs else outputs
    rows = [Row("a.png", "b.png", first), Row("d.png", "b.png", second)]
    with pytest.raises(BatchError, match="2 times"):
        from_rows(rows)


def test_outputs_that_were_asked_for_keep_their_names() -> None:
    rows = [Row("c.png", "b.png"), Row("d.png", "b.png", "c"), Row("c.png", "b.png", "c_to_b")]
    assert keys(from_rows(rows)) == ["c.png", "c", "c_to_b"]


def test_accents_may_be_composed_in_one_folder_only(tmp_path) -> None:
    picture(tmp_path / "s" / "Caf\u00e9.png")
    picture(tmp_path / "t" / "Cafe\u0301.png")
    pairs = match_folders(tmp_path / "s", tmp_path / "t")
    assert (keys(pairs), pairs.unmatched) == (["Caf\u00e9"], ())


def test_pairing_takes_time_in_proportion_to_the_files(tmp_path, monkeypatch) -> None:
    for i in range(800):
        for folder in ("s", "t") if i < 400 else ("t",):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / f"{i}.png").touch()
    calls = 0
    original = pairs_module.stem_of

    def counted(name: str) -> str:
        nonlocal calls
        calls += 1
        return original(name)

    monkeypatch.setattr(pairs_module, "stem_of", counted)
    assert len(match_folders(tmp_path / "s", tmp_path / "t").unmatched) == 400
    assert calls < 10 * 1200


@given(st.integers(0, 40), st.integers(1, 9))
def test_shards_are_disjoint_complete_and_balanced(length, count) -> None:
    pairs = PairList(tuple(Pair(str(i), Path(f"{i}.png"), Path("t.png")) for i in range(length)))
    parts = [pairs.shard(Shard(i, count)).pairs for i in range(1, count + 1)]
    assert sorted(pair.key for part in parts for pair in part) == sorted(keys(pairs))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(("index", "count"), [(0, 3), (4, 3), (1, 0), (-1, 2)])
def test_impossible_shards_are_refused(index, count) -> None:
    with pytest.raises(BatchError, match="shard"):
        Shard(index, count)
