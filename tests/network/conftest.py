"""The golden cases on the path, and the first compact model."""

import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
# The golden cases also serve the parity table of the documentation.
sys.path.insert(0, str(TESTS / "golden"))


@pytest.fixture(scope="session")
def first_compact():
    """The first compact model, whose outputs were recorded."""
    from glualign.checkpoints.load import load_model

    return load_model(TESTS / "golden" / "compact_v0.safetensors").model
