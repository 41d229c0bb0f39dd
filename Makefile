# The two commands of the README, and what a contributor runs before a commit.
PYTHON ?= python3
CORES ?= all
BIN := .venv/bin

.PHONY: setup demo test test-slow faults lint check clean

setup: .venv/.installed

# torch comes first and pinned: a later requirement is then met by it and draws no second build.
.venv/.installed: constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/snakemake --cores $(CORES) --workflow-profile workflow/profiles/workstation

test: setup
	$(BIN)/python -m pytest -n logical --maxprocesses 4 -m "not slow"

# Also through a SLURM that it sets up on this machine and takes down (docs/cluster.md); skipped where there can be none.
test-slow: setup
	$(BIN)/python -m pytest

# Kills, full disks, damaged files: what each stage does then. Writes the table of docs/faults.md.
faults: setup
	$(BIN)/python -m pytest tests/faults --faults-table docs/faults.md

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

check: lint test

clean:
	rm -rf results logs data/demo data/tofu .snakemake
