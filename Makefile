# Needs Python 3.11 or newer, and Go unless Dapr is installed. Neither Docker nor root.
#   make run STORE=postgres POSTGRES_URL=postgresql://user:password@host:5432/database
export STEADFAST_STORE ?= $(STORE)
export STEADFAST_POSTGRES_URL ?= $(POSTGRES_URL)
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3 python; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

.PHONY: run test lint conformance simulate runtime images clean
run: .venv/stamp ; @.venv/bin/python -m launcher run
test: .venv/stamp images ; @.venv/bin/python -m launcher runtime daprd placement scheduler toxiproxy dapr && .venv/bin/python -m images.servers && .venv/bin/pytest -n 3 --no-loadscope-reorder
lint: .venv/stamp ; .venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy
conformance: .venv/stamp images ; @.venv/bin/python -m conformance run --cluster containers; run=$$?; .venv/bin/python -m conformance mutants --cluster containers && exit $$run
simulate: .venv/stamp ; @.venv/bin/python -m simulation run
runtime: .venv/stamp ; @.venv/bin/python -m launcher runtime
images: .venv/stamp ; @.venv/bin/python -m images
clean: ; @if .venv/bin/python -m launcher status 2>/dev/null; then echo 'it is running: stop it first'; exit 1; fi; rm -rf .venv .runtime .mypy_cache .pytest_cache .ruff_cache .hypothesis; echo 'removed what was built; data, logs and secrets stay in .run/'

.venv/stamp: requirements.lock
	$(if $(PYTHON),,$(error Python 3.11 or newer is needed and was not found; make PYTHON=/path/to/python names it))
	$(PYTHON) -m venv .venv && .venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $< && touch $@
