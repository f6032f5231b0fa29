# Every command of a developer. `make help` lists them; each target does its own set-up first.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
UV := .cache/uv/bin/uv
# uv trusts the certificates of the machine, as pip and git do, and uses the Python that is here.
export UV_SYSTEM_CERTS := 1
export UV_PYTHON_DOWNLOADS := never
# Python keeps what it compiled, so the many servers that the tests start need half the time: an image of Python may
# turn that off by this variable.
export PYTHONDONTWRITEBYTECODE :=
SYNC := $(UV) sync --frozen --quiet --python "$(PYTHON)"

IMAGE := sohu-registry:0.1.0

# The port of `make run`.
PORT ?= 5000
# The coverage gates, in percent, branches included.
COVERAGE_CORE ?= 100
COVERAGE_OVERALL ?= 95
# Set to 1 (CI does) to turn a missing tool or server into a failure instead of a skip.
REQUIRE_LIVE ?=
# How many processes share the tests, a file at a time: more than two for each core, because many tests wait.
PROCESSES ?= 5
# The versions of Python that `make pythons` tests.
PYTHONS ?= 3.11 3.12 3.13
# More arguments for pytest, for example: make test PYTEST_ARGS='-k upload'
PYTEST_ARGS ?=
# Further registries as columns of the benchmark: make bench PEERS='distribution zot=/path/to/zot'
PEERS ?=
# More arguments for the benchmark, for example: make bench BENCH_ARGS='--rounds 5 --picture docs/performance.svg'
BENCH_ARGS ?=
# What `make release` builds the image on and for, and the registry that it pushes to: RELEASE_TO=registry.example.com/team
RELEASE_BASE = $(or $(BASE_IMAGE),docker.io/library/python:3.11-slim)
RELEASE_PLATFORMS ?= amd64 arm64
RELEASE_TO ?=
# Arguments for the part on an S3 server: make bench STORE_BENCH_ARGS='distribution=/path/to/registry --rounds 5'
STORE_BENCH_ARGS ?=
# Arguments for the part about pull-through caches: make bench CACHE_BENCH_ARGS='ours docker-registry --rounds 1'
CACHE_BENCH_ARGS ?=

LIVE_FLAG := $(if $(REQUIRE_LIVE),--require-live)
PYTEST := $(BIN)/python -m pytest --numprocesses=$(PROCESSES) --dist=loadfile --no-loadscope-reorder $(LIVE_FLAG)

.PHONY: help setup tools run check test pythons lint format typecheck domain conformance wheel image image-test release version bench settings screenshots docs docs-check lock clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

$(UV): scripts/uv.lock scripts/install-uv
	scripts/install-uv "$(PYTHON)" .cache/uv

setup: $(UV) ## Create .venv with the versions of uv.lock, and the command .venv/bin/registry
	$(SYNC) --all-extras

tools: setup ## Install the clients and servers that the end-to-end tests drive (as root on Debian)
	scripts/install-test-tools

run: $(UV) ## Serve ./var/registry on port 5000 (another port: make run PORT=5001)
	$(SYNC) --no-default-groups --inexact
	@mkdir -p var/registry
	REGISTRY_HTTP_ADDR=:$(PORT) exec $(BIN)/registry serve config/config-dev.yml

check: ## Lint, types, unit and contract tests with the tools that are installed; needs no root
	@$(MAKE) --jobs=2 --output-sync=line lint typecheck
	$(PYTEST) tests/unit tests/contracts tests/architecture $(PYTEST_ARGS)

test: ## Install the tools of the tests, then run every check and every test, with the coverage gates
	@$(MAKE) --jobs=3 --output-sync=line lint typecheck tools
	$(PYTEST) --cov --cov-report=term:skip-covered --cov-fail-under=$(COVERAGE_OVERALL) --durations=10 $(PYTEST_ARGS)
	$(BIN)/coverage report --include='core/*' --fail-under=$(COVERAGE_CORE)

# A python3.13 that pyenv has installed but not selected fails when it is called; PYENV_VERSION selects all.
pythons: export PYENV_VERSION := $(shell pyenv versions --bare 2>/dev/null | grep -E '^3\.1[1-9]' | paste -sd:)
pythons: tools ## Run the domain, contract, adapter and HTTP tests on each version of Python in PYTHONS
	@for version in $(PYTHONS); do \
	  echo "Python $$version"; \
	  export UV_PROJECT_ENVIRONMENT=.cache/python-$$version; \
	  $(UV) sync --frozen --quiet --all-extras --python $$version; \
	  $$UV_PROJECT_ENVIRONMENT/bin/python -m pytest --numprocesses=$(PROCESSES) --dist=loadfile $(LIVE_FLAG) \
	    tests/unit tests/contracts tests/adapters tests/http $(PYTEST_ARGS); \
	done

lint: setup ## Style, formatting and the dependency rule
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

typecheck: setup ## mypy, strict
	$(BIN)/mypy

format: setup ## Format the code and apply the fixes of ruff
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

domain: setup ## The domain suite alone, in half a minute: in-memory adapters, no network
	$(BIN)/python -m pytest --numprocesses=auto --dist=worksteal tests/unit/core $(PYTEST_ARGS)

conformance: tools ## The OCI conformance suite alone
	$(BIN)/python -m pytest tests/e2e/test_conformance.py --require-live $(PYTEST_ARGS)

wheel: $(UV) ## Build dist/sohu_registry-VERSION-py3-none-any.whl, for pipx, `uv tool install` or a virtual environment
	$(UV) build --offline --wheel --python "$(PYTHON)" --out-dir dist

# The date of the commit, so that the same commit makes the same label.
image: ## Build the container image with buildah (BASE_IMAGE=name@sha256:… pins its base; PIP_INDEX_URL=… is a mirror)
	buildah build --format docker $(foreach name,BASE_IMAGE PIP_INDEX_URL,$(if $($(name)),--build-arg "$(name)=$($(name))")) \
	  --build-arg "REVISION=$$(git rev-parse HEAD)" \
	  --build-arg "CREATED=$$(TZ=UTC git log -1 --format=%cd --date=format-local:%FT%TZ)" --tag $(IMAGE) .

image-test: tools ## Build the image on a base made by mmdebstrap and try it (root)
	$(BIN)/python -m pytest -m image --require-live $(PYTEST_ARGS)

release: tools ## Build all files of the version into dist/ (docs/releasing.md; RELEASE_TO=HOST/NAMESPACE pushes them too)
	$(BIN)/python -m scripts.release --base-image '$(RELEASE_BASE)' --platforms '$(RELEASE_PLATFORMS)' \
	  --pip-index-url '$(PIP_INDEX_URL)' --to '$(RELEASE_TO)'

version: setup ## Write a new version wherever one is named, and date CHANGELOG.md: make version VERSION=1.2.3
	$(BIN)/python -m scripts.release.version '$(VERSION)'

bench: tools ## Measure this registry and Debian's docker-registry side by side: on a folder, on an S3 server, as a cache
	$(BIN)/python -m tests.benchmarks --peers '$(PEERS)' $(BENCH_ARGS)
	$(BIN)/python -m tests.benchmarks.object_store $(STORE_BENCH_ARGS)
	$(BIN)/python -m tests.benchmarks.pull_through $(CACHE_BENCH_ARGS)

settings: setup ## Write the JSON Schema and the reference pages in docs/ from the settings, the parser and the routes
	$(BIN)/python -m tests.support.configuration_docs
	$(BIN)/python -m tests.support.reference_pages
	$(BIN)/python -m tests.support.sizing --write

screenshots: tools ## Write the pictures of the web page that the README shows, docs/pictures
	$(BIN)/python -m tests.support.screenshots

docs: $(UV) ## Build the documentation site in dist/docs; a broken link is an error
	scripts/build-docs

docs-check: setup ## Check the documents: links, commands and configurations in them, and agreement with the code
	$(BIN)/python -m pytest tests/architecture $(PYTEST_ARGS)

lock: $(UV) ## Write uv.lock from pyproject.toml (UPGRADE=1 takes new versions)
	$(UV) lock $(if $(UPGRADE),--upgrade)

clean: ## Remove what the targets above made; stored images stay
	rm -rf .venv .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist *.egg-info
	rm -f .coverage .coverage.*
	find core adapters config entrypoints tests -name __pycache__ -prune -exec rm -rf {} +
