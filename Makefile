# Two commands: `make demo` and `make test`. Each installs what it needs; all that is needed first is Python >= 3.11.
SHELL := /bin/sh
PYTHON ?= python3
# uv, when the machine has it; otherwise uv from PyPI into .tools (works without venv or ensurepip).
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
export UV_PYTHON_DOWNLOADS := never
export SAM_CLI_TELEMETRY := 0
export PYTHONPATH :=
BIN := .venv/bin
LOCKS := infra/locks

.DEFAULT_GOAL := help

.tools/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than 3.11. Name a newer one: make PYTHON=python3.13 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --target .tools uv==0.13.9 || \
	  { $(PYTHON) -m venv .tools/venv && .tools/venv/bin/python -m pip install --quiet uv==0.13.9 && \
	    mkdir -p .tools/bin && ln -sf ../venv/bin/uv .tools/bin/uv; }

# One environment per lock: .venv-<name>, and .venv itself for dev. A stamp remembers which lock it was made from.
define environment
$(1)/.stamp: $(LOCKS)/$(2).txt pyproject.toml | $(filter .tools/bin/uv,$(UV))
	$(UV) venv --quiet --allow-existing --python $(PYTHON) $(1)
	$(UV) pip sync --quiet --require-hashes --python $(1)/bin/python $(LOCKS)/$(2).txt
	$(3)
	touch $$@
endef
$(eval $(call environment,.venv,dev,$(UV) pip install --quiet --no-deps --python .venv/bin/python --editable .))
$(eval $(call environment,.venv-cloud,cloud,))
$(eval $(call environment,.venv-sam,sam,))

.PHONY: setup locks help
setup: .venv/.stamp .venv-cloud/.stamp  ## install what everything needs; leaves .venv/bin/pixtune

locks: | $(filter .tools/bin/uv,$(UV))  ## compile the hash-pinned locks again from pyproject.toml
	sh infra/locks/compile.sh "$(UV)"

help:  ## this list
	@awk -F ':.*##' '/^[a-z0-9-]+:.*##/ {printf "  %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo test up down status lint typecheck unit e2e sam build bench fuzz soak clean
demo: setup  ## the main job, end to end, on this machine (KEEP=1 leaves it running)
	$(BIN)/pixtune demo $(if $(KEEP),--keep)

up: setup  ## start the local cloud with the stack deployed, and the local provider
	$(BIN)/pixtune up

down:  ## stop what `up` started
	$(BIN)/pixtune down

status:  ## what runs, and where it listens
	$(BIN)/pixtune status

test: setup lint unit sam e2e  ## everything that has to hold

lint: setup  ## style, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: setup  ## unit, integration (moto), workflow and architecture tests
	$(BIN)/pytest tests/architecture tests/unit tests/integration tests/workflow -n 2 --dist worksteal

e2e: setup  ## the whole path on the local cloud
	$(BIN)/pytest tests/e2e -n 2 --dist loadfile

sam: .venv-sam/.stamp  ## sam validate --lint and sam build
	AWS_DEFAULT_REGION=us-east-1 .venv-sam/bin/sam validate --lint
	AWS_DEFAULT_REGION=us-east-1 .venv-sam/bin/sam build

build: sam  ## the packages that sam deploy takes (in .aws-sam/build)

# What conversion is measured against has an environment of its own; without a network the benchmark goes on without it.
OTHERS := tests/benchmarks/others
.venv-bench/.stamp: $(OTHERS)/requirements.txt $(OTHERS)/package-lock.json $(OTHERS)/shrink_with_sharp.mjs | $(filter .tools/bin/uv,$(UV))
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv-bench
	mkdir -p .venv-bench/node && cp $(OTHERS)/package.json $(OTHERS)/package-lock.json $(OTHERS)/*.mjs .venv-bench/node/
	@$(UV) pip sync --quiet --require-hashes --python .venv-bench/bin/python $(OTHERS)/requirements.txt || \
	  { echo "pyvips could not be installed; the benchmark goes on without it"; rm -f .venv-bench/bin/python; }
	@cd .venv-bench/node && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error || \
	  { echo "sharp could not be installed (it needs node 20 and npm); the benchmark goes on without it"; rm -rf node_modules; }
	@[ ! -e .venv-bench/bin/python ] || [ ! -d .venv-bench/node/node_modules ] || touch $@

.PHONY: bench-others
bench-others:
	-@$(MAKE) --no-print-directory .venv-bench/.stamp

bench: setup bench-others  ## side-by-side measurements, none asserted; CASES=quick for a subset, CASES=images for a part
	$(BIN)/python -m tests.benchmarks $(CASES)

fuzz: setup  ## hostile files through the gate for SECONDS (600)
	$(BIN)/python -m tests.simulation.hostile $(or $(SECONDS),600)

soak: setup  ## the simulations at their full length: 100,000 interleavings, 100,000 launches, all pairs of faults
	$(BIN)/python -m tests.simulation.soak 100000
	PIXTUNE_SIMULATIONS=100000 PIXTUNE_FORGERIES=100000 PIXTUNE_FAULT_PAIRS=100000 $(BIN)/pytest -n 2 \
	  tests/unit/test_launch_simulation.py tests/unit/test_webhook.py \
	  tests/integration/test_launch_faults.py tests/integration/test_launch_table_faults.py
	PIXTUNE_BURST=500 $(BIN)/pytest tests/e2e/test_ingest.py -k hundreds_of_images -s

clean:  ## remove what was installed and built
	rm -rf .venv .venv-bench .venv-cloud .venv-sam .aws-sam .pixtune .tools
