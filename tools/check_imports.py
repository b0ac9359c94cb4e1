"""Import every module of glualign and write out the help of every command; PyTorch may be missing.

python tools/check_imports.py
"""

from __future__ import annotations

import compileall
import importlib
import pkgutil
import sys
from pathlib import Path

import build_cli_reference

import glualign

LARGE = ("torch", "safetensors", "ray")
"""Packages that this check does without: modules that need one of them are compiled, not imported."""


def main() -> None:
    """Check, print one line, and exit with 1 when something cannot be imported."""
    (folder,) = map(Path, glualign.__path__)
    if not compileall.compile_dir(folder, quiet=1, force=True):
        sys.exit(1)
    imported, left = 0, 0
    for module in pkgutil.walk_packages(glualign.__path__, "glualign.", onerror=lambda name: None):
        if module.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] not in LARGE:
                raise
            left += 1
        else:
            imported += 1
    helped = len(build_cli_reference.pages())
    python = ".".join(map(str, sys.version_info[:3]))
    print(f"Python {python}: {imported} modules imported, {left} need PyTorch, {helped} pages of help")


if __name__ == "__main__":
    main()
