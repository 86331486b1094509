# `make demo` and `make test` need nothing but Python 3.11 or later: they set up .venv themselves and skip what is done.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo app test thorough quality style docs study browser screenshots clean install
.DEFAULT_GOAL := demo

install: $(INSTALLED)

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("hf-newsmatch needs Python 3.11 or later, this is %d.%d: make PYTHON=python3.11" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

# the English feed, then the German portal, which is translated first
demo: $(INSTALLED)
	for recipe in demo demo_portal; do \
		$(BIN)/accelerate launch --quiet --config_file accelerate_configs/cpu.yaml scripts/train.py --config recipes/$$recipe.yaml --overwrite && \
		$(BIN)/python scripts/interpolate.py --config recipes/$$recipe.yaml && \
		$(BIN)/python scripts/predict.py --config recipes/$$recipe.yaml && \
		$(BIN)/python scripts/evaluate.py --config recipes/$$recipe.yaml && \
		$(BIN)/python scripts/report.py --config recipes/$$recipe.yaml || exit; \
	done
	@echo "Open outputs/demo/report/index.html and outputs/demo_portal/report/index.html in a browser."

# the demo's models and pictures in the browser
app: $(INSTALLED)
	$(BIN)/python app/app.py

test: $(INSTALLED)
	$(BIN)/python -m pytest

# what `make test` leaves out for the sake of its minutes
thorough: $(INSTALLED)
	$(BIN)/python -m pytest -m thorough

quality: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy --config-file pyproject.toml

style: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# the site in build/site, which opens from disk; a broken link or reference is an error
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "Open build/site/index.html in a browser."

# what the tests marked browser need beside it: Debian's Chromium and npm's axe-core
browser:
	command -v chromium > /dev/null || (apt-get update -qq && apt-get install -qq --no-install-recommends chromium)
	npm install --prefix tests/browser --no-package-lock --no-audit --no-fund

# the pictures of the README, of the report that `make demo` wrote
screenshots: $(INSTALLED)
	$(BIN)/python scripts/screenshot.py outputs/demo/report/index.html docs/report.png
	$(BIN)/python scripts/screenshot.py outputs/demo/report/index.html docs/cases.png --selector '#cases'

study: $(INSTALLED)
	$(BIN)/python scripts/study.py

clean:
	rm -rf $(VENV) outputs build src/*.egg-info .mypy_cache .pytest_cache .ruff_cache
