"""What the scripts that write documentation share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
sys.path.insert(0, str(ROOT))  # glualign of this tree, whatever is installed


def write_or_check(description: str | None, wanted: Mapping[Path, str], stale: Sequence[Path] = ()) -> None:
    """Write the pages that differ and remove the stale ones; with ``--check``, exit with 1 instead."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page differs")
    check = parser.parse_args().check
    changed = [path for path, text in wanted.items() if not path.is_file() or path.read_text("utf-8") != text]
    for path in [*stale, *changed]:
        done = "out of date" if check else "removed" if path in stale else "written"
        print(f"{path.relative_to(ROOT)}: {done}")
    if check and (stale or changed):
        sys.exit(f"The documentation differs from its sources: run python {sys.argv[0]}")
    if check:
        return
    for path in stale:
        path.unlink()
    for path in changed:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path], encoding="utf-8")
