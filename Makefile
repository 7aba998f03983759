# Two commands on a bare machine with Python 3.11 to 3.13 (with venv) and make:
#   make demo     the whole chain on simulated sample data -> runs/demo/report.html
#   make test     the tests
# Both build .venv first where it is missing or older than pyproject.toml or constraints.txt.

SHELL := /bin/sh
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
TESTS ?=  # files of test-lowest and test-newest; none: all

export NO_ALBUMENTATIONS_UPDATE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-slow test-lowest test-newest fuzz lint types licences bench clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "make %-12s %s\n", $$1, $$2}'

venv: $(STAMP)  ## the environment in .venv, from constraints.txt

demo: $(STAMP)  ## import, fonts, GAN and classifier on simulated data, and a report of it
	$(RUN) scripts/demo.py

test: $(STAMP)  ## all tests but the slow ones
	$(RUN) -m pytest -m "not slow"

test-slow: $(STAMP)  ## the tests that take minutes
	$(RUN) -m pytest -m slow

# old versions of libraries call what newer ones of theirs deprecate: no fault of ours
test-lowest: $(STAMP)  ## the tests with the lowest versions that pyproject.toml allows
	$(RUN) tests/lowest.py > $(VENV)/lowest.txt
	$(RUN) -m venv --clear .venv-lowest
	.venv-lowest/bin/python -m pip install --no-input -c $(VENV)/lowest.txt -e ".[test]"
	.venv-lowest/bin/python -m pytest -m "not slow" -W ignore::DeprecationWarning $(TESTS)

test-newest: $(STAMP)  ## the tests with the newest versions there are
	$(RUN) -m venv --clear .venv-newest
	.venv-newest/bin/python -m pip install --no-input -e ".[test]"
	.venv-newest/bin/python -m pytest -m "not slow" $(TESTS)

fuzz: $(STAMP)  ## what reads files and requests, under a fuzzer for a minute each (extra: fuzz)
	@found=0; for target in importer fonts service; do \
		$(RUN) tests/run_fuzz.py $$target --seconds 60 || found=1; \
	done; exit $$found

lint: $(DEV_STAMP)  ## format and rules
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .

types: $(DEV_STAMP)  ## types, by mypy
	$(RUN) -m mypy

licences: $(DEV_STAMP)  ## docs/LICENCES.md: every package and font, refused where one may not be used
	$(RUN) scripts/licences.py --out docs/LICENCES.md

bench: $(STAMP)  ## the benchmarks that need no data of yours; the others say what they want
	@missed=; try() { \
		echo "== benchmarks/$$1.py"; name=$$1; shift; \
		$(RUN) "benchmarks/$$name.py" "$$@" || missed="$$missed $$name"; \
	}; \
	for name in mix train_loop gan_step render render_memory torn_checkpoints scale; do try $$name; done; \
	try loaders --rounds 3 --total 500 --batch-sizes 64; \
	try train_processes --steps 5 15; \
	try font_check assets/fonts; \
	if [ -n "$$missed" ]; then echo "missed or failed:$$missed" >&2; exit 1; fi

clean:  ## removes the environment, the caches and runs/demo; other runs stay
	rm -rf $(VENV) .venv-lowest .venv-newest build *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis runs/demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The first Python that is new enough and can make an environment; PYTHON=... overrides.
$(STAMP): pyproject.toml constraints.txt
	@set -e; \
	if ! $(RUN) -m pip --version >/dev/null 2>&1; then \
		for python in $(PYTHON) python3.11 python3.12 python3.13 python3 python; do \
			if "$$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; then \
				found=$$python; break; \
			fi; \
		done; \
		if [ -z "$${found:-}" ]; then \
			echo "no Python 3.11 to 3.13 with venv found: install one (Debian: python3-venv), or make PYTHON=/path/to/python" >&2; \
			exit 1; \
		fi; \
		echo "building $(VENV) with $$found"; \
		"$$found" -m venv --clear $(VENV); \
	fi
	$(RUN) -m pip install --no-input -c constraints.txt -e ".[test]"
	@touch $@

$(DEV_STAMP): $(STAMP)
	$(RUN) -m pip install --no-input -c constraints.txt -e ".[dev]"
	@touch $@
