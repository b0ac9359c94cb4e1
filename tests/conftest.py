"""What all tests share: where data lies, and that a test takes one thread."""

import os
from pathlib import Path

import pytest

# Before anything imports torch: threads that wait for one another on a busy machine take many times longer.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def examples() -> Path:
    """The example pairs that ship with the repository."""
    return ROOT / "examples"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Data too large for the repository: $GLUALIGN_SHARED, or the folder `shared` beside the repository."""
    folder = Path(os.environ.get("GLUALIGN_SHARED") or ROOT.parent / "shared")
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there; GLUALIGN_SHARED names the folder of evaluation data")
    return folder
