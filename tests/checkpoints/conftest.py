"""A cache of its own and a Drive of its own for every test of this folder."""

import io

import pytest
import torch
from checkpoint_files import official_state
from fake_drive import running_drive

from glualign.checkpoints.download import Limits


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("GLUALIGN_CACHE", str(folder))
    monkeypatch.delenv("GLUALIGN_OFFLINE", raising=False)
    # Should a test forget to name its server, nothing leaves this machine.
    monkeypatch.setenv("GLUALIGN_DRIVE_URL", "http://127.0.0.1:9")
    return folder


@pytest.fixture(scope="session")
def official_bytes():
    """An official-layout GLU-Net file: full shapes, small file."""
    stream = io.BytesIO()
    torch.save(official_state("glunet"), stream)
    return stream.getvalue()


@pytest.fixture
def drive(official_bytes, monkeypatch):
    with running_drive(official_bytes) as server:
        monkeypatch.setenv("GLUALIGN_DRIVE_URL", server.url)
        yield server


@pytest.fixture
def hurry():
    """As patient as a test can be."""
    return Limits(attempts=3, seconds=60.0, silence=0.5, backoff=0.01)
