# Short names for tools/make.py, which needs no make.
PYTHON ?= python3.11

.PHONY: demo test check docs
demo test check docs:
	$(PYTHON) tools/make.py $@
