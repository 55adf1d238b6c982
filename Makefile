# The fixed names. Everything runs inside .venv, which `make setup` creates from the lock.
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 3

.PHONY: help setup demo test check bench lock clean

help:
	@echo "make setup   create .venv from requirements/lock.txt (idempotent)"
	@echo "make demo    a simulated cluster on loopback and the scheduler keeping it, live"
	@echo "make test    every test"
	@echo "make check   format, lint, types, layers, tidiness"
	@echo "make bench   speed, memory and cost, as ratios"
	@echo "make lock    resolve the dependencies anew (needs uv)"

setup: .venv/.complete

.venv/.complete: requirements/lock.txt pyproject.toml scripts/setup.sh
	@PYTHON="$(PYTHON)" sh scripts/setup.sh

demo: setup
	@$(BIN)/blox demo

test: setup
	@$(BIN)/pytest -n $(WORKERS) --dist worksteal

check: setup
	@$(BIN)/ruff format --check src tests benchmarks
	@$(BIN)/ruff check src tests benchmarks
	@$(BIN)/lint-imports
	@$(BIN)/mypy

bench: setup
	@$(BIN)/python -m benchmarks

lock:
	uv pip compile pyproject.toml --extra test --universal --python-version 3.11 \
	  --generate-hashes --no-header -o requirements/lock.txt

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
