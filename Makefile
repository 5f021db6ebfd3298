# Two commands on a fresh machine: `make demo` and `make test`. Each makes its own environment in $(VENV) first.
# `make demo VENV=/else/where` or `make demo PYTHON=python3.13` choose another place or another Python.

VENV ?= .venv

# The first Python that runs, is new enough and can make environments. Trying beats looking: a version manager's shim may exist and not run.
ifndef PYTHON
PYTHON := $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
endif

.PHONY: help demo test test-core docs check clean
.DELETE_ON_ERROR:

help:
	@echo "make demo    render sample cultures and segment them, into demo/"
	@echo "make test    run the tests"
	@echo "make test-core VENV=.venv-core   run those that need no extra, where none is installed"
	@echo "make docs    build the documentation site into docs/_build/html"
	@echo "make check   ruff, mypy, the import contract and the documentation"
	@echo "make clean   remove demo/, the site and $(VENV)"

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "somaseg needs Python 3.11 or newer with venv and ensurepip; none was found." \
		"Install one (on Debian and Ubuntu also python3-venv), or name it: make demo PYTHON=/path/to/python" >&2; exit 1; }
	"$(PYTHON)" -m venv "$(VENV)"

# The stamps make a rerun quick: pip is asked again only when pyproject.toml changes.
$(VENV)/core.stamp: pyproject.toml | $(VENV)/bin/python
	"$(VENV)/bin/python" -m pip install --quiet --editable .
	@touch "$@"

$(VENV)/dev.stamp: pyproject.toml | $(VENV)/bin/python
	"$(VENV)/bin/python" -m pip install --quiet --editable ".[dev]"
	@touch "$(VENV)/core.stamp" "$@"

# annotations.json is written after the images.
demo/annotations.json: $(wildcard src/somaseg/synth/*.py) | $(VENV)/core.stamp
	"$(VENV)/bin/somaseg" synth --out demo --count 3 --cell-type mixed --seed 1

demo: demo/annotations.json $(VENV)/core.stamp
	"$(VENV)/bin/somaseg" segment demo/images --out demo/result
	@echo
	@echo "images    $(CURDIR)/demo/images"
	@echo "masks     $(CURDIR)/demo/result/labels (label images), $(CURDIR)/demo/result/instances.json (COCO)"
	@echo "table     $(CURDIR)/demo/result/cells.csv"
	@echo "overlays  $(CURDIR)/demo/result/overlays"

test: $(VENV)/dev.stamp
	"$(VENV)/bin/python" -m pytest

# Without the extras, and so without torch: what `pip install somaseg` brings must do for segmenting and scoring.
test-core: $(VENV)/core.stamp
	@if "$(VENV)/bin/python" -c 'import torch' 2>/dev/null; then echo "$(VENV) has torch: give another VENV" >&2; exit 1; fi
	"$(VENV)/bin/python" -m pip install --quiet pytest hypothesis
	"$(VENV)/bin/python" -m pytest tests/batch tests/cli tests/inference tests/runtimes tests/project/test_core.py tests/project/test_offline.py

# No page is taken from an earlier build, so that all warnings are seen; they are errors. Nothing is fetched.
docs: $(VENV)/dev.stamp
	"$(VENV)/bin/python" -m sphinx -b html -W --keep-going -q -E -d docs/_build/doctrees docs docs/_build/html
	@echo "site      $(CURDIR)/docs/_build/html/index.html"

check: $(VENV)/dev.stamp docs
	"$(VENV)/bin/ruff" check
	"$(VENV)/bin/ruff" format --check
	"$(VENV)/bin/mypy"
	"$(VENV)/bin/lint-imports" --no-logo

clean:
	rm -rf demo docs/_build "$(VENV)"
