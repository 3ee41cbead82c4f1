# Everything runs in .venv, made on first use. `make help` lists the targets.
#   make PYTHON=python3.12 test     another interpreter (after `make clean`)
#   make demo CT=path/to/ct         your own scan
#   make test ROOM=io               the tests of one room (a folder of tests/)
#   make test ARGS="-x -k views"    options for pytest; WORKERS=0 for one process
#   make fuzz ARGS="--count 100000" more of them

PYTHON ?= python3
CT ?=
OUT ?= out
WORKERS ?= 2
ROOM ?=

VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

# Stamps: what has been installed into .venv, and is not installed again until pyproject changes.
CREATED := $(VENV)/.created
RUN := $(VENV)/.run
DEV := $(VENV)/.dev

# LLVM text of the CPU kernels, which wheels contain and a checkout makes once.
KERNELS := kernels/cpu/compiler/lowered.zip

# The default scan, made anew when the phantom's code changes; nothing when there is a CT.
DEMO_CT := $(if $(CT),,$(OUT)/phantom.nii.gz)

# Those that need nothing but the package; benchmarks/README.md has them all.
BENCHMARKS := kernels pipeline cleanup accuracy startup reader file_to_png

.DEFAULT_GOAL := help
.PHONY: help setup demo test quick bounds lint soak fuzz bench kernels signatures clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: $(DEV) ## make .venv with the package and its development tools

demo: $(RUN) $(KERNELS) $(DEMO_CT) ## PA, AP, lateral and oblique of a synthetic chest, or of CT=path, into out/
	@$(BIN)/drr project "$(or $(CT),$(DEMO_CT))" -o "$(OUT)/" -v pa -v ap -v ll -v lao30 --force
	@echo "Pictures and their JSON records are in $(OUT)/. Not for diagnosis."

test: $(DEV) $(KERNELS) ## run the tests
	$(BIN)/pytest -m "not soak" -n $(WORKERS) --dist loadfile tests/$(ROOM) $(ARGS)

quick: $(DEV) $(KERNELS) ## run the tests that take seconds; those of one room with ROOM=physics
	$(BIN)/pytest -m "not soak and not slow" -n $(WORKERS) --dist loadfile tests/$(ROOM) $(ARGS)

# Those that start processes of their own, whose kernels come from a cache, check nothing here.
BOUNDS := $(filter-out %/test_jit.py %/test_processes.py %_accuracy.py,$(wildcard tests/kernels/*.py \
	tests/kernels/reference/*.py tests/kernels/cpu/*.py tests/kernels/cpu/*/*.py)) \
	tests/patient/test_prepare_fuzz.py::test_random_scans

bounds: $(DEV) ## run the kernels' tests with every index checked
	NUMBA_BOUNDSCHECK=1 $(BIN)/pytest -m "not soak" -n $(WORKERS) --dist loadfile $(BOUNDS) $(ARGS)

# Type checkers cannot follow the package mapping of pyproject.toml: mypy gets a copy laid out as installed.
lint: $(DEV) ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@rm -rf build/typecheck build/lib
	@mkdir -p build/typecheck && cp -r drr build/typecheck/ && \
	  cp -r kernels datasets build/typecheck/drr/
	cd build/typecheck && ../../$(BIN)/python -m mypy --config-file ../../pyproject.toml \
	  --cache-dir ../../.mypy_cache -p drr

soak: $(DEV) ## run the long tests
	$(BIN)/pytest -m soak $(ARGS)

fuzz: $(DEV) ## give damaged inputs to every reader, record, table and store, for minutes
	cd tests && ../$(BIN)/python -m fuzz --jobs $(WORKERS) $(ARGS)

bench: $(RUN) ## time the kernels; figures go to benchmarks/
	@for name in $(BENCHMARKS); do echo "$$name"; $(BIN)/python "benchmarks/$$name.py" || exit 1; done

kernels: $(KERNELS) ## lower the CPU kernels to LLVM text, after a change of theirs

signatures: $(DEV) ## note the types that the CPU kernels are called with, after a change of theirs
	$(BIN)/python tools/kernel_signatures.py

clean: ## remove .venv, builds, caches and out/
	rm -rf $(VENV) $(OUT) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(KERNELS): $(wildcard kernels/cpu/*/*.py kernels/cpu/*/*.json datasets/phantom/*.py) | $(RUN)
	@$(BIN)/python -m drr.kernels.cpu.compiler.lowered

$(OUT)/phantom.nii.gz: $(wildcard datasets/phantom/*.py) | $(RUN)
	@mkdir -p $(OUT)
	@$(BIN)/drr phantom $@ --force

$(CREATED):
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON); install Python 3.10 or newer, \
	or name one: make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or newer is \
	needed and $(PYTHON) is $$($(PYTHON) -V 2>&1); name another: make PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(RUN): $(CREATED) pyproject.toml
	@echo "Installing drr-rate into $(VENV) ..."
	$(PIP) install --editable .
	@touch $@

$(DEV): $(CREATED) pyproject.toml
	@echo "Installing drr-rate and its development tools into $(VENV) ..."
	$(PIP) install --editable '.[dev]'
	@touch $@ $(RUN)
