PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
CONFIG ?= flows/configs/demo.toml

export CONFIG PHOTOS
export PREFECT_HOME ?= $(CURDIR)/.prefect
export PREFECT_SERVER_ANALYTICS_ENABLED = false
export DO_NOT_TRACK = 1
export PIP_NO_INPUT = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help setup demo test test-long check format app serve manifest example bench bench-train clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.installed ## make .venv with the pinned versions (quick when done)

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[all,dev]'
	touch $@

demo: setup ## the whole job on a synthetic world: photos, queue, simulated votes, manifest, report
	$(BIN)/overlap demo --config "$$CONFIG"

test: setup ## all tests (about 5 minutes on 2 cores)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadscope --no-loadscope-reorder -m 'not long'

test-long: setup ## the tests that take longer
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadscope --no-loadscope-reorder -m long

check: setup ## style, types, layers, dead code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

app: setup ## open the review app on this machine
	$(BIN)/overlap review --config "$$CONFIG"

serve: setup ## start a local Prefect server and worker with the deployments of prefect.yaml
	$(BIN)/python -m flows.serve

manifest: setup ## publish the release of CONFIG=...
	$(BIN)/overlap publish --config "$$CONFIG"

example: setup ## make the example release in data_manifests/ anew, from the demo
	rm -rf data_manifests/demo-clean-1.0.0 data_manifests/demo-upstream
	$(BIN)/overlap demo --config flows/configs/demo.toml --set release.out=../../data_manifests
	mkdir data_manifests/demo-upstream
	cp runs/demo/world/gldv2/train*.csv data_manifests/demo-upstream

bench: setup ## the benchmarks; PHOTOS=... for those that need real photos
	$(BIN)/python -m benchmarks $(if $(PHOTOS),--photos "$$PHOTOS")

bench-train: setup ## photos a second of every network, forward and training
	$(BIN)/python benchmarks/train.py

clean: ## remove what runs and tools wrote, not the releases
	rm -rf runs .prefect .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
