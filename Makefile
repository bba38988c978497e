# Two commands do everything on a fresh clone: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
WORKERS ?= 2

.PHONY: help install install-dev demo test test-slow test-long test-matrix lint format docs package bench fidelity clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "sharewise needs Python 3.11, 3.12 or 3.13: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.installed

install: $(VENV)/.installed ## create .venv and install sharewise into it

install-dev: $(VENV)/.installed-dev ## the same with everything that development needs

demo: install ## search, extract, retrain and compare on embedded real images (about a minute and a half)
	$(BIN)/sharewise demo

test: install-dev ## the fast suite, with the examples in docstrings and documents
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

test-slow: install-dev ## reproductions and long checks at one seed or a few, as CI runs them
	$(BIN)/python -m pytest -m 'slow and not long' --timeout 1800 --numprocesses $(WORKERS) --dist worksteal --durations 40

test-long: install-dev ## the same checks in full, two hours of one core
	$(BIN)/python -m pytest -m 'slow or long' --timeout 7200 --numprocesses $(WORKERS) --dist worksteal

test-matrix: install-dev ## a short part on every Python here and on the oldest versions of the range; writes the README's table
	$(BIN)/python tests/matrix.py

lint: install-dev ## ruff, strict types and the arrows between the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install-dev ## let ruff put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install-dev ## the site, in build/site, with warnings as errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

package: install-dev ## wheel and source archive, checked, and the wheel tried in an environment of its own
	rm -rf dist build/try && mkdir -p build
	$(BIN)/python -m build --outdir dist . > build/package.log 2>&1 || (cat build/package.log; false)
	$(BIN)/python -m twine check --strict dist/*
	$(PYTHON) -m venv build/try
	build/try/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt dist/*.whl
	cd build/try && bin/sharewise doctor && bin/sharewise search --data digits --channels 2 --cells 1 --max-steps 2 --out run

bench: install-dev ## the table of speed beside plain stand-ins for its peers, judged by its goals; QUICK=1 at reduced sizes
	$(BIN)/python -m benchmarks table $(if $(QUICK),--quick)

fidelity: install-dev ## every method against a plain computation of its equations
	$(BIN)/python -m benchmarks fidelity

clean: ## remove the environment and everything that tools left behind
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
