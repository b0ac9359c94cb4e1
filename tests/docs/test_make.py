"""tools/make.py: the script behind the two commands of the README."""

import re
import subprocess
import sys

import pytest


@pytest.fixture
def make(tool):
    return tool("make")


def test_it_needs_nothing_but_python(root):
    # -S leaves site-packages out, as on a machine where nothing is installed.
    command = [sys.executable, "-S", "tools/make.py", "--help"]
    finished = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
    assert finished.returncode == 0, finished.stderr
    assert "tools/make.py demo" in finished.stdout


def test_the_readme_names_targets_that_exist(root, make):
    for document in ("README.md", "CONTRIBUTING.md"):
        text = (root / document).read_text("utf-8")
        named = re.findall(r"tools/make\.py (\w+)", text)
        assert named
        assert set(named) <= {"test", *make.TARGETS}


def test_every_check_runs_a_tool_that_exists(root, make):
    scripts = [command[0] for _, command in make.CHECKS if not command[0].startswith("-")]
    assert scripts
    assert all((root / script).is_file() for script in scripts)


def test_docs_writes_every_page_that_is_checked(make, tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(make.Environment, "install", lambda self, extra: None)
    monkeypatch.setattr(make.Environment, "run", lambda self, *command: ran.append([*command, "--check"]))
    make.docs(make.Environment(tmp_path))
    assert ran == [command for _, command in make.CHECKS if command[-1] == "--check" and command[0] != "-m"]


def test_a_second_setup_does_nothing_until_requirements_change(make, tmp_path, monkeypatch):
    calls = []
    environment = make.Environment(tmp_path / "venv")
    monkeypatch.setattr(make.Environment, "pip", lambda self, *arguments: calls.append(arguments))
    monkeypatch.setattr(make.Environment, "_make_opencv_importable", lambda self: None)
    environment.bin.mkdir(parents=True)
    environment.python.touch()
    environment.install("dev")
    environment.install("dev")
    assert len(calls) == 1
    monkeypatch.setattr(make.Environment, "_state", lambda self: "other requirements")
    environment.install("dev")
    assert len(calls) == 2


def test_a_failing_step_ends_with_its_exit_code(make, tmp_path):
    environment = make.Environment(tmp_path)
    environment.python = sys.executable
    with pytest.raises(SystemExit) as ended:
        environment.run("-c", "raise SystemExit(7)")
    assert ended.value.code == 7
