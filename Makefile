# Everything a contributor runs. On a fresh machine with Python 3.11 or later, git and make, nothing is done by hand:
# each target makes the virtual environment first when it is missing or out of date.

PYTHON ?= python3
VENV ?= .venv
# How long `make torture` goes on.
SECONDS ?= 180
# Processes that run tests side by side: some more than there are processors, for many tests wait for a network or a disk.
JOBS ?= $(shell echo $$(( ($$(getconf _NPROCESSORS_ONLN) * 3 + 1) / 2 )))
# Where the packages that only CI needs are put; always safe to delete.
CI_DIR ?= .ci/work

BIN := $(VENV)/bin
STAMP := $(VENV)/.made
PYTEST := $(BIN)/python -m pytest
PARALLEL := -n $(JOBS) --dist worksteal
DUCKDB_OLDER := 1.5.6

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-all torture lint format types docs bench matrix duckdb-older lowest packaging \
	hooks constraints ci clean

help: ## What there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

venv: $(STAMP) ## The virtual environment in .venv; made anew only when pyproject.toml or constraints.txt changed

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is needed, $$($(PYTHON) --version) is there: make PYTHON=python3.12 ..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	@touch $@

demo: $(STAMP) ## The whole way on real data: this repository's history over OTLP into Parquet, and back by SQL
	$(BIN)/otel-audit demo

test: $(STAMP) ## The fast tests: about a minute on two cores
	$(PYTEST) -m 'not slow' $(PARALLEL)

torture: $(STAMP) ## Real processes, killed and cut off at random: SECONDS=180, SEED=a new one
	$(BIN)/python -m tests.torture --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

test-all: $(STAMP) ## All tests but those of the built packages
	$(PYTEST) $(PARALLEL) --ignore tests/packaging

lint: $(STAMP) ## ruff, its formatter, and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: $(STAMP) ## Put the code into the formatter's shape
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

types: $(STAMP) ## mypy, strict
	$(BIN)/mypy

docs: $(STAMP) ## Write the reference pages that are made from code; tests say when one is stale
	$(BIN)/python -m otel_audit.cli.reference docs
	$(BIN)/python -m otel_audit.web.openapi > docs/openapi.json

bench: $(STAMP) ## All benches at small sizes; bench/README.md has the sizes of the published numbers
	$(BIN)/python -m bench.append --seconds 3
	$(BIN)/python -m bench.append --seconds 3 --threads 16 --pause-ms 0
	$(BIN)/python -m bench.spool --seconds 1
	$(BIN)/python -m bench.backlog --kept 2000 --files 300 --parked 300 --streams 100 --seconds 3
	$(BIN)/python -m bench.ingest --seconds 10
	$(BIN)/python -m bench.lookup --rows 300000
	$(BIN)/python -m bench.readers --rows 20000 --seconds 5
	$(BIN)/python -m bench.replay --others 60000 --seal-rows 50000
	$(BIN)/python -m bench.size --records 100000
	$(BIN)/python -m bench.completeness --rows 300000

matrix: duckdb-older lowest ## The tests at the other end of the supported versions

duckdb-older: $(STAMP) ## What touches DuckDB, with the older series of it
	@mkdir -p $(CI_DIR)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade \
		--target $(CI_DIR)/duckdb duckdb==$(DUCKDB_OLDER)
	PYTHONPATH=$(CI_DIR)/duckdb $(BIN)/python -c 'import duckdb; assert duckdb.__version__ == "$(DUCKDB_OLDER)"'
	PYTHONPATH=$(CI_DIR)/duckdb $(PYTEST) $(PARALLEL) tests/query tests/contract tests/repos tests/web

LOWEST := $(CI_DIR)/lowest
# These compare with what another package does or writes in exactly the pinned version, or look at the source alone;
# neither says anything about a range.
PINNED := \
	tests/delivery/test_endpoint.py::test_variables_mean_on_the_wire_what_they_mean_to_the_exporter \
	tests/delivery/test_endpoint.py::test_a_timeout_means_what_it_means_to_the_exporter \
	tests/delivery/test_endpoint.py::test_certificates_mean_what_they_mean_to_the_exporter \
	tests/otlp/test_frame.py::test_the_scan_and_upb_agree \
	tests/web/test_openapi.py::test_the_checked_in_document_is_what_the_code_says \
	tests/test_layout.py::test_imports_point_one_way

lowest: $(LOWEST)/.made ## The fast tests with the oldest supported version of every dependency
	$(LOWEST)/bin/python -m pytest -m 'not slow' $(PARALLEL) --ignore tests/packaging $(PINNED:%=--deselect %)

$(LOWEST)/.made: pyproject.toml constraints-lowest.txt
	@test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -r constraints-lowest.txt
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-lowest.txt -e '.[all]'
	@touch $@

packaging: $(STAMP) ## Build sdist and wheel, and test what was built in clean environments
	$(PYTEST) tests/packaging

hooks: $(STAMP) ## Run lint and types before each commit
	$(BIN)/pre-commit install

constraints: ## Write constraints.txt anew from the newest versions that pyproject.toml allows
	rm -rf $(CI_DIR)/newest
	$(PYTHON) -m venv $(CI_DIR)/newest
	$(CI_DIR)/newest/bin/python -m pip install --quiet --disable-pip-version-check '.[all,dev]'
	$(CI_DIR)/newest/bin/python -m pip freeze --exclude otel-audit | LC_ALL=C sort -f > constraints.txt

ci: lint types test-all matrix packaging ## All of the above that can fail

clean: ## Remove what was built, measured and cached; the virtual environment stays
	rm -rf $(CI_DIR) build dist bench/results .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
