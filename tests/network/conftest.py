"""The model that ships."""

import pytest


@pytest.fixture(scope="session")
def compact():
    """The shipped model, whose outputs were recorded."""
    from glualign.checkpoints.load import load_model

    return load_model("compact").model
