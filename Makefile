# One door to everything. `make help` lists the targets.
SHELL := /bin/sh
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
STAGE := .build/stage
LAB := tests/lab/lab.py
SCENARIOS := site hardening daffathan-labs micro-sayur technova
export ANSIBLE_FORCE_COLOR ?= 0
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: help packages stores setup setup-dev lab demo demo-clean check static lint sanity sanity-latest unit docs-lint changelog-lint test integration integration-bare integration-platform integration-load checks-in-turn platform-in-turn molecule bench soak soak-examples soak-ufw_policy soak-port_audit soak-engine soak-rollout soak-crashes build clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 18

packages:
	@tests/tools/packages.sh

setup: packages ## virtual environment with what a controller needs
	@tests/tools/venv.sh $(VENV) requirements.txt

setup-dev: setup ## the same, with what checks and tests need
	@tests/tools/venv.sh $(VENV) requirements-dev.txt

demo: setup ## a lab VPS becomes the running reference system; ends with a URL
	@tests/tools/demo.sh $(BIN)

demo-clean: ## remove what `make demo` made: hosts, images, network, engine state
	@python3 $(LAB) purge

check: unit static ## lint, sanity and unit tests (about 2 minutes)

static: lint changelog-lint docs-lint sanity

lint: setup-dev ## ruff, mypy, ansible-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd .collections && ../$(BIN)/mypy --config-file ../pyproject.toml --cache-dir ../.mypy_cache -p ansible_collections.daffathan.platform.plugins
	$(BIN)/mypy --ignore-missing-imports tests/support tests/bench tests/soak tests/load tests/lab/vpslab tests/integration molecule
	PATH=$(CURDIR)/$(BIN):$$PATH ANSIBLE_HOME=$(CURDIR)/.ansible $(BIN)/ansible-lint --strict

changelog-lint: setup-dev ## antsibull-changelog
	$(BIN)/antsibull-changelog lint

docs-lint: setup-dev ## antsibull-docs on modules and roles
	@tests/tools/stage.sh $(STAGE)-docs >/dev/null
	cd $(STAGE)-docs/ansible_collections/daffathan/platform && \
	    PATH=$(CURDIR)/$(BIN):$$PATH ANSIBLE_COLLECTIONS_PATH=$(CURDIR)/$(STAGE)-docs \
	    $(CURDIR)/$(BIN)/antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs=self .

NGINX := .build/nginx/nginx

$(NGINX): tests/tools/nginx.sh
	@tests/tools/nginx.sh $(@D)

stores: packages ## what the tests of the examples run as plain processes, unpacked below .build
	@tests/tools/stores.sh .build/stores

unit: setup-dev stores $(NGINX) ## unit tests of the pure cores, the lab, the load generator, the edge, the examples' services
	$(BIN)/python -m pytest -q tests/unit

sanity: setup-dev ## ansible-test sanity on the pinned core and on the newest one a Python of this machine takes
	@tests/tools/stage.sh $(STAGE) >/dev/null
	tests/tools/sanity.sh $(VENV) $(STAGE)
	@tests/tools/sanity_latest.sh $(STAGE)

molecule: $(SCENARIOS:%=molecule-%) ## molecule scenarios, each on a lab VPS of its own; molecule-<scenario> runs one

# Both may install packages of the system, which dpkg does one at a time.
lab: packages ## the lab's engine, registry and neighbour host; what is up already stays
	@python3 $(LAB) up

$(SCENARIOS:%=molecule-%): molecule-%: setup-dev lab
	@tests/tools/molecule.sh $(BIN) test --scenario-name $*

# What starts from a bare host needs nothing of molecule; the rest clones the host that its site scenario converged.
BARE := tests/integration/ufw_policy tests/integration/port_audit tests/integration/edge tests/integration/test_input_errors.py
LAB_TESTS := $(BIN)/python -m pytest -v --durations 15

integration-bare: setup-dev lab
	$(LAB_TESTS) -n 2 --dist loadfile $(BARE)

integration-platform: setup-dev lab
	$(LAB_TESTS) -n 3 --dist loadfile -m "not load" $(BARE:%=--ignore=%) tests/integration

# Under a measured load of 200 requests/s the machine belongs to one test; the others share it.
integration-load: setup-dev lab
	$(LAB_TESTS) -m load tests/integration

integration: ## deploys under load, faults, restore, audit: pytest on lab VPSes
	@$(MAKE) --no-print-directory --jobs 1 integration-bare integration-platform integration-load

# Hosts that are set up mostly wait: side by side they take little longer than the longest. The checks are one lane of their
# own. It begins, while the lab is built, with the unit tests: those of the load generator need their share of the processor.
test: ## everything
	@$(MAKE) --no-print-directory --jobs 4 platform-in-turn molecule-hardening integration-bare checks-in-turn
	@$(MAKE) --no-print-directory integration-load

# The hosts of these tests are clones of the one that the scenario converged.
platform-in-turn: setup-dev lab
	@env -u MAKEFLAGS $(MAKE) --no-print-directory molecule-site
	@env -u MAKEFLAGS $(MAKE) --no-print-directory integration-platform

checks-in-turn: setup-dev
	@env -u MAKEFLAGS $(MAKE) --no-print-directory unit
	@env -u MAKEFLAGS tests/tools/background.sh $(MAKE) --no-print-directory static

bench: setup-dev ## measured comparisons; NAME=<name> runs one and prints its figures as JSON
	@tests/tools/peers.sh $(BIN) .build/bench requirements-bench.txt tests/bench/package.json
	@$(BIN)/python -m tests.bench $(NAME)

SOAKS := examples ufw_policy port_audit engine rollout crashes

soak: ## the long runs that CI has no time for: new examples, other releases and engines, a hundred deploys, kills at every line; NAME=<name> runs one
	@$(MAKE) --no-print-directory --jobs 1 $(addprefix soak-,$(or $(NAME),$(SOAKS)))

soak-examples: setup-dev $(NGINX)
	DAFFATHAN_TEST_EXAMPLES=soak $(BIN)/python -m pytest -q tests/unit/plugins

soak-ufw_policy: setup-dev lab
	DAFFATHAN_TEST_SUITE=bookworm $(LAB_TESTS) -n 2 --dist loadfile tests/integration/ufw_policy

soak-port_audit: setup-dev lab
	DAFFATHAN_TEST_ENGINES="20.10 28" $(LAB_TESTS) tests/integration/port_audit/test_truth.py

soak-engine: setup-dev lab
	DAFFATHAN_TEST_PLATFORM_ENGINE=28 $(LAB_TESTS) -n 2 --dist loadfile -m "not load" tests/integration/compose_rollout

# Its figures are the last line that is printed before the verdict, as JSON.
soak-rollout: setup-dev lab
	$(LAB_TESTS) -s --ignore tests/soak/test_rollout_crashes.py tests/soak

soak-crashes: setup-dev lab
	$(LAB_TESTS) -n 2 -rP tests/soak/test_rollout_crashes.py

build: setup ## dist/daffathan-platform-<version>.tar.gz
	@tests/tools/stage.sh $(STAGE) >/dev/null
	$(BIN)/ansible-galaxy collection build --force --output-path dist $(STAGE)/ansible_collections/daffathan/platform

clean: ## remove build results and virtual environments of this checkout
	rm -rf .build .ansible dist $(VENV) .venv-latest .mypy_cache .ruff_cache .pytest_cache
