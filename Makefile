# `make demo` and `make test` do all the set-up there is. Everything lives in .venv; nothing global is touched.
# `make quick` is for every change, `make test` for every commit, `make check-all` for what CI runs besides.
# Set PYTHON to choose an interpreter, ARGS to pass arguments on: make demo ARGS="--speed 50 --symbols AAPL,IBM"

PYTHON ?= python3
ARGS ?=
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check \
	--constraint constraints.txt --build-constraint constraints.txt --editable
SOURCES := $(wildcard eventbus quantum_trader tests examples benchmarks)

# What is compiled is kept, whatever the environment says: every worker, and every process that a test starts, would do it again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test quick steady check check-all docs peers eager format bench null torture soak screenshots clean

help:
	@echo "make demo | test | quick | steady | check | check-all | docs | peers | eager | format | bench | null | torture | soak | screenshots | clean"

demo: $(VENV)/.run
	$(BIN)/qt demo $(ARGS)

# Beside each other what may be, twice as many as there are cores since servers and processes are waited for. Then what depends on
# real time: two browsers beside each other, which wait for their pages, and alone what would see that it waits for a processor.
PARALLEL := -n 4 --dist worksteal
UNTIMED := not timed and not torture and not bench and not long

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(PARALLEL) --loop uvloop --hypothesis-profile suite -m "$(UNTIMED)" $(ARGS)
	$(BIN)/python -m pytest -n 2 --dist loadfile --loop uvloop -m "timed and browser" tests/browser $(ARGS)
	$(BIN)/python -m pytest --loop uvloop -m "timed and not browser" $(TIMED) $(ARGS)

# Only these are read, for the one or the other test in them.
TIMED := $(filter-out tests/browser/%,$(shell grep --recursive --files-with-matches --include='test_*.py' 'mark\.timed' tests))

# The bus alone, without what takes long: also on an interpreter that has only what the bus needs.
quick: $(VENV)/.check
	$(BIN)/python -m pytest $(PARALLEL) --hypothesis-profile quick -m "$(UNTIMED) and not slow and not server" $(QUICK) $(ARGS)

QUICK := tests/eventbus tests/test_floors.py tests/test_house.py

# The same with tasks that take their first step where they are made: Python 3.12 and newer. And the faults that came of such tasks.
eager: $(VENV)/.check
	$(BIN)/python -m pytest $(PARALLEL) --loop asyncio --eager --hypothesis-profile quick -m "$(UNTIMED) and not slow and not server" \
		$(QUICK) tests/found/test_runtime_r13_r24.py $(ARGS)

# No test depends on how fast the machine is: all that is not `timed`, on one core beside a program that never rests, three times.
steady: $(VENV)/.dev
	taskset --cpu-list 0 sh -c 'while :; do :; done & busy=$$!; trap "kill $$busy" EXIT; trap "exit 130" INT TERM; \
		for round in 1 2 3; do \
			$(BIN)/python -m pytest --loop uvloop --hypothesis-profile quick -m "$(UNTIMED)" $(ARGS) || exit; \
		done'

# Whole runs, the long random walks, and once more on the other loop the part whose behaviour could depend on it: neither servers nor kills.
check-all: check docs
	$(BIN)/python -m pytest $(PARALLEL) --loop uvloop -m long $(ARGS)
	$(BIN)/python -m pytest $(PARALLEL) --loop uvloop --hypothesis-profile ci -m "$(UNTIMED)" $(RANDOM) $(ARGS)
	$(BIN)/python -m pytest $(PARALLEL) --loop asyncio --hypothesis-profile fast -m "$(UNTIMED) and not slow and not server" \
		tests/eventbus tests/found tests/scenarios/test_asyncio_traps.py tests/scenarios/test_fault_matrix.py $(ARGS)

# The documentation, as a folder of pages: strictly, and without a request. To read it: python3 -m http.server --directory build/site
docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir build/site

# The pages "coming from", against the libraries that they speak of, which have an environment of their own.
PEERS_PYTHON ?= python3.12
peers: $(VENV)/.dev .venv-peers/.peers
	$(BIN)/python -m pytest tests/docs/test_coming_from.py $(ARGS)

.venv-peers/.peers: tests/docs/peers.txt .ci/venv
	.ci/venv $(PEERS_PYTHON) .venv-peers
	.venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --requirement tests/docs/peers.txt
	@touch $@

RANDOM := $(shell grep --recursive --files-with-matches --include='test_*.py' 'from hypothesis' tests)

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

# Twenty minutes at half of the maximum, with a fault a minute: make soak ARGS="--minutes 60 --seed 2"
soak: $(VENV)/.dev
	@mkdir -p runs
	$(BIN)/python tests/torture/soak.py --out runs/soak.csv $(ARGS)

# Of the dashboard beside a demo, in a browser of the system; the one in the README is dashboard-dark.png.
screenshots: $(VENV)/.dev
	$(BIN)/python tests/browser/screenshots.py docs/images $(ARGS)

clean:
	rm -rf .venv .venv-* build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.pip: constraints.txt .ci/venv
	.ci/venv $(PYTHON) $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --upgrade pip
	@touch $@

$(VENV)/.check: $(VENV)/.pip pyproject.toml
	$(INSTALL) ".[check]"
	@touch $@

# What the demo needs, and nothing more.
$(VENV)/.run: $(VENV)/.pip pyproject.toml
	$(INSTALL) ".[gateway]"
	@touch $@

$(VENV)/.dev: $(VENV)/.pip pyproject.toml
	$(INSTALL) ".[dev]"
	@touch $@ $(VENV)/.run $(VENV)/.check

$(VENV)/.bench: $(VENV)/.dev
	$(INSTALL) ".[bench]"
	@touch $@
