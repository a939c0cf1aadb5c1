# `make` alone lists the targets. Another Python: make install PYTHON=python3.11
PYTHON ?= python3
VENV ?= .venv
RUN := $(VENV)/bin/python
# Of pytest-xdist: a process for each core, of up to 4 GB. `make test WORKERS=` runs the tests in one.
WORKERS ?= -n auto --maxprocesses 4 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all test-reliability lint docs doctor clean

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

lint: install ## check style, imports between packages, types and spelling
	@$(RUN) -m ruff check .
	@$(RUN) -m ruff format --check .
	@$(VENV)/bin/lint-imports
	@$(RUN) -m mypy
	@$(RUN) -m codespell_lib

docs: install ## build the documentation into site/; a broken link fails
	@$(RUN) -c 'import material, mkdocstrings_handlers.python' 2>/dev/null \
		|| $(RUN) -m pip install -q -c constraints.txt --no-build-isolation -e ".[docs]"
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict
	@echo "The site is in site/index.html."

doctor: ## say what is wrong with the environment and how to mend it
	@if [ -x $(RUN) ]; then $(RUN) tools/doctor.py; else $(PYTHON) tools/doctor.py; fi

clean: ## remove .venv, build folders and caches
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .ruff_cache
	find mmrest tests tools configs -name __pycache__ -type d -prune -exec rm -rf {} +
