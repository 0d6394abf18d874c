# make demo: the demo, from nothing.   make test: the tests, from nothing.   make lint: format, lint, types.
# make docs: the documentation site, build/site/index.html; a warning is an error.
# Needs Python 3.11 or newer with venv, make and a package index; everything else goes into .venv.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
RUN ?= runs/demo

# Threads that wait by spinning are ten times slower when other work shares the cores.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo test lint docs clean

demo: .venv/.installed-lm
	$(BIN)/mixwright demo --folder $(RUN) --open

test: .venv/.installed-dev
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: .venv/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: .venv/.installed-docs
	$(BIN)/sphinx-build -E -c docs -W --keep-going -q $(SPHINX_ARGS) . build/site
	@echo "the site: build/site/index.html"

clean:
	rm -rf .venv build dist runs src/*.egg-info

.venv/.made:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"mixwright needs Python 3.11 or newer, found {v[0]}.{v[1]}; set it with: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	touch $@

# Editable, so that the tree is what runs. The constraints pin torch to a build for the CPU.
.venv/.installed-lm: .venv/.made pyproject.toml constraints.txt
	$(PIP) install -q -c constraints.txt -e '.[lm]'
	touch $@

.venv/.installed-docs: .venv/.made pyproject.toml constraints.txt
	$(PIP) install -q -c constraints.txt -e '.[docs]'
	touch $@

.venv/.installed-dev: .venv/.made pyproject.toml constraints.txt
	$(PIP) install -q -c constraints.txt -e '.[dev]'
	touch $@ .venv/.installed-lm .venv/.installed-docs
