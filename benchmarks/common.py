"""What the scripts of this folder share."""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # glualign and the tests of this tree, whatever is installed


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser whose help is the script's docstring as it stands."""
    how = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(description=description, formatter_class=how)


def write_result(path: Path, kind: str, title: str, **content: Any) -> None:
    """Write what was measured as JSON: what it is, when and where it was measured, and the ``content``."""
    from glualign.evaluation.provenance import header, write_document

    write_document(path, {**header(kind, title), **content})


def set_constants(module: ModuleType, given: Sequence[str]) -> None:
    """Set ``NAME=VALUE`` in a module, to measure what its constants are worth."""
    for each in given:
        name, _, value = each.partition("=")
        if not hasattr(module, name):
            raise SystemExit(f"{module.__name__} has no {name}")
        setattr(module, name, ast.literal_eval(value))
