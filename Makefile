# Needs Python 3.11+ with venv, pip and make. Everything is installed into .venv from constraints.txt.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# The first interpreter that is new enough; name another one with `make PYTHON=python3.12 ...`.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# pip would write its cache outside the clone: set PIP_FLAGS= to let it.
PIP_FLAGS ?= --no-cache-dir
TORCH ?= 2.13.0
# Test files under way at a time.
JOBS ?= 2

VENV := .venv
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt
PINS := pyproject.toml constraints.txt

export PYTHONUNBUFFERED := 1

.PHONY: help
help: ## This list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-17s %s\n", $$1, $$2}'
	@echo "  options: PYTHON=python3.12, PIP_FLAGS= (use pip's cache), SERVE=1 (demo: leave it running)"

$(VENV)/.created:
	@test -n "$(PYTHON)" || { echo "GradSift needs Python 3.11 or newer; name one with PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and f"GradSift needs Python 3.11 or newer; $(PYTHON) is {sys.version.split()[0]}")'
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# One stamp for each set of extras; a larger set also stamps the smaller ones that it contains.
$(VENV)/.demo: $(VENV)/.created $(PINS)
	@echo "Installing the service, the worker and the demo model into $(VENV) (minutes, the first time)"
	$(INSTALL) -e ".[worker,demo]"
	@touch $@

$(VENV)/.test: $(VENV)/.created $(PINS)
	@echo "Installing the service, the worker, the demo model and the checks into $(VENV) (minutes, the first time)"
	$(INSTALL) -e ".[worker,demo,dev,otel,wandb]"
	@touch $(VENV)/.demo $@

$(VENV)/.bench: $(VENV)/.test $(PINS)
	$(INSTALL) -e ".[worker,demo,dev,otel,wandb,bench]"
	@touch $@

.PHONY: install
install: $(VENV)/.test ## Everything for development into .venv

.PHONY: demo
demo: $(VENV)/.demo ## A real scoring job on 2,500 clothing reviews, start to finish
	@$(BIN)/python -m demo.run $(if $(filter-out 0,$(SERVE)),--serve)

.PHONY: web
web: ## Builds the dashboard's files from web/ (needs Node.js; the built ones are committed)
	cd web && npm ci --no-audit --no-fund && npm run check && npm run build

.PHONY: pictures
pictures: $(VENV)/.test ## Drives the whole dashboard in a real Chromium on the demo's reviews; takes the pictures of the docs
	$(BIN)/python -m demo.tour $(ARGS)

.PHONY: test
test: $(VENV)/.test ## All tests (JOBS=1: one after the other)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

.PHONY: bench bench-gradients bench-job bench-store bench-api bench-ingest bench-recovery bench-load bench-dashboard bench-quality
bench: bench-gradients bench-job bench-store bench-api bench-ingest bench-recovery ## All benchmarks but bench-quality; docs/benchmarks.md has the figures taken so far
bench-gradients: $(VENV)/.bench ## Per-sample gradient norms against the plain step (ARGS="--quick")
	$(BIN)/python benchmarks/gradients.py $(ARGS)
bench-job: $(VENV)/.test ## A whole score job against the same training without scores
	GOMP_SPINCOUNT=20000 $(BIN)/python benchmarks/score_job.py $(ARGS)
bench-store: $(VENV)/.test ## Memory, writes and look-ups of the score state against a hash per sample
	$(BIN)/python benchmarks/score_store.py $(ARGS)
bench-api: $(VENV)/.test ## The hot routes against an empty FastAPI route and raw Redis (ARGS="--samples 1000000")
	$(BIN)/python benchmarks/api.py $(ARGS)
bench-ingest: $(VENV)/.test ## Rows a second of each format against pydantic routes that write nothing (ARGS="--parts memory")
	$(BIN)/python benchmarks/ingest.py $(ARGS)
bench-recovery: $(VENV)/.test ## Bytes and time of the archive; how fast verify, backup, rebuild and restore are
	$(BIN)/python benchmarks/recovery.py $(ARGS)
bench-load: $(VENV)/.test ## The API's capacity under mixed traffic (ARGS="--soak 10", "--overload 30", "--capacity 500")
	GOMP_SPINCOUNT=20000 $(BIN)/python benchmarks/load.py $(ARGS)
bench-dashboard: $(VENV)/.test ## The map of a million samples in a real Chromium
	$(BIN)/python benchmarks/dashboard.py $(ARGS)
bench-quality: $(VENV)/.bench ## Noise found and cores chosen, against cleanlab and others; needs DATA=DIR MODELS=DIR
	$(BIN)/python benchmarks/quality.py --data "$(DATA)" --models "$(MODELS)" $(ARGS)

.PHONY: chaos
chaos: $(VENV)/.test ## A storm of kills and lost tails against the real service (ARGS="--short", "--seed 1")
	$(BIN)/python -m tests.chaos $(ARGS)

.PHONY: chaos-rows
chaos-rows: $(VENV)/.test ## The same over imports, splits, cleaning, labelling, reviews (ARGS="--seconds 300")
	$(BIN)/python -m tests.chaos.rows $(ARGS)

.PHONY: fuzz
fuzz: $(VENV)/.test ## Schemathesis, all phases and checks, 20,000 requests and more (ARGS="--seed 7")
	$(BIN)/python -m tests.fuzzing $(ARGS)

.PHONY: lint
lint: $(VENV)/.test ## Lint, format, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: format
format: $(VENV)/.test ## Rewrites the code in the one format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: package
package: ## Installs the plain package into a fresh environment: no torch, and the API imports
	PYTHON=$(PYTHON) PIP_FLAGS="$(PIP_FLAGS)" bash scripts/check_api_install.sh

.PHONY: compose
compose: ## Validates docker-compose.yml where the compose plugin is installed
	@if docker compose version >/dev/null 2>&1; then \
		GRADSIFT_API_KEYS=check docker compose --profile "*" config -q && echo "docker-compose.yml: valid"; \
	else echo "docker compose is not installed: docker-compose.yml is checked by tests/test_packaging.py only"; fi

.PHONY: check
check: lint compose package test ## Everything that CI checks

.PHONY: lock
lock: ## Resolves constraints.txt anew, in a clean environment
	PYTHON=$(PYTHON) TORCH=$(TORCH) PIP_FLAGS="$(PIP_FLAGS)" bash scripts/lock.sh

.PHONY: audit-deps
audit-deps: ## Known vulnerabilities of everything that is pinned (asks PyPI; AUDIT_SERVICE=osv or newest, SBOM=sbom.json)
	@PYTHON=$(PYTHON) PIP_FLAGS="$(PIP_FLAGS)" AUDIT_SERVICE="$(AUDIT_SERVICE)" SBOM="$(SBOM)" bash scripts/audit_deps.sh

.PHONY: clean
clean: ## Removes what the commands above made, .venv included
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
