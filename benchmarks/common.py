"""What the scripts of this folder share."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Sequence
from types import ModuleType


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser whose help is the script's docstring as it stands."""
    how = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(description=description, formatter_class=how)


def set_constants(module: ModuleType, given: Sequence[str]) -> None:
    """Set ``NAME=VALUE`` in a module, to measure what its constants are worth."""
    for each in given:
        name, _, value = each.partition("=")
        if not hasattr(module, name):
            raise SystemExit(f"{module.__name__} has no {name}")
        setattr(module, name, ast.literal_eval(value))
