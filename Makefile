# Everything a developer does. Needs Python 3.11+ and make; `make help` lists the targets.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo "$$p"; break; }; done)
MINUTES ?= 30
PY = .venv/bin/python
STACK = $(PY) -m local.stack
SOURCES = requirements.txt requirements-local.txt

.DEFAULT_GOAL := help
.PHONY: run demo up stop status clean flask test storm controls soak bench bench-quick bench-full check audit format lint lock venv dev help

run: .venv/.installed ## start everything, show the demo, stay until Ctrl-C
	@$(STACK) run

demo: .venv/.installed ## start everything, show the demo, stop; exit 0 only if all came out as expected
	@$(STACK) demo

up: .venv/.installed ## start everything in the background, return when it is ready
	@$(STACK) up

stop: ## stop what `make up` or `make run` started
	@if [ -x $(PY) ]; then $(STACK) stop; fi

status: .venv/.installed ## say what runs, and where
	@$(STACK) status

clean: ## stop, and delete all local data, caches and the virtual environment
	@if [ -x $(PY) ]; then $(STACK) clean; fi
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

flask: .venv/.installed ## Flask's command line for the stack that is up; ARGS="queues list", "jobs list", "doctor", ...
	@$(PY) -m local.console $(ARGS)

test: .venv/.installed-dev ## run the tests, against PostgreSQL and Redis of their own; ARGS go to pytest
	@$(PY) -m pytest $(ARGS)

bench: .venv/.installed ## measure against the bars and the peers, on servers of its own; ARGS="--only drains" measures a part
	@$(PY) -m benchmarks standard $(ARGS)

bench-quick: .venv/.installed ## the same in 3 minutes, roughly
	@$(PY) -m benchmarks quick $(ARGS)

bench-full: .venv/.installed ## the same, and with 1,000,000 jobs pending and 10,000,000 orders stored
	@$(PY) -m benchmarks full $(ARGS)

storm: .venv/.installed-dev ## break everything and see that the promises hold; ARGS: names of rows, --no-controls; SEED=… runs one again
	@$(PY) -m tests.storm $(ARGS)

controls: .venv/.installed-dev ## take each defence out of a copy of the code: its test has to fail; ARGS: words of their names
	@$(PY) -m tests.controls $(ARGS)

soak: .venv/.installed-dev ## half load for MINUTES (30): nothing may grow that has no reason to; ARGS as for storm
	@MINUTES=$(MINUTES) $(PY) -m tests.storm soak $(ARGS)

check: lint ## lint, format, types and architecture
	@$(PY) -m mypy
	@.venv/bin/lint-imports

audit: .venv/.installed-dev ## look for holes: bandit in the code, advisories against locked packages; ARGS="--strict" insists on the latter
	@$(PY) -m bandit --quiet --recursive --configfile pyproject.toml api jobs models workers local deploy config.py
	@$(PY) .ci/audit.py $(ARGS)

lint: .venv/.installed-dev ## ruff alone
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

format: .venv/.installed-dev ## let ruff rewrite what it can
	@$(PY) -m ruff check --fix-only --quiet .
	@$(PY) -m ruff format .

lock: .venv/.installed ## compile requirements*.in to requirements*.txt, with hashes, for Python 3.11 and later
	@$(PY) -m venv .local/compiler
	@.local/compiler/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.8
	@for name in requirements requirements-local requirements-dev benchmarks/peers; do \
		.local/compiler/bin/uv pip compile --quiet $(ARGS) --universal --python-version 3.11 --generate-hashes --no-annotate \
			--no-emit-index-url --custom-compile-command 'make lock' $$name.in -o $$name.txt || exit 1; done

venv: .venv/.installed ## what running needs

dev: .venv/.installed-dev ## what testing needs as well

.venv/.installed: $(SOURCES)
	@if [ -z "$(PYTHON)" ]; then echo "Millrace needs Python 3.11 or later; none was found. Install one, or: make PYTHON=/path/to/python3.11" >&2; exit 1; fi
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is not Python 3.11 or later. Choose another: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "Installing into .venv (once)"
	@[ -x $(PY) ] || "$(PYTHON)" -m venv --clear .venv || \
		{ echo "No virtual environment could be made. On Debian or Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes $(SOURCES:%=-r %)
	@touch $@

.venv/.installed-dev: .venv/.installed requirements-dev.txt
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile
