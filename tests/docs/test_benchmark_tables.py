"""Tables of the README and of the pages of benchmarks say what the result files say."""

import json

import pytest


@pytest.fixture
def tables(tool):
    return tool("build_benchmark_tables")


def row(group: str, method: str, median: float | None, pck: float = 0.5) -> dict:
    metrics = None if median is None else {"pairs": 3, "median": median, "pck_px": {"5": pck}}
    return {"group": group, "method": method, "metrics": metrics, "seconds_per_pair": 1.234}


def test_a_row_for_each_set_and_the_time(tables):
    rows = [
        row("wall_set", "compact", 2.345, 0.876),
        row("wall_set", "sift", None),
        row("wall_set", "a method without a column", 1.0),
        row("", "compact", 9.0),
        row("", "sift", 9.0),
    ]
    assert tables.sets({"rows": rows}).splitlines() == [
        "| pairs (number) | glualign | SIFT + MAGSAC++ |",
        "| --- | ---: | ---: |",
        "| wall_set (3) | 2.3 px, 88 % | - |",
        "| *all pairs* (3) | 9.0 px, 50 % | 9.0 px, 50 % |",
        "| *median time of a pair* | 1.23 s | 1.23 s |",
    ]


def test_only_what_is_between_the_comments_changes(tables, tmp_path, monkeypatch):
    (tmp_path / "some-file.json").write_text('{"rows": []}')
    monkeypatch.setitem(tables.TABLES, "some kind", lambda content: f"{content}\n")
    begin = "<!-- written by tools/build_benchmark_tables.py: some kind of some-file.json -->\n"
    end = "<!-- end of table -->\n"
    page = f"before\n{begin}old\n{end}between\n{begin}{end}after\n"
    new = "{'rows': []}\n"
    assert tables.filled(page, tmp_path) == f"before\n{begin}{new}{end}between\n{begin}{new}{end}after\n"


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("<!-- written by", "<!-- writen by"),
        ("<!-- end of table -->", "<!-- end of the table -->"),
        (": sets", ": set"),
    ],
)
def test_a_damaged_comment_is_refused(tables, right, wrong):
    page = tables.PAGES[0].read_text("utf-8").replace(right, wrong, 1)
    with pytest.raises(SystemExit, match="is damaged"):
        tables.filled(page)


def test_the_tables_are_up_to_date(tables):
    for path in tables.PAGES:
        page = path.read_text("utf-8")
        assert tables.filled(page) == page, f"{path}: run python tools/build_benchmark_tables.py"


def test_every_result_has_a_table_and_every_table_its_end(tables):
    pages = "".join(path.read_text("utf-8") for path in tables.PAGES)
    shown = tables.MARKED.findall(pages)
    assert pages.count("<!-- written by") == pages.count("<!-- end of table") == len(shown)
    assert {stem for _, _, stem, _ in shown} == {path.stem for path in tables.RESULTS.glob("*.json")}


def test_a_changed_result_is_noticed(tables, tmp_path):
    for path in tables.RESULTS.glob("*.json"):
        content = json.loads(path.read_text())
        for each in content["rows"] if content["kind"] == "evaluation" else []:
            if each["metrics"]:
                each["metrics"] |= {"aepe": 1234.5, "median": 4321.0}
        (tmp_path / path.name).write_text(json.dumps(content))
    for path, value in zip(tables.PAGES, ("4321.0", "4321.0", "1234.50"), strict=True):
        page = path.read_text("utf-8")
        assert value not in page
        assert value in tables.filled(page, tmp_path)
