# Needs python3 (3.11 to 3.13, with venv) and make; everything else is installed into $(VENV).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-simulated test-lowest lint bench peers tabular gpu docs clean

demo: $(VENV)/.examples
	$(BIN)/python examples/quickstart.py

# The CUDA kernels run in numba-cuda's simulator, which is chosen for a whole process; the rest needs no GPU.
test: test-simulated
	$(BIN)/python -m pytest --numprocesses=2 --dist=worksteal

test-simulated: $(VENV)/.test $(VENV)/.cuda
	NUMBA_ENABLE_CUDASIM=1 $(BIN)/python -m pytest -m gpu --numprocesses=2 --dist=worksteal

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.bench
	cd benchmarks && ../$(BIN)/asv machine --yes
	cd benchmarks && ../$(BIN)/asv run --quick --show-stderr --python=same --launch-method=forkserver

peers: $(VENV)/.bench
	$(BIN)/python benchmarks/peers.py

# Tables need older packages than the tests, and so an environment of their own.
tabular: .venv-tabular/.done
	.venv-tabular/bin/python benchmarks/tabular.py

.venv-tabular/.done: pyproject.toml
	$(PYTHON) -m venv .venv-tabular
	.venv-tabular/bin/pip install --quiet -e '.[tabular]'
	touch $@

# On a machine with an NVIDIA GPU.
gpu: $(VENV)/.test $(VENV)/.cuda $(VENV)/.bench
	$(BIN)/python -m pytest -m gpu
	$(BIN)/python benchmarks/gpu.py

docs: $(VENV)/.docs
	$(BIN)/sphinx-build -W --keep-going -b html docs docs/_build/html

# The oldest supported versions of every dependency, in an environment of their own.
test-lowest: .venv-lowest/.done
	.venv-lowest/bin/python -m pytest

.venv-lowest/.done: requirements-lowest.txt pyproject.toml
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/pip install --quiet -e '.[test]' -c requirements-lowest.txt
	touch $@

# One stamp per extra: running a target twice re-installs nothing, a changed pyproject.toml does.
$(VENV)/.%: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet -e '.[$*]'
	touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) .venv-lowest .venv-tabular docs/_build docs/auto_examples docs/api/generated
