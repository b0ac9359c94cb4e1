import io
import json

import numpy as np

from glualign.cli import console


def test_facts_in_a_pipe_are_neither_folded_nor_padded(capsys):
    long = "x" * 300
    console.print_table([("a", long), ("name", "[bold]v[/bold]")])
    assert capsys.readouterr().out.splitlines() == [f"a     {long}", "name  [bold]v[/bold]"]


def test_numbers_in_a_table_are_aligned_to_the_right(capsys):
    console.print_table([("one", "1.5"), ("two", "12.5")], ("set", "px"), right=(1,))
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "set    px",
        "one   1.5",
        "two  12.5",
    ]


def test_json_has_no_word_for_nan(capsys):
    console.print_json({"a": float("nan"), "b": np.float32(0.5), "ż": [np.int64(3)]})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": 0.5, "ż": [3]}


def test_progress_is_for_terminals_only(capsys):
    with console.status("Working ..."):
        pass
    assert capsys.readouterr() == ("", "")


def test_steps_that_are_over_are_shown_with_their_seconds(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    clock = iter((10.0, 12.5, 12.75))
    monkeypatch.setattr(console, "monotonic", lambda: next(clock))
    with console.status("Aligning a to b:") as begin:
        for step in ("read", "match", "match", "flow"):
            begin(step)
    assert "Aligning a to b: read 2.5 s, match 0.2 s, flow" in terminal.getvalue()


def test_warnings_go_to_stderr(capsys):
    console.warn("look [here]")
    assert capsys.readouterr() == ("", "glualign: warning: look [here]\n")
