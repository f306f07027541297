# Each target sets up all it needs: a virtual environment, the build, the development packages.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEV_READY := $(VENV)/.dev-ready
SOURCES := $(shell find src data -type f) Cargo.toml Cargo.lock pyproject.toml
export CARGO_TERM_COLOR ?= auto

.PHONY: demo test test-rust test-python lint bench wheel clean

demo: $(VENV)/.built-release
	$(BIN)/python examples/quickstart.py

test: lint test-rust test-python wheel-smoke

test-rust:
	cargo test --locked --no-default-features

test-python: $(VENV)/.built-release
	$(BIN)/python -m pytest

lint: $(VENV)/.built-release
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest taximeter._core --allowlist tests/python/stubtest.allow
	$(BIN)/python scripts/refresh_catalog.py --check

bench: $(VENV)/.built-release
	$(BIN)/python benches/python/run.py
	cargo bench --locked --no-default-features

# manylinux 2.28 or older: the oldest symbol versions that the built library needs decide, and maturin checks them.
wheel: $(DEV_READY)
	rm -rf dist
	$(BIN)/maturin build --release --locked --out dist --compatibility manylinux_2_28 --auditwheel check
	$(BIN)/python scripts/check_wheel.py dist

.PHONY: wheel-smoke
wheel-smoke: wheel
	$(BIN)/python scripts/smoke_wheel.py dist

$(VENV)/.built-release: $(DEV_READY) $(SOURCES)
	$(BIN)/maturin develop --release --locked
	touch $@

$(DEV_READY): requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) target dist
