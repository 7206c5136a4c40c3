# Everything happens inside .venv; the stamp files in it make a second run start at once.
# Only python3 (3.10 or newer), pip and make are assumed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt
RECIPE := pyproject.toml constraints.txt

.PHONY: run test pytest test-all coverage lint format wheel clean

run: $(VENV)/.run  ## open the app; options in ARGS="--lang zh"
	@$(BIN)/chatui $(ARGS)

test: $(VENV)/.test  ## what a change must pass; lint runs beside the tests
	@$(MAKE) --no-print-directory -j 2 lint pytest

pytest:  ## four processes for two cores: many tests wait
	$(BIN)/python -m pytest -n 4 --dist worksteal $(ARGS)

test-all: $(VENV)/.test-all test  ## with the optional backends' tests too

coverage: $(VENV)/.test  ## the share of chatui/'s statements that the tests run
	$(BIN)/python -m pytest -n 3 --dist worksteal --cov --cov-report=term:skip-covered $(ARGS)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheel: $(VENV)/.run  ## dist/chatui-*.whl
	$(BIN)/python -m pip wheel --disable-pip-version-check -q --no-deps -w dist .

clean:
	rm -rf $(VENV) dist build

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "chatui needs Python 3.10 or newer: make PYTHON=/path/to/python3" >&2; exit 1; }
	@# Debian's python3 comes without ensurepip; its pip can still fill a bare environment.
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { \
		$(PYTHON) -m venv --without-pip --clear $(VENV) && \
		$(PYTHON) -m pip --python $(BIN)/python install -q pip; }

$(VENV)/.run: $(BIN)/python $(RECIPE)
	@echo "Installing chatui into $(VENV) (the first time this takes a few minutes) ..."
	@$(INSTALL) -e .
	@touch $@

$(VENV)/.test: $(BIN)/python $(RECIPE)
	@echo "Installing chatui and its tests into $(VENV) (the first time this takes a few minutes) ..."
	@$(INSTALL) -e '.[test]'
	@touch $(VENV)/.run $@

$(VENV)/.test-all: $(BIN)/python $(RECIPE)
	@echo "Installing the optional backends into $(VENV) (llama.cpp is compiled: about six minutes) ..."
	@$(INSTALL) -e '.[test,llama,modelscope]'
	@touch $(VENV)/.run $(VENV)/.test $@
