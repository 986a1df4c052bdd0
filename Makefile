# Two commands matter: `make demo` and `make test`. Both make the environment first.
PYTHON ?= python3
BIN := .venv/bin
SHELL := /bin/bash

.PHONY: setup demo test test-long check bench lock
.DEFAULT_GOAL := setup

setup: .venv/ready

# A torch that is already installed and new enough is kept (it may be the CUDA build that this machine needs);
# otherwise the pinned one is installed, also where the one at hand is another virtual environment's, which the new one
# cannot see. TORCH=no leaves it out: enough to check, render and comment, not to train.
.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "blueberry needs Python 3.11 or newer: make PYTHON=python3.12"; exit 1; }
	@if [ "$(TORCH)" = no ]; then \
	  $(PYTHON) -m venv .venv && grep -v '^torch==' requirements.lock > .venv/requirements.txt; \
	elif $(PYTHON) -c 'import sys, torch; raise SystemExit(sys.prefix != sys.base_prefix or tuple(map(int, torch.__version__.split(".")[:2])) < (2, 11))' 2>/dev/null; then \
	  $(PYTHON) -m venv --system-site-packages .venv && grep -v '^torch==' requirements.lock > .venv/requirements.txt; \
	else \
	  $(PYTHON) -m venv .venv && cp requirements.lock .venv/requirements.txt; \
	fi
	@echo "installing the environment (a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r .venv/requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@command -v bwrap >/dev/null || echo "install bubblewrap for the better sandbox (Debian, Ubuntu: sudo apt-get install bubblewrap)"
	@touch $@

demo: setup
	@$(BIN)/blueberry demo

test: setup
	$(BIN)/python -m pytest -m "not long" -n 2 --dist loadfile --no-loadscope-reorder

test-long: setup
	$(BIN)/python -m pytest -m long

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check harness tests benchmarks
	$(BIN)/mypy
	.ci/lint-workflows

bench: setup
	for name in throughput floor memory overhead sandbox tolerances rho board pages; do echo "== $$name"; $(BIN)/python benchmarks/$$name.py || exit 1; done

lock:
	{ head -2 requirements.lock; $(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//'; } > requirements.new && mv requirements.new requirements.lock
