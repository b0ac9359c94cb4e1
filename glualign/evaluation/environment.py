"""Where a number was measured: processor, versions, commit. Nothing that identifies a person or a machine."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import glualign

_PACKAGES = ("torch", "numpy", "opencv-python", "opencv-python-headless", "pillow")


def environment() -> dict[str, Any]:
    """Processor, cores, threads, GPU, platform, versions and commit, as JSON values."""
    import torch

    versions = {"glualign": glualign.__version__}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "cpu": _cpu_model(),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "platform": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
        "commit": _commit(),
    }


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_model() -> str:
    """The processor's name, as precise as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _commit() -> str | None:
    """The commit this package was run from, with a + when its files were changed; None outside a checkout."""
    git = ["git", "-C", str(Path(glualign.__file__).parent)]
    answers = []
    for arguments in (["rev-parse", "--short=10", "HEAD"], ["status", "--porcelain", "-uno", "--", "."]):
        try:
            done = subprocess.run([*git, *arguments], capture_output=True, text=True, timeout=20, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        answers.append(done.stdout.strip())
    head, changed = answers
    return head + ("+" if changed else "")
