# `make` alone lists the targets. Another Python: make install PYTHON=python3.11
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
# The site is built from the sources: its environment takes seconds.
DOCS_VENV := .venv-docs
DOCS := mkdocs-material mkdocstrings mkdocstrings-python ruff
# Of pytest-xdist: a process for each core, of up to 4 GB. `make test WORKERS=` runs the tests in one.
WORKERS ?= -n auto --maxprocesses 4 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all test-reliability coverage lint docs doctor clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: ## make .venv with torch, mmdet, mmseg, mmpretrain and mmrest; quick when already there
	@$(PYTHON) tools/setup_env.py --venv $(VENV)

demo: install ## run the demo
	@$(RUN) tools/run_demo.py

test: install ## run the tests except the slow ones
	@$(RUN) -m pytest $(WORKERS)

test-all: install ## run all tests
	@$(RUN) -m pytest -m ""

test-reliability: install ## run all tests of reliability: runs are killed, files are damaged
	@$(RUN) -m pytest -m "" tests/reliability

coverage: install ## measure the coverage of the fast tests, or of some: make coverage TESTS=tests/test_layers
	@$(RUN) -m pytest $(WORKERS) --cov --cov-report=term --cov-report=html $(TESTS)
	@echo "Each line is in htmlcov/index.html."

lint: install ## check style, imports between packages, types and spelling
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(VENV)/bin/lint-imports
	@$(RUN) -m mypy
	@$(RUN) -m codespell_lib

docs: $(DOCS_VENV)/ready ## build the documentation into site/, without torch; a broken link fails
	@NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/python -m mkdocs build --strict
	@echo "The site is in site/index.html."

$(DOCS_VENV)/ready: constraints.txt Makefile
	@$(PYTHON) -m venv --clear $(DOCS_VENV)
	@$(DOCS_VENV)/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt $(DOCS)
	@touch $@

doctor: ## say what is wrong with the environment and how to mend it
	@if [ -x $(RUN) ]; then $(RUN) tools/doctor.py; else $(PYTHON) tools/doctor.py; fi

clean: ## remove the environments, build folders and caches
	rm -rf $(VENV) $(DOCS_VENV) build dist site *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .coverage htmlcov
	find mmrest tests tools configs -name __pycache__ -type d -prune -exec rm -rf {} +
