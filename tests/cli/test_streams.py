"""What reaches the terminal: no control characters of others, one line when it cannot be written."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pytest
from click.testing import CliRunner

from glualign.cli.main import cli
from glualign.cli.streams import escaped
from glualign.flow import from_transform, write_flow
from glualign.images import write_image

EVIL = "a\x1b]0;title\x07\x1b[2J\x9b31m\u202eb"


def glualign(*arguments, **options) -> subprocess.CompletedProcess:
    environment = {**os.environ, **options.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-m", "glualign", *map(str, arguments)],
        **{"capture_output": True, "timeout": 120, "env": environment, **options},
    )


@pytest.fixture
def flow_file(tmp_path):
    write_flow(tmp_path / "id.flo", from_transform(np.eye(3), (10, 10)))
    return tmp_path / "id.flo"


def image(path):
    write_image(path, np.zeros((10, 10, 3), np.uint8))
    return path


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("żółw 写真 \t", "żółw 写真 \\u0009"),
        ("\x1b[2J", "\\u001b[2J"),
        ("\x9b1m\x7f", "\\u009b1m\\u007f"),
        ("\u2028\u202e\u2066", "\\u2028\\u202e\\u2066"),
        ("caf\udce9", "caf\\udce9"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text, shown):
    assert escaped(text) == shown
    assert escaped(escaped(text)) == shown


def test_what_an_encoding_lacks_is_escaped_as_json_does():
    assert escaped("é写😀", encoding="cp1252") == "é\\u5199\\ud83d\\ude00"
    assert json.loads('"' + escaped("é写😀", encoding="ascii") + '"') == "é写😀"


@pytest.mark.parametrize(
    "arguments",
    [
        ["apply", "FLOW", "IMAGE", "-o", "OUT"],
        ["apply", "FLOW", "IMAGE", "-o", "OUT", "--json"],
        ["apply", "FLOW", EVIL + "missing.png"],
        ["info", "IMAGE"],
        ["info", "IMAGE", "--json"],
        ["warp", EVIL, EVIL],
        ["warp", "IMAGE", "IMAGE", "-o", "OUT", "--model", EVIL],
        ["warp", "IMAGE", "IMAGE", "-o", "OUT", "--fill", EVIL],
        ["warp", "IMAGE", "IMAGE", "-o", "OUT", EVIL],
        [EVIL],
        ["convert", "IMAGE", EVIL],
        ["viz", EVIL, "-o", "OUT/x.png"],
        ["report", EVIL, EVIL, "-o", "OUT/x.html"],
        ["weights", "info", EVIL],
        ["batch", "--pairs", EVIL, "-o", "OUT"],
        ["evaluate", "pairs", EVIL],
    ],
    ids=lambda arguments: " ".join(arguments).replace(EVIL, "EVIL"),
)
def test_no_escape_of_a_name_reaches_the_terminal(tmp_path, flow_file, arguments):
    (tmp_path / "in").mkdir()
    names = {
        "FLOW": flow_file,
        "IMAGE": image(tmp_path / "in" / f"{EVIL}.png"),
        "OUT": tmp_path / "out",
        "OUT/x.png": tmp_path / "x.png",
        "OUT/x.html": tmp_path / "x.html",
    }
    result = CliRunner().invoke(cli, [str(names.get(word, word)) for word in arguments])
    assert not isinstance(result.exception, Exception) or isinstance(result.exception, SystemExit)
    printed = result.stdout + result.stderr
    assert printed
    assert not set(printed) & set("\x1b\x07\x9b\u202e")
    if "--json" in arguments:
        json.loads(result.stdout)


@pytest.mark.skipif(os.name == "nt", reason="names that Windows does not allow")
@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "utf-8:strict", "ascii"])
@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_names_that_the_output_cannot_encode_are_shown_escaped(tmp_path, flow_file, encoding, json_option):
    name = os.fsdecode("写真-caf".encode() + b"\xe9.png")  # as old archives have it
    image(tmp_path / name)
    result = glualign(
        "apply", flow_file, tmp_path / name, "-o", tmp_path / "out", *json_option,
        env={"PYTHONIOENCODING": encoding},
    )  # fmt: skip
    assert (result.returncode, result.stderr) == (0, b"")
    assert len(list((tmp_path / "out").iterdir())) == 1
    if json_option:
        output = json.loads(result.stdout.decode(encoding.split(":")[0]))["results"][0]["output"]
        assert os.path.exists(output)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("command", ["apply", "info", "json", "help"])
def test_a_full_disk_behind_stdout_is_one_line(tmp_path, flow_file, command):
    arguments = {
        "apply": ["apply", flow_file, image(tmp_path / "a.png"), "-o", tmp_path / "out"],
        "info": ["info", flow_file],
        "json": ["info", flow_file, "--json"],
        "help": ["--help"],
    }[command]
    with open("/dev/full", "w") as full:
        result = glualign(*arguments, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert result.returncode == 1
    (line,) = result.stderr.decode().splitlines()
    assert line.startswith("glualign: error: standard output: cannot be written")


@pytest.mark.skipif(os.name == "nt", reason="shells of POSIX")
@pytest.mark.parametrize(
    ("redirection", "code", "lines"),
    [(">&-", 1, 1), (">&- 2>&-", 1, 0), ("| true", 0, 0), ("2>/dev/full", 0, 0), ("2>&-", 0, 0)],
)
def test_closed_streams_are_at_most_one_line(flow_file, redirection, code, lines):
    line = f"{sys.executable} -m glualign info {flow_file} {redirection}"
    result = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=120)
    assert result.returncode == code
    assert len(result.stderr.splitlines()) == lines


def test_an_error_keeps_its_exit_code_when_stderr_is_full():
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    with open("/dev/full", "w") as full:
        result = glualign("info", "nowhere", capture_output=False, stdout=subprocess.PIPE, stderr=full)
    assert result.returncode == 1


def test_colour_that_is_forced_leaves_no_spinner_in_a_log(tmp_path, capsys, monkeypatch):
    from glualign.cli import console

    monkeypatch.setenv("FORCE_COLOR", "1")
    with console.status("Working ..."):
        pass
    assert capsys.readouterr() == ("", "")


def test_an_interruption_is_one_line_and_the_code_of_shells():
    import click

    def interrupt() -> None:
        raise KeyboardInterrupt

    group = type(cli)(name="g", commands={})
    group.get_command = lambda ctx, name: click.Command(name, callback=interrupt)  # type: ignore[method-assign]
    result = CliRunner().invoke(group, ["info"])
    assert result.exit_code == 130
    assert result.stderr == "glualign: interrupted\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows ends processes without asking")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_no_file_of_standard_input(tmp_path, flow_file, number, code):
    (tmp_path / "tmp").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "glualign", "apply", str(flow_file), "-", "-o", str(tmp_path / "out.png")],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
        # A shell in the background has SIGINT ignored, and those that it starts as well.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not list((tmp_path / "tmp").iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert list((tmp_path / "tmp").iterdir())
    time.sleep(0.5)  # until it waits for the input
    process.send_signal(number)
    with suppress(subprocess.TimeoutExpired):
        process.wait(20)
    process.stdin.close()  # a signal that came on the way there is noticed now
    assert process.wait(60) == code
    assert process.stderr.read() == b"glualign: interrupted\n"
    assert not list((tmp_path / "tmp").iterdir())
    process.stderr.close()


def test_the_signal_handler_of_the_caller_comes_back():
    before = signal.getsignal(signal.SIGTERM)
    CliRunner().invoke(cli, ["--version"])
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")
def test_a_terminal_gets_colours_and_seconds_and_no_escape_of_a_name(tmp_path):
    """The spinner's own codes pass; those of the name that it shows do not."""
    import pty

    code = (
        "import time; from glualign.cli.console import status, warn\n"
        "from glualign.cli.streams import safe_streams\n"
        "with safe_streams():\n    with status('Aligning \\x1b[2Jx ...'): time.sleep(0.5); warn('n\\x1b[2Jx')"
    )
    main, other = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", code], stdout=other, stderr=other, stdin=other) as process:
        process.wait(60)
    os.close(other)
    shown = os.read(main, 100_000).decode()
    os.close(main)
    assert "\x1b[2J" not in shown
    assert "Aligning \\u001b[2Jx" in shown
    assert "warning: n\\u001b[2Jx" in shown
    assert "0:00:00" in shown
    assert "\\u001b[3" not in shown


def test_tables_in_a_log_have_no_colours(flow_file):
    result = glualign("info", flow_file, env={"FORCE_COLOR": "1"})
    assert b"\x1b" not in result.stdout
    assert b"u001b" not in result.stdout


def test_key_points_pass_through_a_pipe_in_the_format_that_is_said(flow_file):
    arguments = ["apply", str(flow_file), "-", "-o", "-", "--format", "csv"]
    moved = CliRunner().invoke(cli, arguments, input="x,y\n3,4\n")
    assert (moved.exit_code, moved.stdout) == (0, "x,y\n3.0000,4.0000\n"), moved.output
    wrong = CliRunner().invoke(cli, arguments, input=b"\x89PNG\r\n\x1a\n")
    assert (wrong.exit_code, "Error: stdin.png does not fit into stdout.csv" in wrong.stderr) == (2, True)
