# Two commands do all on a fresh machine: `make certify EXP=tiny` and `make test`.
# make returns 2 whatever went wrong: the verdict is in runs/<EXP>/latest/verdict.json and on the last line.
SHELL := /bin/bash
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.lock-installed
HARNESS := $(BIN)/python -m harness
PYTEST := $(BIN)/python -m pytest -q
PARALLEL := -n auto --dist worksteal

.PHONY: help certify replay review build doctor gpu-check docs setup pyz lint test test-unit test-smoke test-engine test-tools test-slow coverage bench bench-build bench-review bench-archive trainers mutants faults gc clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

# An experiment's name comes from the command line: it reaches the shell as a variable, never as text of the recipe.
certify: export EXP_NAME := $(EXP)
certify: $(STAMP) ## certify EXP=name [RUNNER=docker|host] [GPU=uuid] [HARNESS_PYTHON=path] [ENGINE=none] [OFFLINE=dir] [STEPS=20] [SWEEP=50] [SET="config.lr=0.001"] [CONTINUE=1] [PLAN=1] [ALLOW_DIRTY=1]
	@[ -n "$$EXP_NAME" ] || { echo "error: which experiment? make certify EXP=tiny" >&2; exit 2; }
	@$(HARNESS) certify -- "$$EXP_NAME"

replay: export REPLAY_COMMIT := $(COMMIT)
replay: export EXP_NAME := $(EXP)
replay: $(STAMP) ## replay COMMIT=hash (or an archive) [EXP=name] [AGAINST=hash] [STEPS=20] [PREFLIGHT=1] [RUNNER=docker|host]
	@[ -n "$$REPLAY_COMMIT" ] || { echo "error: which commit? make replay COMMIT=<hash>" >&2; exit 2; }
	@$(HARNESS) replay -- "$$REPLAY_COMMIT" $${EXP_NAME:+"$$EXP_NAME"}

review: export EXP_NAME := $(EXP)
review: $(STAMP) ## read the code of EXP=name (or a path) and hold it against the checklist [PROBE=1]
	@[ -n "$$EXP_NAME" ] || { echo "error: what is to be reviewed? make review EXP=tiny" >&2; exit 2; }
	@$(HARNESS) review -- "$$EXP_NAME"

build: $(STAMP) ## build IMAGE=cpu twice from nothing and compare the ids
	@$(HARNESS) build --check $(or $(IMAGE),cpu)

gc: $(STAMP) ## free images, caches and runs that nothing refers to [DRY_RUN=1]
	@$(HARNESS) gc

doctor: $(STAMP) ## what this machine can do, and the remedy for the rest
	@$(HARNESS) doctor

gpu-check: $(STAMP) ## what only a GPU can show, in about 10 minutes [GPU=uuid] [HARNESS_PYTHON=path] [OFFLINE=dir] [CHECKS="digests memory"]
	@$(HARNESS) doctor --gpu $${GPU:+"$$GPU"}

DOCS := build/docs

docs: $(DOCS)/.lock-installed ## the site of docs/, in build/site
	@NO_MKDOCS_2_WARNING=1 PYTHONPATH=$(DOCS) $(BIN)/python -m mkdocs build --quiet

$(DOCS)/.lock-installed: lockfiles/docs.lock $(STAMP)
	@rm -rf $(DOCS)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
	    --target $(DOCS) -r lockfiles/docs.lock
	@touch $@

setup: $(STAMP) ## the harness's own environment, from its hashed lock, with the command .venv/bin/harness

$(STAMP): lockfiles/harness.lock setup.py harness/recorder/ml128.c
	@bash .ci/venv "$(PYTHON)" "$(VENV)" lockfiles/harness.lock
	@touch $@

pyz: $(STAMP) ## dist/harness.pyz: the harness for reviewers in one file, which verifies without being installed
	@$(BIN)/python .ci/pyz/build.py dist/harness.pyz

lint: $(STAMP) ## ruff and mypy
	$(BIN)/ruff check harness pipelines tests
	$(BIN)/ruff format --check harness pipelines tests
	$(BIN)/mypy

test: lint test-unit test-smoke coverage ## lint, unit tests, and the whole flow once on a real engine

test-unit: $(STAMP) ## no engine and no torch needed
	$(PYTEST) $(PARALLEL) -m "not slow and not torch" --durations=5 --cov --cov-report= \
	    tests/unit tests/review tests/tamper/test_attacks.py

test-smoke: $(STAMP) ## certify, refuse, archive, verify, replay; installs and starts an engine as `make certify` does
	$(PYTEST) -m "not slow" --durations=5 tests/smoke

test-engine: $(STAMP) ## builds, faults, registries, GPU requests, the gate and more on a real engine; recorder and pipelines with torch
	HARNESS_TEST_TORCH_PYTHON=$$($(BIN)/python -m tests.torch_python) OMP_NUM_THREADS=1 \
	    $(PYTEST) $(PARALLEL) -m "torch and not slow" --durations=5 tests/unit tests/cases tests/foreign
	$(PYTEST) -m "not slow" --durations=15 tests/engine

test-tools: $(STAMP) ## what other programs say: a browser, a crate validator, workflow linters, pip; archives with random changes
	$(PYTEST) -m "not slow" --durations=5 tests/tools
	$(PYTEST) $(PARALLEL) -m "not slow" --durations=5 tests/tamper/test_bytes.py tests/tamper/test_fuzz.py

test-slow: $(STAMP) ## the tests that take many minutes: smollm2, the CUDA image, emulated processors, every byte of an archive
	HARNESS_TEST_TORCH_PYTHON=$$($(BIN)/python -m tests.torch_python) OMP_NUM_THREADS=1 \
	    $(PYTEST) -m slow tests/engine tests/tools tests/tamper tests/foreign

coverage: ## how much of harness/ the last unit tests ran
	@bash .ci/coverage $(BIN)

bench: $(STAMP) ## what recording costs: the digest's speed, and steps with the recorder beside steps without [HARNESS_PYTHON=path]
	$(BIN)/python -m tests.bench

bench-build: $(STAMP) ## what building an image costs beyond fetching, installing and writing it once
	$(BIN)/python -m tests.bench_build

bench-archive: $(STAMP) ## what reading an archive takes beside sha256sum of the same file
	$(BIN)/python -m tests.bench_archive

bench-review: $(STAMP) ## what reviewing 1,000 files takes, cold and unchanged
	$(BIN)/python -m tests.bench_review

trainers: $(STAMP) ## certify public training code as it is; needs the network and HARNESS_PYTHON=path of an interpreter [TRAINER="nanogpt dcgan"]
	$(BIN)/python -m tests.trainers $(TRAINER)

mutants: $(STAMP) ## how often the verdict and its cause are right on planted bugs: hours; HARNESS_PYTHON=path [IDS="A7 clean"]
	$(BIN)/python -m tests.mutants $(IDS)

faults: $(STAMP) ## what comes of kills, full disks, hung trainings: hours [NAMES="hung memory"] [RUNNER=host HARNESS_PYTHON=path]
	$(BIN)/python -m tests.faults $(NAMES)

clean: ## remove the environment and all runs (the cache and the images stay)
	rm -rf $(VENV) runs .mypy_cache .ruff_cache .pytest_cache .coverage *.egg-info
