# Each target does all of its set-up itself: it needs a Python (3.11, 3.12 or 3.13) and make.
# PYTHON names another one than python3; BOWERBIRD_CACHE another folder for the jars of Kafka.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(wildcard archive bowerbird clients embedded policies records replay rewards stream benchmarks examples studies tests)
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# Three processes for two cores, since most of tests/real waits for servers; four took longer. A file stays in one process, whose servers
# its tests share; the files come in the order of tests/conftest.py.
SPREAD := --numprocesses 3 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help demo test check lint check-deploy bench mutate torture format lock clean

help:
	@echo "make demo      the whole loop on this machine, shown and proved (under 4 minutes)"
	@echo "make test      all tests, on a real Kafka and a real Redis that come along"
	@echo "make check     format, lint, types, direction of the imports, fast tests (about a minute and a half)"
	@echo "make check-deploy  the files of the deployment, by promtool and a Prometheus that asks a running loop"
	@echo "make bench     the benchmarks of docs/benchmarks.md"
	@echo "make mutate    switches off one mechanism at a time and shows the test that fails"
	@echo "make torture   20 times kill -9 under load, 50 ends of each role, odd records, holes in the network"

demo: $(VENV)/demo.stamp
	$(BIN)/bowerbird demo $(DEMO)

test: $(VENV)/dev.stamp
	@HYPOTHESIS_PROFILE=ci $(BIN)/python -m pytest $(SPREAD) $(TESTS)

check: lint
	$(BIN)/python -m pytest --quiet --numprocesses 2 --dist worksteal --ignore tests/real -m 'not slow'

lint: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(SOURCES)

# Needs promtool and prometheus: Debian's package prometheus has both.
check-deploy: $(VENV)/dev.stamp
	$(BIN)/python -m tests.check_deploy

bench: $(VENV)/dev.stamp
	$(BIN)/python -m benchmarks $(BENCH)

mutate: $(VENV)/dev.stamp
	$(BIN)/python -m tests.mutate $(MUTATE)

torture: $(VENV)/dev.stamp
	$(BIN)/python -m tests.torture $(TORTURE)
	$(BIN)/python -m tests.ends
	$(BIN)/python -m tests.fuzz --minutes 5
	BOWERBIRD_LONG=1 $(BIN)/python -m pytest tests/real/test_network.py tests/real/test_ends.py -k "network or away"

format: $(VENV)/dev.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Pins what is installed now, and the jars of Kafka that the coordinates in embedded/jars.py resolve to.
lock: $(VENV)/dev.stamp
	$(BIN)/python -m pip freeze --exclude bowerbird --exclude bowerbird-client --exclude-editable | LC_ALL=C sort -f > constraints.txt
	$(BIN)/python -m embedded.jars lock

clean:
	rm -rf $(VENV) build dist *.egg-info .hypothesis .mypy_cache .pytest_cache .ruff_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "Bowerbird needs Python 3.11, 3.12 or 3.13, but $(PYTHON) is $$($(PYTHON) --version 2>&1): name another one, as in make PYTHON=python3.13"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo.stamp: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) --editable '.[demo]'
	@touch $@

$(VENV)/dev.stamp: pyproject.toml clients/python/pyproject.toml constraints.txt | $(BIN)/python
	$(PIP_INSTALL) --editable '.[dev]' --editable ./clients/python
	@touch $@ $(VENV)/demo.stamp
