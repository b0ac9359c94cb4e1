"""Flow fields: helpers and tests."""
