# make demo: the demo, from nothing.   make lint: format, lint, types.
# make test: the tests, from nothing.   make test-all: the slow ones too (processes that are killed, ranks, long runs).
# make fuzz MINUTES=5: the property tests with fresh random seeds; a failure prints how to repeat it.
# make release-check: wheel and sdist in clean environments, each Python, extras without torch, lowest versions; needs a network.
# make docs: the documentation site, build/site/index.html; a warning is an error.
# Needs Python 3.11 or newer with venv, make and a package index; everything else goes into .venv.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
RUN ?= runs/demo
MINUTES ?= 5
# A process per core, but not more than the memory of most machines has room for. A file stays in one process, so that
# what its tests share is made once; files go out in the order of tests/conftest.py, the longest first.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

# Threads that wait by spinning are ten times slower when other work shares the cores.
export OMP_WAIT_POLICY ?= PASSIVE
# Bytecode is kept: tests start hundreds of processes, each of which would compile our modules again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo test test-all fuzz lint docs release-check clean

demo: .venv/.installed-lm
	$(BIN)/mixwright demo --folder $(RUN) --open

test: .venv/.installed-dev
	$(PYTEST) -m "not slow" $(PYTEST_ARGS)

test-all: .venv/.installed-dev
	$(PYTEST) $(PYTEST_ARGS)

fuzz: .venv/.installed-dev
	@end=$$($(BIN)/python -c 'import time; print(int(time.time() + 60 * $(MINUTES)))'); while [ $$(date +%s) -lt $$end ]; do \
	    seed=$$($(BIN)/python -c 'import secrets; print(secrets.randbelow(2**32))'); \
	    options="--hypothesis-profile=fuzz --hypothesis-seed=$$seed"; \
	    $(PYTEST) -m hypothesis $$options --until=$$end $(PYTEST_ARGS) || \
	        { echo "repeat a failed test: $(BIN)/python -m pytest $$options tests/FILE.py::TEST"; exit 1; }; \
	done

lint: .venv/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: .venv/.installed-docs
	$(BIN)/sphinx-build -E -c docs -W --keep-going -q $(SPHINX_ARGS) . build/site
	@echo "the site: build/site/index.html"

release-check: .venv/.made
	$(PIP) install -q uv
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python benchmarks/release.py $(RELEASE_ARGS)

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
