VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test test-avx2 test-oldest clean

demo: $(STAMP)
	$(BIN)/efq-demo -o demo-output

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest

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
