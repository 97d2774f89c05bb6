# Two commands on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The exact torch first: an open range would take another build with several GB of CUDA packages.
TORCH := $(shell sed -n 's/^\(torch==.*\)/\1/p' constraints.txt)
ORACLE := .oracle/torchvision-0.29.2.dist-info

.PHONY: demo test oracle lint types bench clean

demo: $(VENV)/installed
	$(BIN)/hiprobe demo --out runs/demo

test: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# The library's own processors, for the tests that compare with them (tests/oracle.py). They need the
# Python files of torchvision, which hiprobe itself must never see: a folder of their own, no
# dependencies. Without it these tests are skipped.
oracle: $(ORACLE)

lint: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/installed
	$(BIN)/mypy

bench: $(VENV)/installed
	$(BIN)/python -m benchmarks.nothing_to_do

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt $(TORCH)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

$(ORACLE): | $(VENV)/installed
	rm -rf .oracle
	$(BIN)/python -m pip install --quiet --no-deps --target .oracle torchvision==0.29.2
	rm -rf .oracle/torchvision/*.so .oracle/torchvision.libs

clean:
	rm -rf $(VENV) .oracle runs
