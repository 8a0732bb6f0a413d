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
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --target .tools uv

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
