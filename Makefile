VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

BUILD := import setuptools, sys; sys.argv[1:] = ['build_ext', '--inplace', '--force']; setuptools.setup()

.PHONY: demo native quick check test test-avx2 test-oldest clean lint types first-cases

demo: $(STAMP)
	$(BIN)/efq-demo -o demo-output

# EFQ's own kernels once more, after a change of their source; installing builds them, too, where there is a compiler.
native: $(STAMP)
	$(BIN)/python -c "$(BUILD)"

# Lint, types, and each quick unit test once, with the first of its parameters and few examples: about a minute on two cores.
quick: $(STAMP)
	$(MAKE) --no-print-directory --jobs 2 --output-sync=target lint types first-cases

# What CI runs.
check test: lint types
	$(BIN)/pytest -n 2 --dist loadfile

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

first-cases: $(STAMP)
	$(BIN)/pytest -q -n 2 -p no:randomly -m "not slow and not faces" --first-cases --hypothesis-profile quick tests/unit

# As on an x86 CPU without VNNI, at the speed of this one.
test-avx2: $(STAMP)
	VENV=$(VENV) tests/avx2/run.sh $(BIN)/pytest

# On the oldest versions that pyproject.toml allows, in a virtual environment of its own.
test-oldest:
	PYTHON=$(PYTHON) tests/oldest.sh

# torch first and by itself: a looser requirement would pull the CUDA build, several gigabytes.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,dev]'
	touch $(STAMP)

clean:
	rm -rf $(VENV) build *.egg-info demo-output
