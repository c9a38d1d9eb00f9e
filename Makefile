# Everything runs from .venv, which holds exactly what requirements.lock names.
# Another Python than the first that fits: make clean && make PYTHON=/path/to/python3 test

PYTHON ?=
PYTHONS := $(or $(PYTHON),python3.11 python3 python3.12 python3.13 python3.14)

# Sets $python to the first of PYTHONS that runs, is new enough and can make a venv.
FIND_PYTHON = python=; for p in $(PYTHONS); do \
	if "$$p" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; \
	then python=$$p; break; fi; done; \
	if [ -z "$$python" ]; then \
	echo 'No Python 3.11 or newer with venv (tried: $(PYTHONS)). Install one (Debian, Ubuntu: python3-venv too) or name it: make PYTHON=/path/to/python3' >&2; \
	exit 1; fi

PIP := .venv/bin/python -m pip --disable-pip-version-check --quiet
BENCH := benchmarks/.venvs
BENCH_PIP := -m pip --disable-pip-version-check --quiet install --require-hashes --only-binary :all:

.PHONY: help demo test check format readme pictures soak bench bench-quick bench-plots lock clean

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

demo: .venv/installed ## Run the demo
	@.venv/bin/ckvd demo

test: .venv/installed ## Run all tests
	.venv/bin/pytest

check: .venv/installed ## Lint, check the formatting and the types
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

format: .venv/installed ## Format the code and fix what ruff can fix
	.venv/bin/ruff check --fix-only
	.venv/bin/ruff format

readme: .venv/installed ## Run the sessions of README.md and docs/ again and write what they print
	.venv/bin/python -m tests.support.readme

pictures: .venv/installed ## Take the picture of README.md again (needs Chromium)
	.venv/bin/python -m tests.support.pictures

soak: .venv/installed ## Test crashes, concurrency and random inputs for ten minutes (SOAK="--minutes 2 --seed 7")
	.venv/bin/python -m tests.system.soak $(SOAK)

bench: $(BENCH)/installed ## Measure speed against the alternatives, into benchmarks/results.json and RESULTS.md
	@$(BENCH)/bench/bin/python -m benchmarks

bench-quick: $(BENCH)/installed ## Measure less of it, in under two minutes
	@$(BENCH)/bench/bin/python -m benchmarks --quick

bench-plots: $(BENCH)/installed ## Draw the plots of benchmarks/RESULTS.md from results.json
	@$(BENCH)/bench/bin/python -m benchmarks.plots

lock: ## Remake all locks with the newest releases that pyproject.toml and benchmarks/*.in allow
	@$(FIND_PYTHON); set -e; tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	"$$python" -m venv "$$tmp/venv"; \
	"$$tmp/venv/bin/python" -m pip --disable-pip-version-check --quiet install uv; \
	remake() { out=$$1; said=$$2; shift 2; \
		"$$tmp/venv/bin/uv" --no-config --quiet pip compile "$$@" --universal --python-version 3.11 \
			--only-binary :all: --generate-hashes --no-header --no-emit-index-url --output-file "$$tmp/lock"; \
		{ echo "# Made by \"make lock\" from $$said"; cat "$$tmp/lock"; } >"$$tmp/with-head"; \
		cp "$$tmp/with-head" "$$out"; rm "$$tmp/lock"; }; \
	remake requirements.lock 'pyproject.toml: what the package, its tests and its build need.' \
		pyproject.toml --extra sqlalchemy --extra socks --extra lake --group dev; \
	remake benchmarks/requirements.lock 'pyproject.toml: what the package and its benchmarks need.' \
		pyproject.toml --group bench; \
	remake benchmarks/others.lock 'others.in.' benchmarks/others.in; \
	remake benchmarks/legacy.lock 'legacy.in.' benchmarks/legacy.in

clean: ## Remove .venv and whatever the tools and tests left
	rm -rf .venv $(BENCH) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Each stamp is written last: an install cut short has none, and the next run starts it over.
.venv/locked: requirements.lock
	@$(FIND_PYTHON); echo "Installing into .venv with $$python (a minute or two, once)"; \
	"$$python" -m venv --clear .venv
	@$(PIP) install --require-hashes --only-binary :all: -r requirements.lock
	@touch $@

.venv/installed: .venv/locked pyproject.toml
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@missing=$$(.venv/bin/python -m pip --disable-pip-version-check check) || \
		{ echo "$$missing"; echo 'requirements.lock does not fit pyproject.toml: run make lock'; exit 1; } >&2
	@touch $@

# A contender whose environment can't be made is reported as absent; the benchmarks run without it.
$(BENCH)/locked: benchmarks/requirements.lock benchmarks/others.lock benchmarks/legacy.lock benchmarks/legacy-itself.txt
	@$(FIND_PYTHON); echo "Installing into $(BENCH) with $$python (some minutes, once)"; \
	for name in bench others legacy; do "$$python" -m venv --clear "$(BENCH)/$$name"; done
	@$(BENCH)/bench/bin/python $(BENCH_PIP) -r benchmarks/requirements.lock
	@-$(BENCH)/others/bin/python $(BENCH_PIP) -r benchmarks/others.lock
	@-$(BENCH)/legacy/bin/python $(BENCH_PIP) -r benchmarks/legacy.lock && \
		$(BENCH)/legacy/bin/python $(BENCH_PIP) --no-deps --ignore-requires-python -r benchmarks/legacy-itself.txt
	@touch $@

$(BENCH)/installed: $(BENCH)/locked pyproject.toml
	@$(BENCH)/bench/bin/python -m pip --disable-pip-version-check --quiet install \
		--no-deps --no-build-isolation --editable .
	@touch $@
