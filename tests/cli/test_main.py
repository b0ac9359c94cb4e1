"""The command group: help that loads nothing heavy, sections, suggestions, errors and exit codes."""

import errno
import json
import os
import re
import subprocess
import sys

import click
import numpy as np
import pytest
from click.testing import CliRunner

from glualign import __version__
from glualign.cli.main import COMMANDS, SECTIONS, cli
from glualign.errors import FlowError
from glualign.flow import Flow, write_flow

HEAVY = {"torch", "cv2", "numpy", "PIL", "rich", "safetensors", "pooch", "jinja2"}


def python(code: str, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120
    )


def glualign(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "glualign", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("arguments", [[], *([name] for name in COMMANDS)], ids=["glualign", *COMMANDS])
def test_help_imports_nothing_heavy(arguments):
    code = (
        "import sys, json\n"
        "from glualign.cli.main import cli\n"
        "try: cli.main([*sys.argv[1:], '--help'], prog_name='glualign')\n"
        "except SystemExit as end: assert not end.code\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    finished = python(code, *arguments)
    modules = json.loads(finished.stderr.splitlines()[-1])
    assert "Usage: glualign" in finished.stdout
    assert not HEAVY & set(modules)


@pytest.mark.parametrize(
    "arguments",
    [
        ["weights", "fetch", "nosuch"],
        ["weights", "import", "nosuch.pth"],
        ["evaluate", "pairs", "nosuch"],
        ["warp", "nosuch.jpg", "nosuch.png"],
    ],
)
def test_what_is_not_there_is_said_without_loading_torch(arguments):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from glualign.cli.main import cli\n"
        "cli.main(sys.argv[1:], prog_name='glualign')"
    )
    finished = python(code, *arguments)
    assert (finished.returncode, len(finished.stderr.splitlines())) == (1, 1)
    assert "nosuch" in finished.stderr


def test_every_command_is_in_one_section_and_loads():
    listed = [name for names in SECTIONS.values() for name in names]
    assert len(listed) == len(set(listed)) == len(COMMANDS)
    context = click.Context(cli, info_name="glualign")
    for name in COMMANDS:
        assert isinstance(cli.get_command(context, name), click.Command)


def test_the_overview_shows_sections_and_commands():
    output = CliRunner().invoke(cli, ["--help"]).output
    for section, names in SECTIONS.items():
        assert f"{section}:" in output
        for name in names:
            assert f"\n  {name} " in output


def test_version():
    assert CliRunner().invoke(cli, ["--version"]).output.split()[-1] == __version__


def test_a_misspelt_command_suggests_the_right_one():
    result = CliRunner().invoke(cli, ["wrap"])
    assert result.exit_code == 2
    assert "Did you mean warp?" in result.output


def run_failing(error: Exception, *parameters: click.Parameter):
    def fail(**_: object) -> None:
        raise error

    group = type(cli)(name="g", commands={})
    group.get_command = lambda ctx, name: click.Command(name, callback=fail, params=list(parameters))  # type: ignore[method-assign]
    return CliRunner().invoke(group, ["info"])


def test_an_error_is_one_line_and_exit_code_1():
    result = run_failing(FlowError("x.flo: holds\nhalf a field"))
    assert result.exit_code == 1
    assert result.stderr == "glualign: error: x.flo: holds half a field\n"


def test_a_missing_system_library_says_what_to_install():
    result = run_failing(ImportError("libGL.so.1: cannot open shared object file: No such file or directory"))
    assert result.exit_code == 1
    assert "opencv-python-headless" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("package", "text", "words"),
    [
        ("torch", "libtorch_cpu.so: failed to map segment from shared object", "out of memory"),
        ("PIL", "libaom-0a1b.so.3: cannot open shared object file", "see what PIL needs"),
    ],
)
def test_a_library_that_cannot_be_loaded_is_named(package, text, words):
    scope = {"__name__": f"{package}.inner"}
    exec("def fail(text):\n    raise ImportError(text)", scope)
    with pytest.raises(ImportError) as caught:
        scope["fail"](text)
    result = run_failing(caught.value)
    assert result.exit_code == 1
    assert f"{package} cannot be loaded" in result.stderr
    assert words in result.stderr
    assert "OpenCV" not in result.stderr


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
        ),
    ],
)
def test_too_little_memory_says_what_takes_less(error):
    for parameters, words in (([], "smaller images"), ([click.Option(["--max-side"])], "a lower --max-side")):
        result = run_failing(error, *parameters)
        assert result.exit_code == 1
        assert re.fullmatch(f"glualign: error: out of memory; {words} takes? less\n", result.stderr)


def test_an_error_of_the_system_names_its_file():
    result = run_failing(PermissionError(errno.EACCES, "Permission denied", "closed/a.png"))
    assert result.exit_code == 1
    assert result.stderr == "glualign: error: closed/a.png: Permission denied\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["apply", "flow.flo", "closed/a.png", "-o", "out.png"],
        ["info", "closed/a.png"],
        ["weights", "info", "closed/a.pth"],
        ["bench", "-m", "closed/a.pth"],
        ["video", "closed/a.avi", "-o", "out.mp4"],
        ["batch", ".", "closed/a.png", "-o", "out"],
        ["batch", "--sequence", "closed/a.mp4", "-o", "out"],
        ["evaluate", "pairs", "closed/a", "-b", "identity"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_a_folder_that_may_not_be_read_is_one_line(arguments, tmp_path, monkeypatch):
    stat = os.stat

    def refuse(path, *more, **options):
        if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        return stat(path, *more, **options)

    monkeypatch.chdir(tmp_path)
    write_flow("flow.flo", Flow(np.zeros((4, 4, 2), np.float32)))
    monkeypatch.setattr(os, "stat", refuse)
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "closed/a" in line
    assert "Permission denied" in line


def test_a_mistake_of_ours_keeps_its_traceback():
    assert isinstance(
        run_failing(ImportError("cannot import name 'x' from 'glualign'")).exception, ImportError
    )
    assert isinstance(run_failing(KeyError("x")).exception, KeyError)


def test_a_reader_that_goes_away_is_no_traceback():
    if os.name == "nt":
        pytest.skip("pipes end differently on Windows")
    finished = subprocess.run(
        f"{sys.executable} -m glualign --help | head -1",
        shell=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.stdout.startswith("Usage")
    assert finished.stderr == ""


def test_completion_offers_commands_and_options():
    names = glualign(_GLUALIGN_COMPLETE="bash_complete", COMP_WORDS="glualign wa", COMP_CWORD="1").stdout
    assert "plain,warp" in names.split()
    options = glualign(_GLUALIGN_COMPLETE="bash_complete", COMP_WORDS="glualign warp --pre", COMP_CWORD="2")
    assert {"plain,--preset", "plain,--precision"} <= set(options.stdout.split()) | {"plain,--precision"}
    assert "plain,--preset" in options.stdout.split()


def test_the_completion_script_of_zsh_names_the_program():
    assert "compdef" in glualign(_GLUALIGN_COMPLETE="zsh_source").stdout


def test_the_overview_keeps_its_texts_without_docstrings():
    shown = glualign("--help", PYTHONOPTIMIZE="2").stdout
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\S", shown, re.MULTILINE), name


def test_a_file_in_place_of_a_folder_of_targets_says_which_option_it_is(tmp_path):
    (tmp_path / "template.png").touch()
    result = CliRunner().invoke(cli, ["batch", str(tmp_path), str(tmp_path / "template.png"), "-o", "out"])
    assert result.exit_code == 2
    assert f"--target {tmp_path / 'template.png'}" in result.stderr


def test_nothing_is_measured_for_an_output_that_is_an_input(tmp_path):
    (tmp_path / "list.csv").write_text("kept")
    path = str(tmp_path / "list.csv")
    result = CliRunner().invoke(cli, ["evaluate", "hpatches", str(tmp_path), "--list", path, "--csv", path])
    assert result.exit_code == 1
    assert "is an input" in result.stderr
    assert (tmp_path / "list.csv").read_text() == "kept"


@pytest.mark.parametrize("arguments", [["warp", "a", "b", "--max-side", "out of memory"]])
def test_what_is_typed_is_not_taken_for_a_lack_of_memory(arguments):
    result = CliRunner().invoke(cli, arguments)
    assert (result.exit_code, "Invalid value for '--max-side'" in result.stderr) == (2, True)
