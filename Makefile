# Needs python >= 3.11 with pip, and make; everything else goes into .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: install demo test check bench
.NOTPARALLEL:

install: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "tailrace needs Python 3.11 or later, and $(PYTHON) is not; try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: install
	@$(BIN)/python -m benchmarks.demo

test: install
	$(BIN)/pytest

check: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m tailrace.reference --check configs/REFERENCE.md

bench: install
	$(BIN)/python -m benchmarks.bench_stages
	$(BIN)/python -m benchmarks.bench_pipeline --check
