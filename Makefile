# make lab     JupyterLab on the first notebook        make test    everything CI checks
# make demo    one layer-by-layer compression          make bench   the benchmarks
# make pages   the gallery's and the README's pictures, and the notebooks' outputs, made again
# make clean   removes all that make made
#
# PYTHON names the Python that .venv is made with: make lab PYTHON=python3.12

PYTHON ?= python3
BIN = .venv/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: lab demo test bench pages clean

lab: .venv/.lab
	$(BIN)/workbench lab

demo: .venv/.lab
	$(BIN)/workbench compress --model pygpt --method svd --metric input --kept 0.4

test: .venv/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not browser" -n 2 --dist loadfile --no-loadscope-reorder
	$(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=120 notebooks
	$(BIN)/python -m pytest -m browser

bench: .venv/.bench
	set -e; for script in benchmarks/*.py; do echo "$$script"; $(BIN)/python "$$script"; done

pages: .venv/.lab
	$(BIN)/python docs/make_gallery.py
	$(BIN)/python docs/make_views.py
	$(BIN)/python .ci/execute_notebooks.py

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis
	find workbench tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is as new as the last install: with nothing changed, nothing is installed again.
.venv/.lab: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e ".[quantise,digits]"
	touch $@

.venv/.test: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e ".[test]"
	touch $@ .venv/.lab

.venv/.bench: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) -e ".[bench]"
	touch $@ .venv/.lab

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "The workbench needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is $$($(PYTHON) -V 2>&1)." >&2; \
	  echo "Name another one, for example: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; \
	  exit 1; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }
