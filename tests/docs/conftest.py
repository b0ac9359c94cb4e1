"""What tests of the folder `tools` share."""

import importlib

import pytest


@pytest.fixture
def tool(root, monkeypatch):
    """Import a script of that folder by its name."""
    monkeypatch.syspath_prepend(root / "tools")
    return importlib.import_module
