# make sweep   set up and run the default sweep          make test    set up and run the tests
# make test-sweeps   real sweeps under faults          make test-slow   what takes minutes
# make test-services   servers and units of a cluster
# make study   sweeps in phases, up to a verdict
# make gpu-check   all that needs a GPU, and its speed: on any machine with one
# make lint    ruff and mypy --strict                    make benchmark   speed and memory, about 20 minutes
# make chaos   random faults against a sweep; chaos-short: one of each kind
# make lock    requirements.lock anew, from requirements.txt
# make check-worker-env   build the cluster's environment in a temporary folder, 6 GB, and try it
# Set-up happens inside the commands and is skipped while it is current.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
NODE   := tune_app/cloud/node

ifneq ($(words $(CURDIR)),1)
$(error "$(CURDIR)" has a space, at which Ray and make split it: move the checkout to a path without spaces)
endif

.PHONY: sweep study test test-sweeps test-services test-slow chaos chaos-short test-cluster gpu-check mutations lint harness benchmark lock check-worker-env clean
.DEFAULT_GOAL := sweep

# ARGS go to the sweep: make sweep ARGS="embedding_glu --corpus wikitext-103"
sweep: $(VENV)/.runtime
	@$(BIN)/python -m tune_app.sweep $(ARGS)

# The embedded quick study, or ARGS="my_study.toml".
study: $(VENV)/.runtime
	@$(BIN)/python -m tune_app.study $(ARGS)

# Each process, and those that tests start, read what one before them compiled.
test test-sweeps test-services test-slow: export PYTHONDONTWRITEBYTECODE :=

# Three processes for two cores: tests wait for servers, processes and clocks a third of their time.
test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

# Real sweeps and Ray clusters under faults: about 20 minutes.
test-sweeps: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m sweeps $(ARGS)

# The servers and services of a cluster, played on this machine.
test-services: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m services $(ARGS)

# What takes too long for every change: once a night, with chaos-short and mutations.
test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow $(ARGS)

# make chaos ARGS="--faults 20 --seed 1", make chaos ARGS="drivers --kills 20"
chaos: $(VENV)/.dev
	@$(BIN)/python -m tests.chaos $(ARGS)

# A random fault of each kind: 5 to 20 minutes.
chaos-short: $(VENV)/.dev
	$(BIN)/python -m pytest -m chaos tests/chaos $(ARGS)

# A laptop, a head and workers in namespaces of this machine: root on Linux, about 20 minutes.
test-cluster: $(VENV)/.dev
	$(BIN)/python -m pytest -m "cluster and not slow" tests/cluster $(ARGS)

# Ends with status 2 where there is no GPU. ARGS="--report gpu.md" keeps the report.
gpu-check: $(VENV)/.dev
	@$(BIN)/python -m benchmarks.gpu_check $(ARGS)

# Breaks one safeguard of the cloud after another in a copy, and sees that a test notices.
mutations: $(VENV)/.dev
	@$(BIN)/python -m tests.mutations

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# lm-evaluation-harness, for `stellux evaluate --lm-eval`; with it its tests run.
harness: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-harness.txt
	$(BIN)/python -m pytest tests/tune_app/evaluation/test_harness.py $(ARGS)

benchmark: $(VENV)/.dev
	$(BIN)/python -m benchmarks.throughput
	$(BIN)/python -m benchmarks.loss_memory
	$(BIN)/python -m benchmarks.tune_overhead
	$(BIN)/python -m benchmarks.checkpoint_stores
	$(BIN)/python -m benchmarks.checkpoint_overhead

# From the public index alone: a mirror may have builds of its own, under other hashes.
lock: $(VENV)/.dev
	UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile requirements.txt --quiet \
	  --no-config --default-index https://pypi.org/simple --generate-hashes --no-annotate \
	  --only-binary :all: --python-platform x86_64-unknown-linux-gnu \
	  --python-version $$(cat $(NODE)/python-version) --output-file requirements.lock

check-worker-env:
	@root=$$(mktemp -d) && trap 'rm -rf "$$root"' EXIT && trap 'exit 1' INT TERM && \
	sh $(NODE)/environment.sh --root "$$root" --no-packages && \
	PYTHONPATH=. "$$root/env/bin/python" -c 'import torch, ray, optuna, tune_app.trial; \
	  print(f"torch {torch.__version__}, optuna {optuna.__version__}, and tune_app.trial")' && \
	"$$root/env/bin/ray" --version && \
	du -sh "$$root"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Stellux needs Python 3.11 or newer; PYTHON=$(PYTHON) is $$($(PYTHON) --version 2>&1). Try make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamp is written last, so a set-up that was cut off runs again.
$(VENV)/.runtime: requirements.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@# The command `stellux`; and `ray up cluster.yaml` finds the node provider from anywhere. Built by
	@# the setuptools that is pinned. As a path (compat): a folder of data elsewhere is not taken for ours.
	@rm -f $(VENV)/lib/python3*/site-packages/stellux.pth
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
	  --config-settings editable_mode=compat --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.runtime | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
