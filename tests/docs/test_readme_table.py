import importlib.util

import pytest


@pytest.fixture
def tool(root):
    spec = importlib.util.spec_from_file_location(
        "build_readme_table", root / "tools" / "build_readme_table.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(group: str, method: str, median: float | None, pck: float = 0.5) -> dict:
    metrics = None if median is None else {"pairs": 3, "median": median, "pck_px": {"5": pck}}
    return {"group": group, "method": method, "metrics": metrics, "seconds_per_pair": 1.234}


RESULTS = {
    "machine": {"cpu": "Some CPU", "cores": 2},
    "rows": [
        row("wall_set", "compact", 2.345, 0.876),
        row("wall_set", "sift", None),
        row("", "compact", 9.0),
        row("", "sift", 9.0),
        row("mean of groups", "compact", 9.0),
        row("mean of groups", "sift", 9.0),
    ],
}


def test_a_row_for_each_set_and_the_time(tool):
    lines = tool.table(RESULTS).splitlines()
    assert lines[:4] == [
        "| pairs (number) | glualign | SIFT + MAGSAC++ |",
        "|---|---:|---:|",
        "| wall_set (3) | 2.3 px, 88 % | - |",
        "| *median time of a pair* | 1.23 s | 1.23 s |",
    ]
    assert "Some CPU" in lines[-1]


def test_only_what_is_between_the_markers_changes(tool):
    readme = f"before\n{tool.BEGIN}old\n{tool.END}\nafter\n"
    assert tool.updated(readme, "new\n") == f"before\n{tool.BEGIN}new\n{tool.END}\nafter\n"


def test_missing_markers_are_an_error(tool):
    with pytest.raises(SystemExit, match="markers"):
        tool.updated("no markers", "new")


def test_the_readme_is_up_to_date(tool, monkeypatch):
    monkeypatch.setattr("sys.argv", ["build_readme_table.py", "--check"])
    tool.main()
