"""JSON documents of measurements, and what each says of when and where it was measured."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import glualign
from glualign.files import json_values, write_text

_PACKAGES = ("torch", "numpy", "opencv-python", "opencv-python-headless", "pillow")
_DIGITS = 6  # digits after the point; more is noise that makes two documents look different


def header(kind: str, title: str) -> dict[str, Any]:
    """What every JSON document of measurements begins with: what, when and where it was measured."""
    date = datetime.now(timezone.utc).date().isoformat()
    return {"kind": kind, "title": title, "date": date, "machine": machine()}


def machine() -> dict[str, Any]:
    """Where a number was measured: processor, cores, threads, GPU, platform, versions and commit.

    Nothing in it identifies a person or a machine.
    """
    import torch  # seconds, which a command whose arguments are wrong does not take

    installed = {found.metadata["Name"].lower(): found.version for found in distributions()}
    return {
        "cpu": _cpu_model(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {"glualign": glualign.__version__}
        | {name: installed[name] for name in _PACKAGES if name in installed},
        "commit": _commit(),
    }


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_model() -> str:
    with suppress(OSError):
        found = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE)
        return found[1] if found else platform.machine()
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """The commit this package was run from, with a + when its files were changed; None outside a checkout."""
    git = ["git", "-C", str(Path(glualign.__file__).parent)]
    commands = (
        ["ls-files", "--error-unmatch", "__init__.py"],  # fails where another checkout holds the environment
        ["rev-parse", "--short=10", "HEAD"],
        ["status", "--porcelain", "-uno", "--", "."],
    )
    with suppress(OSError, subprocess.SubprocessError):
        _, head, changes = (
            subprocess.check_output([*git, *arguments], stderr=subprocess.DEVNULL, text=True).strip()
            for arguments in commands
        )
        return head + "+" * bool(changes)
    return None


def write_document(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON document, atomically; NaN becomes null."""
    rounded = json.loads(
        json.dumps(json_values(content)), parse_float=lambda text: round(float(text), _DIGITS)
    )
    write_text(path, json.dumps(rounded, indent=1, ensure_ascii=False) + "\n")
