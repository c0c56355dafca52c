# Everything that people and CI run. `make run` and `make test` need Python 3.11 or later, a C compiler and make, no more.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
SEED ?= 23
# OpenBLAS starts a thread per core that only gets in the way of timings here.
export OPENBLAS_NUM_THREADS = 1
# Some tools call others by name.
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: help run run-distributed test faults check bench stress asan fuzz mutants flash1 dev annotate clean

help:  ## Show the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

$(VENV)/created:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade 'pip>=25.1'
	touch $@

SOURCES := $(shell find src -type f -not -name '*.pyc') pyproject.toml CMakeLists.txt

$(VENV)/run: $(VENV)/created $(SOURCES)
	$(PIP) install '.[cli,plot,parquet,journal]'
	touch $@

# The whole package, built once for tests, checks and benchmarks, and what these need. Type checkers read the installed
# package, because only there stubs and modules lie side by side.
$(VENV)/all: $(VENV)/created $(SOURCES)
	$(PIP) install --group build
	$(PIP) install --no-build-isolation '.[all]' --group test --group check
	touch $@

dev:  ## An editable build with all tools in .venv-dev
	$(PYTHON) -m venv $(VENV)-dev
	$(VENV)-dev/bin/python -m pip install -q --upgrade 'pip>=25.1'
	$(VENV)-dev/bin/python -m pip install -q --group build
	$(VENV)-dev/bin/python -m pip install -q --no-build-isolation -e '.[all]' --group test --group check

run: $(VENV)/run  ## Replay the bundled market, compare it row by row, and once more with a kill half way
	@mkdir -p out
	$(BIN)/pyengine replay --sample --verify --picture out/coinbase.png
	$(BIN)/python examples/kill_and_recover.py

run-distributed: $(VENV)/all  ## Run the market through all three deployment modes on embedded servers
	$(BIN)/python examples/run_distributed.py

test: $(VENV)/all  ## Run every test
	$(BIN)/python -m pytest tests

faults: $(VENV)/all  ## The faults of tests/faults in full: each call fails, a thousand killed writers
	PYENGINE_LONG_FAULTS=1 PYENGINE_KILL_ROUNDS=1000 $(BIN)/python -m pytest -s tests/faults

check: $(VENV)/all  ## Lint, format, types, stubs, and hints of the Cython compiler
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/cython-lint src/_core/*.pyx src/_core/*.pxd
	cd $(VENV) && bin/mypy --config-file ../pyproject.toml -p pyengine
	cd $(VENV) && bin/stubtest --mypy-config-file ../pyproject.toml --ignore-missing-stub --ignore-unused-allowlist --allowlist ../tests/stubtest.txt pyengine._core
	$(BIN)/python tests/hints.py

bench: $(VENV)/all  ## Measure everything and write docs/benchmarks.md
	$(BIN)/python -m bench

stress: $(VENV)/all  ## Ten million random commands against the reference
	$(BIN)/python tests/stress.py

mutants: $(VENV)/all  ## Break the core on purpose and see the tests go red
	$(BIN)/python tests/mutations.py

asan: $(VENV)/created  ## Tests and the fuzzer under AddressSanitizer and UndefinedBehaviorSanitizer
	$(PYTHON) tests/sanitized.py --venv $(VENV)-asan

fuzz: $(VENV)/created  ## Ten million runs of raw command bytes
	$(PYTHON) tests/sanitized.py --venv $(VENV)-asan --fuzz-only

flash1: $(VENV)/all  ## The independent judge: make flash1 HARNESS=checkout [SEED=n]
	$(BIN)/python bench/flash1/run.py --harness $(HARNESS) --seed $(SEED)

annotate: $(VENV)/created  ## Cython's annotated sources in build/annotate
	$(PIP) install cython
	mkdir -p build/annotate/pyengine && touch build/annotate/pyengine/__init__.py && rm -rf build/annotate/pyengine/_core
	cp -r src/_core build/annotate/pyengine/_core
	cd build/annotate && ../../$(BIN)/cython -3 -a pyengine/_core/*.pyx

clean:  ## Remove what the other targets made
	rm -rf build dist out $(VENV) $(VENV)-dev $(VENV)-asan .peers .pytest_cache .hypothesis .ruff_cache .mypy_cache
