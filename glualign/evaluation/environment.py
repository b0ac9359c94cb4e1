"""Where a number was measured: processor, versions, commit. Nothing that identifies a person or a machine."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import glualign

_PACKAGES = ("torch", "numpy", "opencv-python", "opencv-python-headless", "pillow")


def environment() -> dict[str, Any]:
    """Processor, cores, threads, GPU, platform, versions and commit, as JSON values."""
    import torch

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
    """The processor's name, as precise as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _commit() -> str | None:
    """The commit this package was run from, with a + when its files were changed; None outside a checkout."""
    git = ["git", "-C", str(Path(glualign.__file__).parent)]
    answers = []
    for arguments in (["rev-parse", "--short=10", "HEAD"], ["status", "--porcelain", "-uno", "--", "."]):
        try:
            answers.append(subprocess.check_output([*git, *arguments], stderr=subprocess.DEVNULL, text=True))
        except (OSError, subprocess.SubprocessError):
            return None
    return answers[0].strip() + ("+" if answers[1].strip() else "")
