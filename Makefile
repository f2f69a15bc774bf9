# `make run` and `make test` need nothing but Python 3.11 or newer: they make a virtual environment here and reuse it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: run test lint bench checkpoints check-checkpoints tables screenshots clean

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[app,test]'
	touch $@

run: $(READY)  ## the dashboard (PORT=8501)
	$(BIN)/ffcore app $(if $(PORT),--port $(PORT))

test: $(READY) lint  ## everything; browser tests need a Chromium
	$(BIN)/python -m pytest -rsfE -m pace
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rsfE -m "not pace" -n $(or $(WORKERS),2) --dist worksteal

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache

bench: $(READY)  ## speed and overhead, measured here and now
	$(BIN)/python -m pytest bench -rs --benchmark-disable-gc

checkpoints: $(READY)  ## train the bundled checkpoints again, and ask them what the pages ask
	$(BIN)/python checkpoints/build.py

check-checkpoints: $(READY)  ## do the figures of their cards still hold?
	$(BIN)/python checkpoints/build.py --check

tables: $(READY)  ## the generated tables of README and docs
	$(BIN)/python docs/tables.py

screenshots: $(READY)  ## the pictures of the README
	$(BIN)/python docs/screenshots.py

clean:
	rm -rf $(VENV) dist build .ruff_cache .pytest_cache
