import errno
from dataclasses import replace
from pathlib import Path

import pytest

from glualign.errors import DatasetError, OutputError
from glualign.evaluation import runner
from glualign.evaluation.datasets import Dataset, EvalPair, open_dataset
from glualign.evaluation.methods import open_baseline
from glualign.evaluation.runner import evaluate, fingerprint, read_csv
from glualign.evaluation.tables import group_results, table_cells
from tests.evaluation.fakes import Offset, make_pairs, texture, write_image


@pytest.fixture
def pairs(tmp_path):
    return open_dataset("pairs", make_pairs(tmp_path / "data"))


def partial_path(csv):
    return csv.with_name("results.csv.partial")


def timeless(results):
    return [(r.method, r.pair, r.error, r.note, r.metrics) for r in results]


def test_every_method_runs_on_every_pair_in_order(pairs):
    results = evaluate(pairs, [Offset("one", 1.0), Offset("two", 2.0)])
    assert [(r.pair, r.method) for r in results] == [
        (f"moved/p{index}", name) for index in range(3) for name in ("one", "two")
    ]
    assert [r.metrics.aepe for r in results] == pytest.approx([1.0, 2.0] * 3)


def test_a_pair_that_cannot_be_read_is_recorded_and_the_rest_goes_on(tmp_path):
    root = make_pairs(tmp_path)
    (root / "moved" / "p1" / "H_target_to_source.txt").unlink()
    results = evaluate(open_dataset("pairs", root), [Offset()])
    assert [bool(r.error) for r in results] == [False, True, False]
    assert "p1: no ground truth" in results[1].error
    rows = group_results(open_dataset("pairs", root), results)
    assert (rows[0]["failed"], rows[0]["metrics"]["pairs"]) == (1, 2)
    assert table_cells("pairs", rows)[0][-1] == "1 failed"


def test_a_method_that_fails_is_recorded_with_the_type_of_its_error(tmp_path):
    root = make_pairs(tmp_path, shifts=(1,))
    make_pairs(tmp_path / "wide", shifts=(1,), size=(40, 90))
    results = evaluate(open_dataset("pairs", root), [Offset(refuses=60), Offset("other")])
    failed = [r for r in results if r.error]
    assert [(r.method, r.error) for r in failed] == []
    results = evaluate(open_dataset("pairs", root / "wide"), [Offset(refuses=60), Offset("other")])
    assert [(r.method, r.error) for r in results if r.error] == [("offset", "RuntimeError: too wide for me")]


def test_a_pair_without_a_pixel_to_compare_is_a_failure_and_not_a_perfect_result(tmp_path):
    root = make_pairs(tmp_path, shifts=(500,))
    (result,) = evaluate(open_dataset("pairs", root), [Offset()])
    assert "no pixel with ground truth" in result.error


def test_resume_tells_pairs_of_one_name_apart(tmp_path):
    rows = [["imageA", "imageB", *range(40)]]
    for shift, target in ((1, "target"), (2, "target"), (3, "target (2)")):
        images = [f"{shift}/{side}.png" for side in ("source", target)]
        for image in images:
            write_image(tmp_path / image, texture(40, 60, 1))
        rows.append([*images, *range(20 + shift, 30 + shift), *[20] * 10, *range(20, 30), *[20] * 10])
    (tmp_path / "list.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    dataset = open_dataset("pf-willow", tmp_path, pair_list=tmp_path / "list.csv")
    ends = ("", " (2)", " (2) (2)")
    assert [pair.name for pair in dataset.pairs] == [f"source target{end}" for end in ends]
    for _ in range(2):
        results = evaluate(dataset, [open_baseline("identity")], csv_path=tmp_path / "out.csv", resume=True)
        assert [result.metrics.aepe for result in results] == [1, 2, 3]


def test_resume_knows_pairs_and_sets_whose_names_have_odd_spaces(tmp_path):
    root = make_pairs(tmp_path / "data")
    (root / "moved").rename(root / "two  moved\u00a0sets")
    dataset, method = open_dataset("pairs", root), Offset()
    for _ in range(2):
        results = evaluate(dataset, [method], csv_path=tmp_path / "out.csv", resume=True)
        assert [result.pair for result in results] == [pair.name for pair in dataset.pairs]
        assert [row["metrics"]["pairs"] for row in group_results(dataset, results)] == [3, 3]
    assert len(method.seen) == 3


def test_resume_runs_only_what_is_missing_and_gives_the_same(pairs, tmp_path):
    csv = tmp_path / "results.csv"
    complete = evaluate(pairs, [Offset()], csv_path=csv)
    text = csv.read_text()
    lines = text.splitlines(keepends=True)
    csv.unlink()
    # interrupted: one pair done, the second one's line cut off
    partial_path(csv).write_text("".join(lines[:2]) + lines[2][:40])
    method = Offset()
    resumed = evaluate(pairs, [method], csv_path=csv, resume=True)
    assert len(method.seen) == 2
    assert timeless(resumed) == timeless(complete)
    assert csv.read_text() == text
    assert not partial_path(csv).exists()


def test_resume_keeps_the_lines_of_other_methods_and_pairs(pairs, tmp_path):
    csv = tmp_path / "results.csv"
    evaluate(pairs, [Offset("one"), Offset("two")], csv_path=csv)
    fewer = replace(pairs, pairs=pairs.pairs[:1])
    assert len(evaluate(fewer, [Offset("one")], csv_path=csv, resume=True)) == 1
    assert sorted((r.method, r.pair) for r in read_csv(csv)) == [
        (name, f"moved/p{index}") for name in ("one", "two") for index in range(3)
    ]


def test_resume_keeps_the_failed_lines_of_other_methods(tmp_path):
    root, csv = make_pairs(tmp_path / "data"), tmp_path / "results.csv"
    (root / "moved" / "p1").rename(root / "moved" / "p  1")
    (root / "moved" / "p2" / "H_target_to_source.txt").write_text("broken")
    dataset = open_dataset("pairs", root)
    evaluate(dataset, [Offset("one")], csv_path=csv)
    for _ in range(2):
        evaluate(dataset, [Offset("two")], csv_path=csv, resume=True)
    lines = sorted((r.method, r.pair, bool(r.error)) for r in read_csv(csv))
    pairs = [("moved/p 1", False), ("moved/p0", False), ("moved/p2", True)]
    assert lines == [(name, *pair) for name in ("one", "two") for pair in pairs]


def test_an_unfinished_run_is_not_lost_by_leaving_out_resume(pairs, tmp_path):
    csv = tmp_path / "results.csv"
    partial_path(csv).write_text("something")
    with pytest.raises(DatasetError, match="of an unfinished run; --resume"):
        evaluate(pairs, [Offset()], csv_path=csv)
    assert partial_path(csv).read_text() == "something"


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_torn_last_line_does_not_count(pairs, tmp_path, cut):
    csv = tmp_path / "results.csv"
    evaluate(pairs, [Offset()], csv_path=csv)
    csv.write_bytes(csv.read_bytes()[:-cut])
    assert [r.pair for r in read_csv(csv)] == ["moved/p0", "moved/p1"]


def test_a_full_disk_is_one_line(pairs, tmp_path, monkeypatch):
    def full(self, mode="r", **how):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OutputError, match=r"results\.csv\.partial: cannot be written \(No space"):
        runner._append(tmp_path / "results.csv.partial", "a line")


def test_an_interrupted_run_keeps_what_it_had(pairs, tmp_path):
    csv = tmp_path / "results.csv"

    def interrupt(result):
        if result.pair == "moved/p1":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(pairs, [Offset()], csv_path=csv, listener=interrupt)
    assert not csv.exists()
    assert [r.pair for r in read_csv(partial_path(csv))] == ["moved/p0", "moved/p1"]


def test_resume_takes_over_nothing_of_other_settings_and_tries_failures_again(tmp_path):
    root, csv = make_pairs(tmp_path / "data"), tmp_path / "results.csv"
    matrix = root / "moved" / "p2" / "H_target_to_source.txt"
    good = matrix.read_text()
    matrix.write_text("broken")
    dataset = open_dataset("pairs", root)
    evaluate(dataset, [Offset(settings={"max_side": "512"})], csv_path=csv)
    matrix.write_text(good)
    again = Offset(settings={"max_side": "512"})
    results = evaluate(dataset, [again], csv_path=csv, resume=True)
    assert len(again.seen) == 1
    assert not any(r.error for r in results)
    other = Offset(settings={"max_side": "1024"})
    evaluate(dataset, [other], csv_path=csv, resume=True)
    assert len(other.seen) == 3


def test_the_fingerprint_depends_on_data_and_settings_and_not_on_their_order(pairs):
    other = replace(pairs, origin=("elsewhere",))
    assert fingerprint(pairs, {"a": "1", "b": "2"}) == fingerprint(pairs, {"b": "2", "a": "1"})
    assert fingerprint(pairs, {"a": "1"}) != fingerprint(other, {"a": "1"})
    assert fingerprint(pairs, {"a": "1"}) != fingerprint(replace(pairs, name="hpatches"), {"a": "1"})
    assert fingerprint(pairs, {"a": "1"}) != fingerprint(pairs, {"a": "2"})


def test_results_survive_the_csv_exactly(pairs, tmp_path):
    csv = tmp_path / "results.csv"
    results = evaluate(pairs, [Offset(dx=1 / 3)], csv_path=csv)
    assert timeless(read_csv(csv)) == timeless(results)


def test_a_foreign_csv_is_not_resumed_from(pairs, tmp_path):
    csv = tmp_path / "mine.csv"
    csv.write_text("name,age\nsomeone,3\n")
    with pytest.raises(DatasetError, match="not the csv of an earlier run"):
        evaluate(pairs, [Offset()], csv_path=csv, resume=True)
    csv.write_text("")
    assert len(evaluate(pairs, [Offset()], csv_path=csv, resume=True)) == len(pairs.pairs)


def test_two_methods_of_one_name_are_refused(pairs):
    with pytest.raises(DatasetError, match="same name"):
        evaluate(pairs, [Offset(), Offset()])


def test_scenes_are_averaged_before_the_rate_and_groups_alike(tmp_path):
    root = make_pairs(tmp_path, shifts=(1, 2, 3))
    loads = [pair.load for pair in open_dataset("pairs", root).pairs]
    dataset = Dataset(
        "eth3d",
        "ETH3D",
        (
            EvalPair("a", loads[0], "rate 3", "lakeside"),
            EvalPair("b", loads[1], "rate 3", "lakeside"),
            EvalPair("c", loads[2], "rate 3", "tunnel"),
            EvalPair("d", loads[0], "rate 5", "tunnel"),
        ),
    )

    class ByShift(Offset):
        def estimate(self, sample):
            shift = -float(sample.truth.flow[20, 40, 0])
            return Offset(dx=shift).estimate(sample)

    rows = {row["group"]: row for row in group_results(dataset, evaluate(dataset, [ByShift()]))}
    assert rows["rate 3"]["metrics"]["aepe"] == pytest.approx((1.5 + 3) / 2, abs=1e-5)
    assert rows["mean of groups"]["metrics"]["aepe"] == pytest.approx((2.25 + 1) / 2, abs=1e-5)
    cells = table_cells("eth3d", list(rows.values()))
    assert [row[1] for row in cells[:3]] == [
        "offset",
        "GLU-Net static (published)",
        "GLU-Net dynamic (published)",
    ]
    assert cells[1][3] == "1.98"
