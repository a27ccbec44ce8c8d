# What a developer and CI run; `make` alone lists the targets. PYTHON picks the interpreter when .venv is made.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
PEERS_INSTALLED := $(VENV)/peers-installed
EXTRAS := cpu,openvino,export,hdf5,tensorrt-rtx,dsp,codecs,eval,signing,pack
PACKAGES := calibration export reference_models runtime
LINKS := $(PACKAGES:%=.typing/voirs_vocoder/%)

# SELECT=EXPRESSION limits `make test` to the tests with these markers.
# Two processes with a core each: every further one exports the artifacts that its tests share once more.
WORKERS ?= 2
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help demo demo-full quick test check fuzz bench bench-peers gpu gpu-models measured links

help:  ## print this list
	@awk -F ':.*##' '/^[a-z-]+:.*##/ {printf "make %-12s %s\n", $$1, $$2}' Makefile

demo: $(INSTALLED)  ## export, quantize, validate and play the shipped checkpoints, in two minutes
	$(BIN)/python -m artifacts.demo

demo-full: $(INSTALLED)  ## the same in every precision, with TensorRT engines, validated on every backend
	$(BIN)/python -m artifacts.demo --full

quick: $(INSTALLED)  ## run the fast tests, in a minute
	VOIRS_TEST_EXAMPLES=10 $(PYTEST) -m "not slow"

test: $(INSTALLED)  ## run every test; those that need a GPU skip themselves without one
	$(PYTEST) --durations=15 $(if $(SELECT),-m "$(SELECT)")

check: $(INSTALLED) $(LINKS)  ## lint, formatting, strict types and prose, as CI and pre-commit run them
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p voirs_vocoder -p tests.benchmark -p tests.fuzz -p tests.gpu -p artifacts
	$(BIN)/python tests/contracts/prose.py

fuzz: $(INSTALLED)  ## read mutated files with every reader for SECONDS=60, each within memory and time
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --seconds $(or $(SECONDS),60)

bench: $(INSTALLED)  ## measure speed and memory on this machine
	$(BIN)/python -m tests.benchmark

# PEERS="--quick --case v2" passes options on.
bench-peers: $(PEERS_INSTALLED)  ## measure this machine with PyTorch, ONNX Runtime, OpenVINO, NNCF and us; goes on where it stopped
	$(BIN)/python -m tests.benchmark.peers $(PEERS)

gpu:  ## test and measure the GPU providers on this machine, with the python3 that has onnxruntime-gpu
	$(MAKE) links
	PYTHONPATH=.typing:. $(PYTHON) -m tests.gpu

gpu-models: $(INSTALLED)  ## export the models that `make gpu` runs, which need torch
	$(BIN)/python -m tests.gpu.models

measured: $(INSTALLED)  ## renew artifacts/MEASURED.md, with the last report of `make bench` where there is one
	$(BIN)/python -m tests.benchmark.measured $(wildcard artifacts/build/bench/report.json)

# Older releases of pip do not know dependency groups.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --upgrade 'pip>=25.1'
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[$(EXTRAS)]' --group dev
	touch $@

$(PEERS_INSTALLED): $(INSTALLED)
	$(BIN)/pip install --quiet --constraint constraints.txt --group bench-peers
	touch $@

# mypy does not follow the editable install; these links show it the folders under their import names.
links: $(LINKS)

$(LINKS): .typing/voirs_vocoder/%:
	mkdir -p $(@D)
	ln -sfn ../../$* $@
