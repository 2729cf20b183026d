# `make` alone says what there is. Only Python 3.11 or 3.12 is needed; the rest is set up on first use.
.DEFAULT_GOAL := help
RUN := .venv/bin
ONCE ?=
ONLY ?=

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: ## Install the locked environment into .venv
	@sh infra/bootstrap.sh

demo: env ## Run the main job on real purchases (ONCE=1 stops the stack at the end)
	@$(RUN)/foresend demo $(if $(ONCE),--once)

up: env ## Run the local stack: Redis, MLflow, the scoring API
	@$(RUN)/foresend up

test: env ## Run the full test suite
	@$(RUN)/pytest

unit: env ## Run the unit tests alone: seconds
	@$(RUN)/pytest tests/unit

check: env ## Run what CI checks before the tests: format, lint, types, import contracts
	@$(RUN)/ruff format --check .
	@$(RUN)/ruff check .
	@$(RUN)/mypy
	@$(RUN)/lint-imports

bench: env ## Measure, as ratios to baselines in the same run (ONLY=name,... runs some)
	@$(RUN)/python -m infra.bench $(if $(ONLY),--only $(ONLY))

.PHONY: help env demo up test unit check bench
