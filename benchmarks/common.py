"""What the scripts of this folder share."""

from __future__ import annotations

import argparse
import ast
import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

from glualign.evaluation.tables import environment
from glualign.files import write_text


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser whose help is the script's docstring as it stands."""
    how = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(description=description, formatter_class=how)


def write_result(path: Path, kind: str, **content: Any) -> None:
    """Write what was measured as JSON: what it is, when and where it was measured, and the ``content``."""
    head = {"kind": kind, "date": date.today().isoformat(), "machine": environment()}
    write_text(path, json.dumps({**head, **content}, indent=1) + "\n")


def set_constants(module: ModuleType, given: Sequence[str]) -> None:
    """Set ``NAME=VALUE`` in a module, to measure what its constants are worth."""
    for each in given:
        name, _, value = each.partition("=")
        if not hasattr(module, name):
            raise SystemExit(f"{module.__name__} has no {name}")
        setattr(module, name, ast.literal_eval(value))
