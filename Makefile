# Everything a developer types. `make help` lists it; each target does its own set-up first.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
export PYTHONPATH := $(CURDIR)
# uv trusts what the machine trusts, as pip and git do.
export UV_SYSTEM_CERTS := 1

# The coverage gates, in percent, branches included.
COVERAGE_CORE ?= 100
COVERAGE_OVERALL ?= 95
# Set to 1 (CI does) to turn a missing tool or server into a failure instead of a skip.
REQUIRE_LIVE ?=
# How many processes share the tests, a file at a time.
PROCESSES ?= 2
# More arguments for pytest, for example: make test PYTEST_ARGS='-k upload'
PYTEST_ARGS ?=
# Further registries as columns of the benchmark: make bench PEERS='distribution zot=/path/to/zot'
PEERS ?=
# More arguments for it, for example: make bench BENCH_ARGS='--rounds 5 --picture docs/performance.svg'
BENCH_ARGS ?=

LIVE_FLAG := $(if $(REQUIRE_LIVE),--require-live)

.PHONY: help setup tools run test check lint format typecheck domain conformance image image-test bench docs lock clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

# The stamps make the environment follow the lock files: it is touched only when one of them changed.
$(VENV)/runtime.stamp: requirements.lock scripts/install-python-packages
	scripts/install-python-packages "$(PYTHON)" $(VENV) requirements.lock
	@touch $@

$(VENV)/development.stamp: requirements-dev.lock scripts/install-python-packages
	scripts/install-python-packages "$(PYTHON)" $(VENV) requirements-dev.lock
	@touch $@ $(VENV)/runtime.stamp

setup: $(VENV)/development.stamp ## Create .venv with everything the lock file names

tools: setup ## Install the clients and servers that the end-to-end tests drive (all of them as root on Debian)
	scripts/install-test-tools

run: $(VENV)/runtime.stamp ## Serve on port 5000 from ./var/registry
	@mkdir -p var/registry
	exec $(BIN)/python -m entrypoints.cli serve config/config-dev.yml

test: lint typecheck tools ## Every check and every test, with the coverage gates
	$(BIN)/python -m pytest --numprocesses=$(PROCESSES) --dist=loadfile --cov --cov-report=term:skip-covered --cov-fail-under=$(COVERAGE_OVERALL) --durations=10 \
		$(LIVE_FLAG) $(PYTEST_ARGS)
	$(BIN)/coverage report --include='core/*' --fail-under=$(COVERAGE_CORE)

check: test ## The same as test: what CI runs

lint: setup ## Style, formatting and the dependency rule
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

typecheck: setup ## mypy, strict
	$(BIN)/mypy

format: setup ## Format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

domain: setup ## The domain suite alone: in-memory adapters, no network, seconds
	$(BIN)/python -m pytest tests/unit/core $(PYTEST_ARGS)

conformance: tools ## The OCI conformance suite alone
	$(BIN)/python -m pytest tests/e2e/test_conformance.py --require-live $(PYTEST_ARGS)

image: ## Build the container image with buildah
	buildah build --format docker --tag sohu-registry .

image-test: tools ## Build the image on a base made by debootstrap and try it (root, a minute)
	$(BIN)/python -m pytest -m image --require-live $(PYTEST_ARGS)

bench: tools ## Measure ours and Debian's docker-registry side by side
	$(BIN)/python -m tests.benchmarks --peers '$(PEERS)' $(BENCH_ARGS)

docs: setup ## Check the documents: links, and that they say what the code says
	$(BIN)/python -m pytest tests/architecture $(PYTEST_ARGS)

lock: setup ## Write the lock files anew from pyproject.toml
	scripts/lock $(BIN)/uv

clean: ## Remove what the targets above made, but no stored image
	rm -rf $(VENV) .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist *.egg-info
	rm -f .coverage .coverage.*
