# make demo   run a small study from nothing and leave a report
# make test   all checks and tests
# make check  format, lint, types and the direction of imports alone, in under a minute
# make backends  train both baselines with TensorFlow, JAX and PyTorch, and say how far they come apart (about 6 GB to install)
# make clean  remove what the others made here; results/ stays

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin

.PHONY: demo test check backends clean

demo: .venv/installed
	@echo "== demo: a small study on simulated z-stacks, about 4 minutes on 2 processors"
	$(BIN)/python study/run.py --config smoke

test: check
	@echo "== tests"
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

check: .venv/installed
	@echo "== format, lint, types, direction of imports"
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.venv/installed: pyproject.toml constraints.txt
	@echo "== installing into .venv (about 2 GB; some minutes the first time)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

backends: .venv-backends/installed
	.venv-backends/bin/python benchmarks/backends.py

.venv-backends/installed: pyproject.toml constraints.txt
	@echo "== installing into .venv-backends (about 6 GB)"
	$(PYTHON) -m venv .venv-backends
	.venv-backends/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable . jax torch
	@touch $@

clean:
	rm -rf .venv .venv-backends build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
