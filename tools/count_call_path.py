"""Functions and files of the package that `glualign warp` passes, from the command line to the files written.

    python tools/count_call_path.py                      counts, with an example pair
    python tools/count_call_path.py --list               every function, in the order in which it was entered
    python tools/count_call_path.py SOURCE TARGET        another pair

What is counted is the call path of one run with the default options: every Python function, method and
property under `glualign/` that was entered at least once. Module and class bodies, which run at import, and
code made by the standard library (dataclasses, named tuples) are not; comprehensions and lambdas belong to
their function.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = str(ROOT / "glualign")
sys.path.insert(0, str(ROOT))  # the package of this tree, whatever is installed

INNER = ("<module>", "<lambda>", "<listcomp>", "<genexpr>", "<dictcomp>", "<setcomp>")


def main() -> int:
    """Count, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", nargs="?", default=ROOT / "examples" / "graf3.png")
    parser.add_argument("target", nargs="?", default=ROOT / "examples" / "graf1.png")
    parser.add_argument("--preset", default="balanced")
    parser.add_argument("--list", action="store_true", dest="listed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        options = ["--preset", arguments.preset, "-o", f"{folder}/out.png"]
        passed = trace(["warp", str(arguments.source), str(arguments.target), *options])
    files = Counter(path for path, _ in passed)
    if arguments.listed:
        for path, name in passed:
            print(f"{Path(path).relative_to(ROOT)}: {name}")
    for path, count in sorted(files.items(), key=lambda entry: (-entry[1], entry[0])):
        print(f"{count:4d}  {Path(path).relative_to(ROOT)}")
    print(f"{len(passed)} functions in {len(files)} files")
    return 0


def trace(arguments: list[str]) -> list[tuple[str, str]]:
    """Run the command line; (file, qualified name) of each function entered, in order of first entry."""
    passed: dict[tuple[str, str], None] = {}

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(PACKAGE):
            return
        name = getattr(code, "co_qualname", code.co_name)
        is_class_body = "__qualname__" in code.co_names[:3] and code.co_argcount == 0
        if code.co_name not in INNER and not is_class_body:
            passed[code.co_filename, name] = None

    from glualign.cli.main import main as run

    # Readers and writers have threads of their own.
    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
            sys.argv = ["glualign", *arguments]
            run()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    return list(passed)


if __name__ == "__main__":
    sys.exit(main())
