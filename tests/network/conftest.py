"""The first compact model."""

from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def first_compact():
    """The first compact model, whose outputs were recorded."""
    from glualign.checkpoints.load import load_model

    return load_model(TESTS / "golden" / "compact_v0.safetensors").model
