"""Arrows of imports: errors <- geometry <- flow, and neither knows PyTorch."""

import ast
from pathlib import Path

import pytest

import glualign

PACKAGE = Path(glualign.__file__).parent


def imported(folder):
    """Packages of ours, and torch, that the modules of a folder import, wherever the import stands."""
    found = set()
    for path in (PACKAGE / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found |= {name.split(".")[1] for name in names if name.startswith("glualign.")}
            found |= {"torch" for name in names if name.split(".")[0] == "torch"}
    return found - {folder}


@pytest.mark.parametrize(
    ("folder", "allowed"),
    [("geometry", {"arrays", "errors"}), ("flow", {"arrays", "errors", "files", "geometry", "images"})],
)
def test_a_package_imports_only_what_lies_below_it(folder, allowed):
    assert imported(folder) <= allowed
