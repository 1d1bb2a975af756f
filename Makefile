# Each target sets up .venv by itself, once for every change of setup.py, of the Python version or of this folder's place.
# Another interpreter: make test PYTHON=python3.12. Arguments for a target: make test ARGS="-k metrics".
# The build of PyTorch for CPUs alone, a fifth of the download: make demo TORCH=cpu (or cu126 and so on; for a new .venv).
# The tests run in two processes, each with one thread; more: make test WORKERS=8, one alone: make test WORKERS=0.

PYTHON ?= python3
ARGS ?=
WORKERS ?= 2
TORCH ?=
MINUTES ?= 10
INDEX := $(if $(TORCH),--extra-index-url https://download.pytorch.org/whl/$(TORCH))
VENV := .venv
BIN := $(VENV)/bin
KEY := $(shell { $(PYTHON) -c 'import sys; print(sys.version)'; cat setup.py; echo '$(CURDIR)'; } 2>/dev/null | cksum | cut -d ' ' -f 1)
READY := $(VENV)/.ready-$(KEY)

.DEFAULT_GOAL := help
.PHONY: help demo test bench attack lint clean

help:
	@echo "make demo    the whole way on synthetic ultrasound images: convert, plan, train, predict, evaluate"
	@echo "make test    the tests"
	@echo "make bench   the benchmarks: speed and memory, each beside its alternative"
	@echo "make attack  damaged files, kills and missing resources for MINUTES=10; again goes on where it stopped"
	@echo "make lint    ruff, ruff format --check and mypy"
	@echo "make clean   remove what builds and tests leave behind; .venv, data and results stay"

demo: $(READY)
	@$(BIN)/htunet_demo $(ARGS)

test: $(READY)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

bench: $(READY)
	@$(BIN)/python -m benchmarks $(ARGS)

attack: $(READY)
	@OMP_NUM_THREADS=1 PYTHONPATH="$(CURDIR)/tests:$(CURDIR)" $(BIN)/python -m attack --minutes $(MINUTES) --resources $(ARGS)

lint: $(READY)
	@$(BIN)/python -m ruff check
	@$(BIN)/python -m ruff format --check
	@$(BIN)/python -m mypy

clean:
	@rm -rf build dist htunet.egg-info .pytest_cache .mypy_cache .ruff_cache .coverage
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last, so that an installation which was cut short is repeated.
$(READY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "htunet needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo missing)." \
	       "Name a newer one: make $(or $(MAKECMDGOALS),demo) PYTHON=python3.12" >&2; exit 1; }
	@echo "Setting up $(VENV); the first time this downloads PyTorch and takes some minutes." \
	      "$(VENV)/install.log shows how far it is." >&2
	@rm -f $(VENV)/.ready-*
	@[ "$$($(BIN)/python --version 2>/dev/null)" = "$$($(PYTHON) --version)" ] && $(BIN)/python -m pip --version \
	  >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip --disable-pip-version-check install --progress-bar off -e '.[test,lint]' $(INDEX) \
	  >$(VENV)/install.log 2>&1 || { tail -n 15 $(VENV)/install.log >&2; \
	  echo "The installation failed; $(VENV)/install.log has all of it. The next make tries again." >&2; exit 1; }
	@touch $@
