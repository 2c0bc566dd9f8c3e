# make demo: the whole workflow on phantom heads.  make help: everything else.
# Needs Python >= 3.11 (PYTHON=python3.12 to choose one) and make, nothing more.

PYTHON ?= python3
CORES ?= 2
DATA ?=
PRESET ?=
# pip options for PyTorch alone, for example on a machine without a GPU:
# TORCH_OPTIONS="--index-url https://download.pytorch.org/whl/cpu"
TORCH_OPTIONS ?=

VENV := .venv
BIN := $(VENV)/bin
SNAKEMAKE := $(BIN)/snakemake --cores $(CORES)
INSTALLED := $(VENV)/.installed
TEST_INSTALLED := $(VENV)/.test-installed
BENCHMARK_INSTALLED := $(VENV)/.benchmark-installed
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help install demo test test-slow test-unit test-cluster test-cluster-slow lint phe-sich rescan lock docs prune-store cancel-jobs benchmark benchmark-evaluation benchmark-splitting benchmark-augmentation benchmark-conversion

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-20s %s\n", $$1, $$2}' Makefile

install: $(INSTALLED) ## Install the locked packages into .venv, and run nothing

# Networks as small as the demo's train faster side by side, with a core each, than one by one with all of them.
demo: $(INSTALLED) ## Run the whole workflow, five studies, on phantom data in about ten minutes
	$(SNAKEMAKE) --max-threads 1 default ich_detection meniscus ct_hematoma chestxray14 --config preset=demo
	@echo "The reports: $(CURDIR)/results/demo/report.html, and report.html in a folder for each study beside it"

phe-sich: $(INSTALLED) ## Run the real study: make phe-sich DATA=<folder> [PRESET=cpu_quick]
	@$(BIN)/python workflow/scripts/link_data.py --study phe_sich --data "$(DATA)"
	$(SNAKEMAKE) phe_sich $(if $(PRESET),--config preset=$(PRESET))

rescan: $(INSTALLED) ## List raw files that you changed anew: make rescan STUDY=<study> [SOURCE=<source>] [PRESET=<preset>]
	@$(BIN)/python workflow/scripts/rescan_source.py --study "$(STUDY)" --source "$(SOURCE)" --preset "$(PRESET)"

test: $(TEST_INSTALLED) lint ## Lint, and run the tests of the library and of the workflow
	$(BIN)/python -m pytest -m "not slow" --numprocesses 2

test-slow: $(TEST_INSTALLED) ## Run the tests of training in several processes (3 minutes)
	$(BIN)/python -m pytest -m slow

test-unit: $(TEST_INSTALLED) ## Run the unit tests alone
	$(BIN)/python -m pytest tests/unit --numprocesses 2

test-cluster: $(TEST_INSTALLED) ## Run the workflow on a private SLURM, where SLURM is installed (6 minutes)
	$(BIN)/python -m pytest tests/cluster -m "not slow" -rs

test-cluster-slow: $(TEST_INSTALLED) ## Kill Snakemake twenty times at random moments of such a run (20 minutes)
	$(BIN)/python -m pytest tests/cluster -m slow -rs

lint: $(TEST_INSTALLED) ## Check format, style, types and the workflow
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint

docs: $(INSTALLED) ## Write config/schema.json, config/README.md and docs/evaluate.md anew
	$(BIN)/python workflow/scripts/write_docs.py

benchmark: $(INSTALLED) ## Measure training throughput against two other loops
	$(BIN)/python benchmarks/training_throughput.py

benchmark-evaluation: $(TEST_INSTALLED) ## Measure evaluation against scikit-learn, pycocotools, scipy (5 minutes)
	$(BIN)/python benchmarks/evaluation.py
	$(BIN)/python benchmarks/interval_coverage.py

benchmark-splitting: $(BENCHMARK_INSTALLED) ## Measure splitting and curation against scikit-learn, faiss, OpenCV (5 minutes)
	$(BIN)/python benchmarks/splitting.py

benchmark-augmentation: $(INSTALLED) ## Measure offline augmentation against a plain loop over albumentations
	$(BIN)/python benchmarks/augmentation.py

benchmark-conversion: $(INSTALLED) ## Measure DICOM and .nii.gz to PNG against pydicom, nibabel and Pillow
	$(BIN)/python benchmarks/conversion.py

prune-store: $(INSTALLED) ## List the models that no current target needs; CONFIRM=yes removes them
	$(BIN)/python workflow/scripts/prune_store.py --store results/model_store --results results $(if $(filter yes,$(CONFIRM)),--remove)

# The environment is that of the workflow, .venv or the active one; nothing is installed at such a moment.
cancel-jobs: ## Cancel the SLURM jobs that a killed Snakemake left behind in this folder, and unlock it
	@python workflow/scripts/cancel_jobs.py

lock: ## Resolve the requirements anew (needs uv on the PATH)
	cd requirements && for name in run test benchmark; do uv pip compile --config-file uv.toml --universal --python-version 3.11 \
	  --generate-hashes --no-emit-package torch --no-header --quiet --upgrade $$name.in --output-file $$name.lock; done

$(BIN)/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else \
	  f"Python: found {v.major}.{v.minor}; expected 3.11 or later. Run: make PYTHON=<path to a newer python3> ...")'
	$(PYTHON) -m venv $(VENV)

# torch first and alone, then the hashed lock, which leaves it out.
$(INSTALLED): requirements/torch.txt requirements/run.lock | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH_OPTIONS) --requirement requirements/torch.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --requirement requirements/run.lock
	@touch $@

$(TEST_INSTALLED): requirements/test.lock $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --requirement requirements/test.lock
	@touch $@

$(BENCHMARK_INSTALLED): requirements/benchmark.lock $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --requirement requirements/benchmark.lock
	@touch $@
