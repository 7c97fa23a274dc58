# What a contributor does with Milepost. It needs Python 3.11 or newer, make and a package registry.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UV := UV_PROJECT_ENVIRONMENT=$(VENV) UV_PYTHON_DOWNLOADS=never $(BIN)/uv
PYTEST := $(BIN)/pytest
WORKERS ?= 2
# Which of the tests on Flink: all unless given.
CLUSTER_TESTS ?=

.DEFAULT_GOAL := help
.PHONY: help install demo run test test-faults test-cluster test-system test-demo check format bench schemas docs wheel clean

help: ## show this list
	@echo "make TARGET, where TARGET is one of"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## install everything into .venv, from the lock file

$(STAMP): pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Milepost needs Python 3.11 or newer; this is %d.%d. Name another one: make PYTHON=python3.12 …" % sys.version_info[:2])'
	@test -x $(BIN)/uv || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.11,<1'; }
	@$(UV) sync --quiet --frozen --all-extras --compile-bytecode
	@touch $@

demo: $(STAMP) ## run the main job on real data and print what came out
	@$(BIN)/milepost demo

test: $(STAMP) ## units, laws, contracts and one kill per part, in ten minutes at most
	$(PYTEST) -n $(WORKERS) -m "not faults and not cluster and not system and not demo"

test-faults: $(STAMP) ## the long tests: kills, full disks, many seeds
	$(PYTEST) -m "faults and not system"

test-cluster: $(STAMP) ## tests on a Flink cluster of their own
	$(PYTEST) -m cluster $(CLUSTER_TESTS)

test-system: $(STAMP) ## tests that need Debian packages
	$(PYTEST) -m system

test-demo: $(STAMP) ## tests over the real data of the demo
	$(PYTEST) -m demo

check: $(STAMP) ## format, lint and types
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy

format: $(STAMP) ## rewrite the code in the common format
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: $(STAMP) ## measure against a DuckDB script and plain Beam; see benchmarks/README.md
	$(BIN)/python -m benchmarks

schemas: $(STAMP) ## rewrite the Avro enums from the vocabulary and check compatibility with the releases
	$(BIN)/milepost schema sync
	$(BIN)/milepost schema check

docs: $(STAMP) ## rewrite the generated reference pages
	$(BIN)/python -m docs.generate

wheel: $(STAMP) ## build the wheel into dist/
	$(UV) build --quiet --wheel --out-dir dist

clean: ## remove what was built and installed
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
