# `make demo` shows the main job, `make test` runs the tests; both need only Python (3.11 or later) and make.
# `make test-long` runs what `make test` leaves out because it takes half an hour: fuzzing (FUZZ_SECONDS, FUZZ_SEED), the
# life cycle (LIFE_CYCLE_RUNS), the soak (SOAK_SECONDS), kills at random moments (RANDOM_KILLS, RANDOM_KILLS_SEED) and more
# of the steps at which something dies, with their figures at the end.
PY ?= python3
VENV := .venv
BIN := $(VENV)/bin
# `make gpu-check` installs nothing: it takes the virtual environment if there is one, else what Python has.
PYTHON ?= $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PY))

.PHONY: demo test test-long gpu-check lint types layers generated check format clean
.DEFAULT_GOAL := test

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PY) -c 'import sys; sys.exit("Python 3.11 or later is needed; say which with: make PY=python3.12") if sys.version_info < (3, 11) else None'
	$(PY) -m venv $(VENV)
	@echo "Installing into $(VENV) (the first time only; a minute or two) ..."
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[server,dev]'
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/python examples/demo.py

test: $(VENV)/.installed
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

gpu-check:
	$(PYTHON) tools/gpu_check.py $(if $(OUTPUT),--output '$(OUTPUT)')

test-long: $(VENV)/.installed
	$(BIN)/python -m pytest -m long --numprocesses 2

lint: $(VENV)/.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.installed
	$(BIN)/mypy

layers: $(VENV)/.installed
	$(BIN)/lint-imports

generated: $(VENV)/.installed
	$(BIN)/python tools/generate.py --check

check: lint types layers generated

format: $(VENV)/.installed
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

clean:
	rm -rf $(VENV) demo-output gpu-check .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
