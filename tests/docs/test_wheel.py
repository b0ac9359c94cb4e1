"""The wheel carries everything that the installed tool needs."""

import importlib.util
import subprocess
import sys
import zipfile

import pytest


@pytest.mark.slow
def test_the_wheel_carries_weights_recipes_and_templates(root, tmp_path):
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        ".",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
    ]
    finished = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    (wheel,) = tmp_path.glob("glualign-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {
        "glualign/weights/compact.safetensors",
        "glualign/weights/registry.toml",
        "glualign/py.typed",
    } <= names
    packaged = {path.relative_to(root / "glualign").as_posix() for path in (root / "glualign").rglob("*.py")}
    assert {f"glualign/{name}" for name in packaged} <= names
    data = [path for path in (root / "glualign").rglob("templates/*") if path.is_file()]
    assert {path.relative_to(root).as_posix() for path in data} <= names
    assert {f"glualign/recipes/{path.name}" for path in (root / "recipes").glob("*.toml")} <= names
    assert not [name for name in names if name.startswith("tests/") or "__pycache__" in name]
