# `make` alone prints what can be made; the text after ## is what it prints.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9

.PHONY: help run stack services services-down test test-fast lint bench lock env

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/run.stamp ## Start everything on this machine: console at http://127.0.0.1:8080/admin/ (PORT= for another port)
	@exec $(BIN)/python manage.py run_all

stack: services ## Start everything against those five
	@set -a; . "$${ORGMANAGER_VAR_DIR:-var}/services.env"; set +a; exec $(BIN)/python manage.py run_all

services: $(VENV)/dev.stamp ## Start PostgreSQL, Redis, Kafka, Keycloak and SpiceDB on this machine
	@$(BIN)/python -m deploy.services up

services-down: $(VENV)/dev.stamp ## Stop them
	@$(BIN)/python -m deploy.services down

test: $(VENV)/dev.stamp ## Run every test, those on the five real services included
	@trap '$(BIN)/python -m deploy.services down' EXIT; \
	  $(BIN)/python -m deploy.services up && \
	  env $$(grep '^TEST_' "$${ORGMANAGER_VAR_DIR:-var}/services.env") $(BIN)/pytest

test-fast: $(VENV)/dev.stamp ## Run the tests that need no other process
	$(BIN)/pytest -m "not services"

lint: $(VENV)/dev.stamp ## Check style, imports, settings, migrations and deploy/env.md
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/python manage.py check
	$(BIN)/python manage.py makemigrations --check --dry-run
	@$(BIN)/python manage.py print_env --format markdown | diff -u deploy/env.md - || \
	  { echo 'deploy/env.md is stale: manage.py print_env --format markdown > deploy/env.md' >&2; exit 1; }

bench: services ## Measure what it promises, on the five real services; results in bench/
	@command -v wrk >/dev/null || apt-get install --quiet=2 --yes wrk || \
	  { echo 'wrk makes the load and is not here: install it' >&2; exit 1; }
	@env $$(grep '^TEST_' "$${ORGMANAGER_VAR_DIR:-var}/services.env") PYTHONPATH=. \
	  $(BIN)/python bench/run.py

env: $(VENV)/run.stamp ## Print every environment variable
	@$(BIN)/python manage.py print_env

lock: $(VENV)/run.stamp ## Pin the newest versions that pyproject.toml allows
	$(BIN)/pip install --quiet uv==$(UV_VERSION)
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	  --custom-compile-command "make lock" pyproject.toml --output-file requirements.txt
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	  --custom-compile-command "make lock" --group pyproject.toml:dev --constraint requirements.txt \
	  --output-file requirements-dev.txt

# A stamp is newer than the requirements it was installed from: then there is
# nothing to do.
$(VENV)/run.stamp: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or newer is needed and "$(PYTHON)" is not. Name one: make PYTHON=/usr/bin/python3.12 ...' >&2; exit 1; }
	@test -x $(BIN)/python || { echo 'Installing into $(VENV) ...'; $(PYTHON) -m venv $(VENV); } || \
	  { echo 'The virtual environment cannot be made; on Debian: apt install python3-venv' >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt $(VENV)/run.stamp
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@
