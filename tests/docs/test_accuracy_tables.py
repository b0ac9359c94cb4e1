import importlib.util

import pytest


@pytest.fixture
def tool(root):
    spec = importlib.util.spec_from_file_location(
        "build_accuracy_tables", root / "tools" / "build_accuracy_tables.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def row(group: str, method: str, median: float | None, pck: float = 0.5) -> dict:
    metrics = None if median is None else {"pairs": 3, "median": median, "pck_px": {"5": pck}}
    return {"group": group, "method": method, "metrics": metrics, "seconds_per_pair": 1.234}


RESULTS = {
    "machine": {"cpu": "Some CPU", "cores": 2},
    "methods": {"compact": {"precision": "bfloat16"}},
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
    lines = tool.readme_table(RESULTS).splitlines()
    assert lines[:4] == [
        "| pairs (number) | glualign | SIFT + MAGSAC++ |",
        "|---|---:|---:|",
        "| wall_set (3) | 2.3 px, 88 % | - |",
        "| *median time of a pair* | 1.23 s | 1.23 s |",
    ]
    assert "in bf16 on Some CPU" in lines[-1]


def test_the_card_compares_the_first_weights_with_those_of_today(tool):
    def measured(method: str, median: float) -> dict:
        metrics = {
            "pairs": 4, "median": median, "aepe": 2 * median,
            "pck_px": {"1": 0.1, "5": 0.25}, "pck_alpha": {"0.05": 0.5},
        }  # fmt: skip
        return {"group": "wall_set", "method": method, "metrics": metrics}

    rows = [measured("compact@fast", 8.0), measured("compact", 1.5)]
    assert tool.card_table({"rows": rows}).splitlines()[2:] == [
        "| wall_set (4) | 8.00 -> 1.50 | 16.00 -> 3.00 | 10.0 -> 10.0 | 25.0 -> 25.0 | 50.0 -> 50.0 |"
    ]


def test_only_what_is_between_the_markers_changes(tool):
    readme = f"before\n{tool.BEGIN}old\n{tool.END}\nafter\n"
    assert tool.updated(readme, "new\n", "README.md") == f"before\n{tool.BEGIN}new\n{tool.END}\nafter\n"


def test_missing_markers_are_an_error(tool):
    with pytest.raises(SystemExit, match=r"README.md.*markers"):
        tool.updated("no markers", "new", "README.md")


def test_both_documents_are_up_to_date(tool, monkeypatch):
    monkeypatch.setattr("sys.argv", ["build_accuracy_tables.py", "--check"])
    tool.main()
