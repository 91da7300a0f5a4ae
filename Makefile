.DEFAULT_GOAL := help
.PHONY: help install demo demo-controls general ddp-demo cross-domain-eval bench test test-fast lint format docs wheel clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
RUN := $(VENV)/bin/python -m fm_unroll
INSTALLED := $(VENV)/.installed

DATA := data/synthetic
DEMO := runs/demo
SYNTHESIZE := $(RUN) data synthesize --root $(DATA) --hearts 10 --workers 2

help:  ## print this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 20

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

install: $(INSTALLED)  ## create .venv with pinned packages

CONTROLS := runs/demo-controls
DDP := runs/demo-ddp

# $(call train,config): a network that was begun is continued, one that is finished left as it is.
train = $(RUN) fit --resume --config $(1)

demo: $(INSTALLED)  ## synthesise data, train three small networks, evaluate them on three anatomies
	$(SYNTHESIZE)
	$(call train,configs/demo/varnet.yaml)
	$(call train,configs/demo/anchored_unet.yaml)
	$(call train,configs/demo/anchored_prior.yaml)
	$(RUN) cross-domain --config configs/demo/cross_domain.yaml --checkpoints '$(DEMO)/*/checkpoints/best.ckpt'
	$(RUN) report $(DEMO)/records.csv

demo-controls: $(INSTALLED)  ## the demo's prior with trained (WEIGHTS=dinov2_small file), random and no encoder
	$(SYNTHESIZE)
	$(if $(WEIGHTS),$(call train,configs/demo/controls/pretrained.yaml --model.weights $(WEIGHTS)))
	$(call train,configs/demo/controls/random.yaml)
	$(call train,configs/demo/controls/trained_embedding.yaml)
	$(RUN) cross-domain --config configs/demo/controls/cross_domain.yaml
	$(RUN) report $(CONTROLS)/records.csv

general: $(INSTALLED)  ## train the general network that comes with the package, on drawings: an hour on two cores
	$(RUN) data synthesize --root data/general --size small --hearts 24 --knees 12 --heads 12 --seed 1000 --workers 2
	$(call train,configs/general.yaml)
	$(RUN) release runs/general/checkpoints/best.ckpt fm_unroll/models/general.safetensors --half

ddp-demo: $(INSTALLED)  ## train with two processes, evaluate the checkpoint with one, compare the metrics
	$(SYNTHESIZE)
	$(call train,configs/demo/ddp.yaml)
	$(RUN) validate --config $(DDP)/config.yaml --ckpt_path $(DDP)/checkpoints/last.ckpt \
		--trainer.devices 1 --trainer.strategy auto
	$(VENV)/bin/python experiments/same_metrics.py $(DDP)

bench: $(INSTALLED)  ## time and memory against peers, in turn (ARGS=--quick: small sizes)
	$(RUN) bench $(ARGS)

# Whatever checkpoints are below runs/, or the demo's; without the real data, on the demo's.
PROTOCOL ?= $(if $(wildcard data/cmrxrecon),experiments/cross_domain.yaml,configs/demo/cross_domain.yaml)
RESULTS ?= $(if $(wildcard data/cmrxrecon),results/cross_domain,$(DEMO))

cross-domain-eval: $(INSTALLED)  ## evaluate all checkpoints on all anatomies, write the report (PROTOCOL=, ARGS=)
	$(RUN) cross-domain --config $(PROTOCOL) --output $(RESULTS) $(ARGS)
	$(RUN) report $(RESULTS)/records.csv

test: $(INSTALLED)  ## run all tests, as CI does
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile

test-fast: $(INSTALLED)  ## run the tests that take less than two minutes together
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile -m "not slow"

lint: $(INSTALLED)  ## check style and types
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

format: $(INSTALLED)  ## repair style
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

docs: $(INSTALLED)  ## build the documentation into site/
	$(VENV)/bin/mkdocs build --strict

wheel: $(INSTALLED)  ## build a wheel into dist/
	$(VENV)/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

clean:  ## remove the demo's data and runs and all caches; .venv stays
	rm -rf $(DATA) $(DEMO) $(CONTROLS) $(DDP) .pytest_cache .ruff_cache .mypy_cache .hypothesis site
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
