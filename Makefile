# make demo: see the whole method work.  make test: run the tests.  make check: what CI and pre-commit run.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALL := $(PIP) install --constraint constraints.txt --editable

# make bench DATA='folder ...' (train.txt.gz, test.txt.gz): what to measure on; synthetic data by default. DOCS=1 puts
# the figures into docs/performance.md.
DATA ?= build/benchmark
PEER := .venv-recbole

export NO_MKDOCS_2_WARNING := 1

.PHONY: demo test check secrets docs readme bench pin clean
.DELETE_ON_ERROR:

# An interrupted install leaves .installing behind, and the next one then starts from an empty environment: pip does
# not notice a package that it has half unpacked.
define begin_install
@$(PYTHON) -c 'import sys; sys.exit("hnlmrec needs Python 3.11 or newer, this is %s. Run: make PYTHON=/path/to/python3.11" % sys.version.split()[0] if sys.version_info < (3, 11) else 0)'
@if [ -e $(VENV)/.installing ]; then rm -rf $(VENV); fi
@mkdir -p $(VENV) && touch $(VENV)/.installing
@[ -x $(BIN)/pip ] || $(PYTHON) -m venv $(VENV)
endef

$(VENV)/.installed: pyproject.toml constraints.txt
	$(begin_install)
	$(INSTALL) '.[all]'
	@rm $(VENV)/.installing && touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt
	$(begin_install)
	$(INSTALL) '.[all,dev,docs]'
	@rm $(VENV)/.installing && touch $(VENV)/.installed $@

demo: $(VENV)/.installed
	$(BIN)/hnlmrec demo

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

check: $(VENV)/.installed-dev secrets
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal
	$(BIN)/mkdocs build --strict --quiet

secrets: $(VENV)/.installed-dev
	.ci/secrets

docs: $(VENV)/.installed-dev
	$(BIN)/mkdocs build --strict
	@echo "open site/index.html"

# Writes the file tree of README.md from the files.
readme:
	$(PYTHON) docs/tree.py

# RecBole imports with old packages only, so it has an environment of its own.
$(PEER)/.installed: benchmarks/recbole/requirements.txt
	rm -rf $(PEER) && $(PYTHON) -m venv $(PEER)
	$(PEER)/bin/python -m pip --disable-pip-version-check --quiet install -r benchmarks/recbole/requirements.txt
	@touch $@

bench: $(VENV)/.installed $(PEER)/.installed
	@[ -e $(firstword $(DATA)) ] || $(BIN)/python benchmarks/synthetic.py $(firstword $(DATA))
	$(BIN)/python benchmarks/suite.py $(DATA) --peer $(PEER)/bin/python $(if $(DOCS),--docs)

# Writes the versions that are in .venv; see CONTRIBUTING.
pin: $(VENV)/.installed-dev
	@sed -n '/^#/p' constraints.txt > constraints.new
	$(PIP) freeze --exclude-editable | sed 's/+cpu$$//' >> constraints.new
	@mv constraints.new constraints.txt

clean:
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
