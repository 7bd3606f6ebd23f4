# The two commands of the README, and what a developer needs beside them.
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
# Factor on the sides of the scans: 1 takes about two minutes on two cores.
SCALE := 1

export PYTHONDONTWRITEBYTECODE := 1
export MPLBACKEND := Agg

.PHONY: help demo test lint fix bench install generate clean

help:
	@echo 'make demo      set up .venv, make a synthetic session in $(DEMO)/, process it end to end'
	@echo 'make test      set up .venv, check the code, run every test'
	@echo 'make bench     conversion against its peers on this machine (20 minutes)'
	@echo 'make install PREFIX=/path   a versioned environment for a facility'

demo:
	@scripts/bootstrap $(VENV) requirements.lock
	@$(BIN)/python scripts/make-demo-session $(DEMO)/session --scale $(SCALE)
	@$(BIN)/stemcal process $(DEMO)/session

test:
	@scripts/bootstrap $(VENV) requirements-test.lock
	@$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile

lint:
	$(BIN)/ruff check src tests scripts benchmarks
	$(BIN)/ruff format --check src tests scripts benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile workflow

fix:
	$(BIN)/ruff check --fix src tests scripts benchmarks
	$(BIN)/ruff format src tests scripts benchmarks
	$(BIN)/snakefmt Snakefile workflow

bench:
	@scripts/bootstrap $(VENV) requirements-test.lock
	$(BIN)/python benchmarks/convert.py

generate:
	$(BIN)/python scripts/generate

install:
	@test -n "$(PREFIX)" || { echo 'make install PREFIX=/path/to/stemcal/<version>' >&2; exit 2; }
	@scripts/bootstrap $(PREFIX) requirements.lock

clean:
	rm -rf $(DEMO) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
