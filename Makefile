# Short names for tools/make.py, which needs no make.
PYTHON ?= python3.11

.PHONY: demo test check docs
demo test check:
	$(PYTHON) tools/make.py $@

docs:
	$(PYTHON) tools/make.py setup
	.venv/bin/python tools/build_cli_reference.py
