# Two commands do everything on a machine with Python 3.11 or later, git, make and a network to the
# package registries: `make demo` and `make test`.

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A cache of uv's own is used if there is one; nothing is installed outside $(VENV).
UV := $(VENV)/uv/bin/uv
UV_VERSION := 0.13.9
LOCK := tests/requirements.txt
STAMP := $(VENV)/.installed
# Test modules are dealt out to so many processes; each of them starts the servers its modules need.
PYTEST_WORKERS ?= 2
RUN := PYTHONPATH=tests OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python
PYTEST := $(RUN) -m pytest -n $(PYTEST_WORKERS) --dist loadfile

PACKAGES := autodidact_contract autodidact_store autodidact_operator autodidact_worker

CLUSTER ?= new
PYTEST_ARGS ?=
PROOF_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help venv demo proof demo-real test test-unit test-thorough test-all tools coverage e2e lint format cluster cluster-down bench images generate lock clean

help:  ## Show the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

venv: $(STAMP)  ## Install everything, from the lock with hashes, into .venv

$(STAMP): $(LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else \
	  f"Python 3.11 or later is needed, {sys.executable} is {v.major}.{v.minor}; make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(UV) || { $(PYTHON) -m venv $(VENV)/uv && $(VENV)/uv/bin/pip install --quiet uv==$(UV_VERSION); }
	@echo "installing the locked packages (about 5 GB with torch, once)"
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip sync --quiet --compile-bytecode --require-hashes $(LOCK)
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(UV) pip install --quiet --no-deps --editable .
	touch $@

demo: venv  ## Start a development cluster, install the chart, run both kinds of run to the end
	$(RUN) -m tools.demo --cluster $(CLUSTER)

proof: venv  ## Measure both kinds and their controls on the built-in tasks, on three seeds
	$(RUN) -m tools.demo.proof $(PROOF_ARGS)

demo-real: venv  ## Run both kinds on a real chat model of 135M parameters; up to an hour
	PYTHONPATH=tests $(BIN)/python -m tools.real

test: venv tools  ## Run the tests, but for the thorough ones; about a quarter of an hour on two cores
	$(PYTEST) -m "not thorough" $(PYTEST_ARGS)

test-unit: venv  ## Run the tests that need no cluster, no server and no training; a minute or two
	$(PYTEST) -m "not cluster and not training and not thorough" $(PYTEST_ARGS)

test-thorough: venv tools  ## Run the tests that take long: kills at every step, engines, whole runs
	$(PYTEST) -m thorough $(PYTEST_ARGS)

test-all: venv tools  ## Run every test that needs neither root nor a GPU
	$(PYTEST) $(PYTEST_ARGS)

tools: venv
	$(RUN) -m tools.cluster tools

coverage: venv tools  ## Run `make test` and print the share of the code that it runs in its own processes
	$(PYTEST) -m "not thorough" $(addprefix --cov=,$(PACKAGES)) $(PYTEST_ARGS)

e2e: venv  ## Run the tests on a real node; needs root on Debian, installs packages there
	@test "$$(id -u)" = 0 || { echo "make e2e needs root: it makes namespaces, mounts and cgroups" >&2; exit 1; }
	$(RUN) -m pytest tests/system/node --timeout 3600 $(PYTEST_ARGS)

lint: venv  ## Check style, types, layers, and that generated files are up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(RUN) -m tools.lint

format: venv  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

generate: venv  ## Write the CustomResourceDefinitions anew
	$(BIN)/autodidact crds --output crds --output charts/autodidact-operator/files/crds

images:  ## Build the images with docker, podman or buildah
	images/build

lock: venv  ## Resolve the locks anew
	cd $(CURDIR) && for part in "operator worker dev:$(LOCK)" "operator:operator/requirements.txt" "worker:images/worker/requirements.txt" "image:images/requirements.txt" "vllm:images/vllm/requirements.txt"; do \
	  extras=$${part%%:*}; file=$${part##*:}; constraint="--constraint $(LOCK)"; \
	  case $$extras in *dev|vllm) constraint=;; esac; \
	  $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
	    $$(printf -- '--extra %s ' $$extras) $$constraint pyproject.toml --output-file $$file; done
	cd tests/tools/real && $(CURDIR)/$(UV) pip compile --quiet --universal --generate-hashes --no-deps --no-emit-index-url \
	  --no-header --python-version 3.11 requirements.in --output-file requirements.txt

cluster: venv  ## Start a development cluster in the background
	$(RUN) -m tools.cluster up --detach
	@echo 'use it with: eval "$$(PYTHONPATH=tests $(BIN)/python -m tools.cluster env)"'

cluster-down: venv  ## End it
	$(RUN) -m tools.cluster down

bench: venv  ## Print the performance figures
	$(RUN) -m tools.bench

clean:  ## Remove what was installed or written here
	rm -rf $(VENV) out .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis
