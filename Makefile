# FlowStack. `make` alone lists the targets.
#
# Needs Python 3.11 to 3.13, Node 20 or newer, and nothing else: everything is installed into this
# folder, at the versions of requirements/*.lock and package-lock.json, when a target first needs it.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# An environment that the caller has active must not leak into ours.
unexport VIRTUAL_ENV CONDA_PREFIX PYTHONPATH PYTHONHOME PYTHONSTARTUP UV_PYTHON UV_SYSTEM_PYTHON

# Behind a company's proxy only the machine's own certificates are any good; pip reads them too.
export UV_SYSTEM_CERTS ?= true

export CDK_DISABLE_CLI_TELEMETRY := true
export CDK_DISABLE_VERSION_CHECK := 1
# Node 20 is enough for what runs here; its end of life is said three times a command otherwise.
export JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION := 20
export JSII_SILENCE_WARNING_DEPRECATED_NODE_VERSION := 1
export JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION := 1
export AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED := true

BIN := .venv/bin
PY := $(BIN)/python
UV := $(BIN)/uv
EMULATOR := .local/emulator-venv
PEERS := .local/peers-venv
LITELLM := .local/litellm-venv
CHROMIUM := .local/chromium
AUDIT := .local/audit-venv
CDK := node_modules/.bin/cdk --app "$(PY) app.py" --no-notices --no-version-reporting

UNIT_TESTS = $(wildcard tests/unit tests/infrastructure tests/attack)
STACK_TESTS = $(wildcard tests/contract tests/faults tests/integration)

STAGE ?= dev
ARGS ?=
PYTEST_ARGS ?=
LIVES ?= 2000
FIRST_LIFE ?= 0

.PHONY: help setup run stop status test check lint types faults bench synth deploy lock admin openapi docs \
	screenshots audit

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- tools ------------------------------------------------------------------------------------

# Prints the interpreter to build the environments with.
find_python = for python in "$$PYTHON" python3 python3.13 python3.12 python3.11; do \
	if [ -n "$$python" ] && "$$python" -c \
	'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	>/dev/null 2>&1; then command -v "$$python"; exit 0; fi; done; \
	echo "FlowStack needs Python 3.11, 3.12 or 3.13 with its venv module, and found none:" \
	"python3 is $$(python3 --version 2>&1). Set PYTHON=/path/to/python." >&2; exit 1

setup: .venv/.ready $(EMULATOR)/.ready node_modules/.ready $(CHROMIUM)/.ready ## Install what the other targets need

.venv/.uv: requirements/uv.lock
	@echo "Creating .venv"
	@python="$$($(find_python))" && "$$python" -m venv .venv
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-input \
		--require-hashes -r requirements/uv.lock
	@touch $@

.venv/.ready: .venv/.uv requirements/dev.lock pyproject.toml layers/client/pyproject.toml
	@echo "Installing requirements/dev.lock into .venv"
	@$(UV) pip sync --quiet --python $(PY) --require-hashes requirements/dev.lock
	@$(UV) pip install --quiet --python $(PY) --no-deps --no-build-isolation \
		--editable . --editable layers/client
	@touch $@

# Environments beside ours, for what must not meet it; each is made from the lock of its name.
.local/%-venv/.ready: .venv/.uv requirements/%.lock
	@echo "Installing requirements/$*.lock into $(@D)"
	@$(UV) venv --quiet --allow-existing --python $(PY) $(@D)
	@$(UV) pip sync --quiet --python $(@D)/bin/python --require-hashes requirements/$*.lock
	@touch $@

node_modules/.ready: package-lock.json package.json .npmrc
	@command -v node >/dev/null || { echo "FlowStack needs Node 20 or newer for the CDK" >&2; exit 1; }
	@node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' || \
		{ echo "FlowStack needs Node 20 or newer; this is $$(node --version)" >&2; exit 1; }
	@echo "Installing package-lock.json into node_modules"
	@npm ci --silent
	@touch $@

$(CHROMIUM)/.ready: node_modules/.ready tests/support/unpack_chromium.mjs
	@echo "Unpacking the browser that tests the console into $(CHROMIUM)"
	@rm -rf $(CHROMIUM)
	@node tests/support/unpack_chromium.mjs $(CHROMIUM)
	@touch $@

# --- the local stack --------------------------------------------------------------------------

run: setup ## Start everything on this machine and play a conversation
	@$(PY) -m local_stack demo

stop: ## End what `make run` and `make test` started
	@if [ -x $(PY) ] && [ -d .local ]; then \
		$(PY) -m local_stack down .local $(wildcard .local/test/gw*); \
	else echo "Nothing was running."; fi

status: .venv/.ready ## Say whether the local stack runs, and where
	@$(PY) -m local_stack status

admin: .venv/.ready ## Run the operator's tool: make admin ARGS="customer list"
	@$(BIN)/flowstack-admin $(ARGS)

# --- quality ----------------------------------------------------------------------------------

test: setup check ## Check, then run every test, deploying to a private emulator
	@$(PY) -m pytest -q -n 2 --dist loadfile $(PYTEST_ARGS) $(UNIT_TESTS)
	@# Each of the two on a stack of its own; then what both saw of the functions' roles.
	@$(PY) -m pytest -q -n 2 --dist loadfile $(PYTEST_ARGS) $(STACK_TESTS)
	@$(PY) -m pytest -q $(PYTEST_ARGS) $(wildcard tests/permissions)

check: lint types ## Run the static checks

lint: .venv/.ready
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: .venv/.ready node_modules/.ready
	@node_modules/.bin/tsc --project .
	@$(BIN)/mypy layers/core layers/client tools stacks functions app.py tests

faults: setup ## Live thousands of lives under faults of AWS: LIVES=2000 FIRST_LIFE=0
	@LIVES=$(LIVES) FIRST_LIFE=$(FIRST_LIFE) $(PY) -m pytest -q -n 2 tests/faults

bench: setup $(PEERS)/.ready $(LITELLM)/.ready ## Count DynamoDB requests a message, import times and bundle sizes
	@$(PY) -m tests.bench

# Not a part of `make test`: what is found depends on the day, and on an answer from the Internet.
audit: $(AUDIT)/.ready node_modules/.ready ## Ask what is known of vulnerabilities of what is locked
	@for lock in layer providers payments client dev emulator; do \
		echo "requirements/$$lock.lock"; \
		$(AUDIT)/bin/pip-audit --strict --require-hashes --disable-pip --progress-spinner off \
			-r requirements/$$lock.lock || exit 1; \
	done
	@npm audit --omit=optional

openapi: .venv/.ready ## Write the OpenAPI document anew from the code
	@$(PY) -m flowstack_openapi

docs: .venv/.ready ## Write the tables of the documentation anew from the code
	@$(PY) -m flowstack_docs

screenshots: .venv/.ready $(CHROMIUM)/.ready ## Photograph the console for the documentation
	@$(PY) -m tests.screenshots

# --- deployment -------------------------------------------------------------------------------

synth: .venv/.ready node_modules/.ready ## Synthesize the stages dev and prod, without an account
	@for stage in dev prod; do \
		env -u AWS_PROFILE AWS_EC2_METADATA_DISABLED=true AWS_CONFIG_FILE=/dev/null \
			AWS_SHARED_CREDENTIALS_FILE=/dev/null \
			$(CDK) synth --quiet --output "cdk.out/$$stage" -c "stage=$$stage" || exit 1; \
		echo "cdk.out/$$stage"; \
	done

deploy: .venv/.ready node_modules/.ready ## Deploy to the AWS account you are signed in to: STAGE=dev
	@$(CDK) deploy --all --output "cdk.out/$(STAGE)" -c "stage=$(STAGE)"

# --- versions ---------------------------------------------------------------------------------

# One resolution serves Python 3.11 to 3.13 on every platform. No index address goes into a lock.
COMPILE = $(UV) pip compile --quiet --universal --generate-hashes --no-header \
	--no-emit-index-url --no-emit-find-links --python-version 3.11

lock: .venv/.uv ## Resolve requirements/*.lock anew: make lock ARGS=--upgrade
	@$(COMPILE) $(ARGS) --group uv -o requirements/uv.lock
	@$(COMPILE) $(ARGS) --group layer -o requirements/layer.lock
	@# What the core layer brings is not locked again: layers are unpacked into one folder.
	@for group in providers payments; do \
		$(COMPILE) $(ARGS) --group $$group -c requirements/layer.lock \
			$$(sed -n 's/^\([a-z0-9-]*\)==.*/--no-emit-package \1/p' requirements/layer.lock) \
			-o requirements/$$group.lock || exit 1; \
	done
	@$(COMPILE) $(ARGS) --group client -c requirements/layer.lock -o requirements/client.lock
	@$(COMPILE) $(ARGS) --group emulator -o requirements/emulator.lock
	@$(COMPILE) $(ARGS) --group published -o requirements/published.lock
	@$(COMPILE) $(ARGS) --group peers -o requirements/peers.lock
	@$(COMPILE) $(ARGS) --group litellm -o requirements/litellm.lock
	@$(COMPILE) $(ARGS) --group audit -o requirements/audit.lock
	@$(COMPILE) $(ARGS) --group dev -c requirements/layer.lock -c requirements/providers.lock \
		-c requirements/payments.lock \
		-o requirements/dev.lock
