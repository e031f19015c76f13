# Everything starts here. Each target that needs it makes .venv first; nothing outside this folder is changed.
# Works with GNU make 3.81 (macOS) and later. On Windows, see README.md.

PYTHON ?= python3

VENV  := .venv
BIN   := $(VENV)/bin
READY := $(VENV)/.ready

# A .venv whose Python is gone (upgraded or removed since) is no .venv: begin anew.
$(shell test ! -e $(READY) || $(BIN)/python -c '' 2>/dev/null || rm -rf $(VENV))

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint fmt bench compare prove soak pyz lock clean venv

help:
	@echo 'make demo      start three servers here, lose the primary, watch the checkout survive (15 s)'
	@echo 'make test      all checks and the fast tests (two minutes on two cores)'
	@echo 'make test-all  the same, with the slow tests'
	@echo 'make lint      the checks alone: ruff, import-linter, mypy'
	@echo 'make fmt       format the code and repair what ruff can repair'
	@echo 'make bench     measure, and print the table'
	@echo 'make compare   a leader killed and frozen: palclient, and Redis, etcd and ZooKeeper where they are on the machine (15 minutes)'
	@echo 'make prove     play thousands of histories of a failing triad, and switch off every safety rule in turn (8 minutes)'
	@echo 'make soak      two hundred clients at work for half an hour while servers fail; what grows'
	@echo 'make pyz       build palclient-redirect.pyz, the redirect tool as one file for any Python 3.11 or later'
	@echo 'make lock      resolve the pinned requirements anew'
	@echo 'make clean     remove .venv and all that tools left behind'
	@echo
	@echo 'The first of these that needs it makes .venv from requirements/dev.txt. PYTHON=python3.13 chooses another Python.'

# ------------------------------------------------------------------------------------------------------------- set-up

venv: $(READY)

# The pip settings of a machine (mirrors, proxies, certificates) stay in force; the hashes say what may come from there.
$(READY): requirements/dev.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || \
	    { echo 'No $(PYTHON) on the PATH. Install Python 3.11 or later, or name yours: make PYTHON=/path/to/python3' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "$(PYTHON) is $$($(PYTHON) -V 2>&1); palclient needs 3.11 or later. Name another: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo '$(PYTHON) cannot make virtual environments. Debian and Ubuntu keep that apart: apt install python3-venv' >&2; exit 1; }
	@echo "Setting up $(VENV) with $$($(PYTHON) -V 2>&1): the packages of requirements/dev.txt, then palclient itself, editable. Once, about half a minute."
	@$(BIN)/python -c 'import pip' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV) # uv leaves pip out of those it makes
	@$(BIN)/python -m pip install --no-input --disable-pip-version-check -qq --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --no-input --disable-pip-version-check -qq --no-deps --no-build-isolation --editable .
	@touch $@
	@echo '$(VENV) is ready.'

# ------------------------------------------------------------------------------------------------------------ use it

demo: $(READY)
	@$(BIN)/palclient demo

test: lint
	$(BIN)/python -m pytest -n auto --dist loadgroup -m 'not slow'

test-all: lint
	$(BIN)/python -m pytest

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/mypy

fmt: $(READY)
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

bench: $(READY)
	@$(BIN)/python -m tests.bench

# Installs nothing; what is not on the machine is skipped (docs/explanation/compare.md). ROUNDS=5 and EPISODES=10 say how much.
compare: $(READY)
	@$(BIN)/python -m tests.compare $(ROUNDS:%=--rounds %) $(EPISODES:%=--kills %) $(EPISODES:%=--freezes %) $(SEED:%=--seed %)

# SECONDS=60 or HISTORIES=40000 says how much, SEED=7 where to begin. With EPISODES=300 real processes are then killed, frozen and cut off
# so many times, and FAILOVERS=50 times each in the five ways in which a master is lost; a number that is none is told before the simulation begins.
FAILOVERS ?= 50

prove: $(READY)
	@$(if $(EPISODES),$(BIN)/python -m tests.chaos --episodes $(EPISODES) --failovers $(FAILOVERS) $(SEED:%=--seed %) --help >/dev/null)
	@$(BIN)/python -m tests.simulation.prove $(SECONDS:%=--seconds %) $(HISTORIES:%=--histories %) $(SEED:%=--seed %)
	@$(if $(EPISODES),$(BIN)/python -m tests.chaos --episodes $(EPISODES) --failovers $(FAILOVERS) $(SEED:%=--seed %))

# SECONDS=1800 of mixed load and faults with two hundred clients.
soak: $(READY)
	@$(BIN)/python -m tests.chaos.soak $(SECONDS:%=--seconds %) $(SEED:%=--seed %)

# The redirect tool as one file. It needs no .venv and no network; without site-packages nothing but the standard library can get into it.
PYZ ?= palclient-redirect.pyz

pyz:
	@$(PYTHON) -I -S -B tools/pyz.py $(PYZ)
	@echo '$(PYZ) is ready: python3 $(PYZ) --help'

# ------------------------------------------------------------------------------------------------------------- upkeep

# One lock for every system and every Python from 3.11 on. uv reads the public index whatever pip is set to, so the hashes
# are those of the published files. An entry moves only when it must; `make lock UPGRADE=--upgrade` moves them all.
LOCK := $(VENV)-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
        --no-emit-index-url --no-emit-find-links $(UPGRADE)
UPGRADE ?=

lock: $(READY)
	@echo 'Setting up $(VENV)-lock: uv alone, from requirements/lock.txt.'
	@$(PYTHON) -m venv $(VENV)-lock
	@$(VENV)-lock/bin/python -m pip install --no-input --disable-pip-version-check -qq --require-hashes -r requirements/lock.txt
	$(LOCK) --all-extras pyproject.toml requirements/dev.in -o requirements/dev.txt
	$(LOCK) requirements/lock.in -o requirements/lock.txt
	@echo 'Locked. Look at the difference, then run make test.'

clean:
	rm -rf $(VENV) $(VENV)-lock build dist palclient-redirect.pyz .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
