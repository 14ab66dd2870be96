# `make demo` and `make test` do all the set-up there is. Everything lives in .venv; nothing global is touched.
# Set PYTHON to choose an interpreter, ARGS to pass arguments on: make demo ARGS="--speed 50 --symbols AAPL,IBM"

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	--constraint constraints.txt --build-constraint constraints.txt --editable
SOURCES := $(wildcard eventbus quantum_trader tests examples benchmarks)

.DEFAULT_GOAL := help
.PHONY: help demo test check format bench null torture clean

help:
	@echo "make demo | test | check | format | bench | null | torture | clean"

demo: $(VENV)/.run
	$(BIN)/qt demo $(ARGS)

# The second pass covers the part whose behaviour could depend on the loop.
test: $(VENV)/.dev
	$(BIN)/python -m pytest --loop uvloop --hypothesis-profile ci $(ARGS)
	$(BIN)/python -m pytest --loop asyncio --hypothesis-profile fast tests/eventbus $(ARGS)

check: $(VENV)/.dev
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy $(SOURCES)
	$(MAKE) test

format: $(VENV)/.dev
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks $(ARGS)

# What the promotion gates find where there is nothing to find; six minutes.
null: $(VENV)/.dev
	$(BIN)/python -m benchmarks.null_gates
	$(BIN)/python -m benchmarks.null_market

torture: $(VENV)/.dev
	$(BIN)/python -m pytest -m "torture or slow" --hypothesis-profile torture $(ARGS)

clean:
	rm -rf $(VENV) build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.pip: constraints.txt .ci/venv
	.ci/venv $(PYTHON) $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --upgrade pip
	@touch $@

# What the demo needs, and nothing more.
$(VENV)/.run: $(VENV)/.pip pyproject.toml
	$(INSTALL) ".[gateway]"
	@touch $@

$(VENV)/.dev: $(VENV)/.pip pyproject.toml
	$(INSTALL) ".[dev]"
	@touch $@ $(VENV)/.run

$(VENV)/.bench: $(VENV)/.dev
	$(INSTALL) ".[bench]"
	@touch $@
