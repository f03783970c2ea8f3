BIN := .venv/bin

# Where it is set, every process that a test starts would compile the whole package again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup pocket check test lint clean

setup:
	@bash scripts/setup.sh

pocket: setup
	$(BIN)/reasoner-rm pocket $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# The tests that start nothing, with fewer random examples: two minutes in all.
check: lint
	$(BIN)/pytest -m unit -n 2 --dist loadfile -q --hypothesis-profile=check $(PYTEST_ARGS)

test: lint
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

clean:
	rm -rf build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -path ./.venv -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
