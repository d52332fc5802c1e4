PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
COMPILE = $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -q

.PHONY: demo test bench requirements clean

requirements:  ## Pin again what pyproject.toml names (needs uv in the virtual environment)
	$(COMPILE) pyproject.toml requirements/build.in -o requirements/base.txt
	$(COMPILE) --extra test pyproject.toml requirements/build.in -c requirements/base.txt -o requirements/test.txt
