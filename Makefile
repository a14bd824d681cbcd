# make demo            train three small runs, print what they show, serve the dashboard on 127.0.0.1:8501
# make demo SERVE=0    stop after the training
# make test            everything that can be tested on this machine
# make mutants         which small mistakes in the rule, the bounds and the log no test would notice
# make fuzz            20,000 damaged logs, each of which every reader must survive
# make lint            formatting, lint and types

PYTHON ?= python3
SERVE ?= 1
BIN := .venv/bin

.PHONY: demo test mutants fuzz lint format clean

demo: .venv/installed-all
	$(BIN)/lambc demo $(if $(filter 0,$(SERVE)),--no-serve,--serve)

# In an order drawn anew each time, whose seed is printed (`-p no:randomly` for the files' own).
# The browser's files come first (tests/conftest.py), so no file is moved by how many tests it has.
# One thread a process: two processes that each wait for two threads slow each other down many times over.
test: .venv/installed-dev .venv-s3/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -rs

# Small mistakes in what matters most, each of which a test is to notice; bench/results/mutants.md is the last answer.
mutants: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python bench/mutants.py --save

# Damaged logs, of which no reader may die; bench/results/fuzz.md is the last answer.
fuzz: .venv/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.collector.fuzz --save

lint: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .venv-s3

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "lambc needs Python 3.11 or later; name one with: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/installed-%: pyproject.toml constraints.txt | .venv/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[$*]'
	@touch $@

# The S3 server of the tests, apart: what it stands on (botocore) wants an older python-dateutil than ours.
.venv-s3/installed: tests/collector/s3_server.txt | .venv/bin/python
	.venv/bin/python -m venv .venv-s3
	.venv-s3/bin/pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@
