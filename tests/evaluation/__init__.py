"""Evaluation: helpers and tests."""
