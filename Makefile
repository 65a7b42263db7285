# Every target is a line that you could type yourself; `make help` lists them.
# The environment .venv is made by the first target that needs it and again when pyproject.toml changes.

PYTHON ?= python3
BIN     = .venv/bin
PYTEST  = $(BIN)/pytest -n auto --dist worksteal
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help demo test test-all check fmt lint types bench soak clean dist

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/run.stamp ## Start hookward before a small application and send it deliveries (ARGS=--once ends by itself)
	@$(BIN)/python -m proxy demo $(ARGS)

test: .venv/test.stamp ## Run the tests (ARGS="-k slack" chooses)
	$(PYTEST) $(ARGS)

test-all: .venv/test.stamp ## Run the tests three times: asyncio in debug mode, asyncio, uvloop
	PYTHONASYNCIODEBUG=1 HOOKWARD_LOOP=asyncio $(PYTEST) $(ARGS)
	HOOKWARD_LOOP=asyncio $(PYTEST) $(ARGS)
	HOOKWARD_LOOP=uvloop $(PYTEST) $(ARGS)

check: lint types ## What must pass before a commit, besides the tests

fmt: .venv/test.stamp ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: .venv/test.stamp ## Look for smells and unformatted code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/test.stamp ## Check the types
	$(BIN)/mypy

bench: .venv/test.stamp ## Measure against an aiohttp proxy with the same check (ARGS=--help shows more)
	$(BIN)/python -m bench.load $(ARGS)

soak: .venv/test.stamp ## Reload, kill and upgrade under load for a minute, and lose no delivery (ARGS=--help shows more)
	$(BIN)/python -m bench.load.soak $(ARGS)

dist: .venv/test.stamp ## Build the wheel and the source archive
	$(BIN)/python -m hatchling build

clean: ## Remove what was built, .venv too
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/run.stamp: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -e .
	@touch $@

# pip reads dependency groups only from 25.1 on, so the groups are written out for it.
.venv/test.stamp: .venv/run.stamp
	@$(BIN)/python -c 'import tomllib; print("\n".join(sum(tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"].values(), [])))' > .venv/groups.txt
	$(BIN)/pip install -q -r .venv/groups.txt
	@touch $@
