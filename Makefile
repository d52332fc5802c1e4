# The two commands of the README are `make demo` and `make test`; `make help` lists the rest.
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8000
DEMO_DATA ?= var/demo
# The first Python of 3.11 or newer that can make a virtual environment.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
COMPILE = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q
export OMP_WAIT_POLICY := passive

.PHONY: help install demo demo-reset demo-links test lint pytest bench bench-peer requirements train clean

help:  ## List the commands
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(VENV)/.base  ## Serve the whole product with demo people and scans on http://127.0.0.1:8000
	@$(BIN)/csss demo --port $(PORT) --data-dir $(DEMO_DATA)

install: $(VENV)/.base  ## Install into .venv and start nothing

demo-reset:  ## Remove the demo's data
	rm -rf $(DEMO_DATA)

demo-links: $(VENV)/.base  ## Print new one-time sign-in links of the demo people
	@$(BIN)/csss demo-links --port $(PORT) --data-dir $(DEMO_DATA)

test: lint pytest  ## Everything: ruff, mypy, import contracts, pytest on SQLite and PostgreSQL

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@if $(BIN)/python -c "import torch, onnx" 2>/dev/null; then $(BIN)/mypy -p training; \
	else echo "The types of training/ are not checked: PyTorch is not installed (make train)."; fi
	$(BIN)/lint-imports

pytest: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 --dist loadfile

bench: $(VENV)/.base  ## Compare with the papers' pipeline (see bench/README.md for the optional peer)
	CSSS_BENCH_PEER="$${CSSS_BENCH_PEER:-$(wildcard .venv-peer/bin/python)}" $(BIN)/python -m bench

bench-peer:  ## Install the papers' pipeline beside ours (1.7 GB, in its own environment)
	$(PYTHON) -m venv .venv-peer
	.venv-peer/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt

train: $(VENV)/.base  ## Install what training needs (PyTorch); then: .venv/bin/python -m training --help
	$(PIP_INSTALL) --require-hashes -r requirements/train.txt
	$(PIP_INSTALL) torch==2.13.0

requirements: $(VENV)/.base  ## Pin again what pyproject.toml names
	$(PIP_INSTALL) uv
	$(COMPILE) pyproject.toml requirements/build.in -o requirements/base.txt
	$(COMPILE) --extra test --extra openvino pyproject.toml requirements/build.in -c requirements/base.txt -o requirements/test.txt
	$(COMPILE) requirements/train.in -c requirements/base.txt -o requirements/train.txt
	$(COMPILE) requirements/bench.in -o requirements/bench.txt

$(VENV)/.python:
	@test -n "$(PYTHON)" || { echo "CSSS needs Python 3.11 or newer with venv (on Debian: apt install python3-venv)." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.base: requirements/base.txt pyproject.toml | $(VENV)/.python
	$(PIP_INSTALL) --require-hashes -r requirements/base.txt
	$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.test: requirements/test.txt $(VENV)/.base
	$(PIP_INSTALL) --require-hashes -r requirements/test.txt
	@touch $@

clean:  ## Remove the virtual environment and caches, not the data
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
