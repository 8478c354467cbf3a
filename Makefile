# Two commands: `make run` and `make test`. Everything else is for those who work on the hub.

.DEFAULT_GOAL := help
.PHONY: help run test faults bench lint format locks install screens shape verify-compose clean

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' $(MAKEFILE_LIST)

run: .venv/.run ## Run the whole hub; Ctrl-C stops it
	@.venv/bin/python manage.py up

test: .venv/.dev ## Test on SQLite, and on PostgreSQL where there is one (ARGS="-k inbox" goes to pytest)
	@.venv/bin/python scripts/test $(ARGS)

faults: .venv/.dev ## Every experiment of docs/faults.md at full counts (ARGS="E20 E31" for some)
	@.venv/bin/python scripts/faults $(ARGS)

bench: .venv/.dev ## The hub beside its peers, in figures (ONLY="W1 W2" SYSTEMS="hub nchan" for some)
	@ONLY="$(ONLY)" SYSTEMS="$(SYSTEMS)" .venv/bin/python -m benchmarks

lint: .venv/.dev ## Every check that needs no server
	@scripts/lint

format: .venv/.dev ## Lay out Python, templates and JavaScript
	@scripts/lint --fix

locks: .venv/.dev ## Resolve the dependencies anew
	@scripts/locks

install: .venv/.run ## Only install

screens: .venv/.dev ## Pictures of every page
	@.venv/bin/python scripts/screens

shape: .venv/.run ## Figures about the size of files and functions
	@.venv/bin/python scripts/shape

verify-compose: .venv/.dev ## Bring docker-compose.yml up once, with podman as the engine (root, Debian)
	@scripts/verify-compose

clean: ## Remove what was installed; your data in .hub/ stays
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

.venv/.run: requirements.lock scripts/install
	@scripts/install

.venv/.dev: requirements.lock requirements-dev.lock scripts/install
	@scripts/install --dev
