# onescene: `make scene` turns a photo into a scene, `make test` proves it. Everything lives in .venv/.
PYTHON := $(shell for p in python3 python3.12 python3.11 python3.13; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
PY := .venv/bin/python
READY := .venv/.installed
PHOTO = $(firstword $(wildcard examples/interior-photo.*))
OUT = runs/interior
ARGS =
PIP_ARGS =
export PHOTO OUT
export OMP_WAIT_POLICY = passive
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help install test scene lab lint
help:
	@echo "make install                   the virtual environment .venv/"
	@echo "make scene [PHOTO=.. OUT=..]   a photo becomes a scene (default: the shipped photo, into runs/interior)"
	@echo "make test [ARGS='-k words']    every test, shapes checked"
	@echo "make lab                       JupyterLab on notebooks/"
	@echo "make lint                      ruff: lint and format"

install: $(READY)
$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { echo "onescene needs Python 3.11 or newer on PATH"; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv .venv || { rm -rf .venv; \
		echo "python3 -m venv failed: install venv and pip for $(PYTHON) (Debian: apt install python3-venv)"; exit 1; }
	$(PY) -m pip install --quiet $(PIP_ARGS) -e ".[dev,cluster,train]"
	@touch $(READY)

test: install
	ONESCENE_TYPECHECK=1 $(PY) -m pytest $(ARGS)

scene: install
	@$(PY) -m onescene run "$$PHOTO" --out "$$OUT" $(ARGS)

lab: install
	$(PY) -m jupyter lab notebooks $(ARGS)

lint: install
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
