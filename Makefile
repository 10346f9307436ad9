# The common tasks; `make` lists them.

.DEFAULT_GOAL := help
PYTHON ?= python3

.PHONY: help develop test lint format stub rust-test bench ci
.PHONY: sanitize-guard sanitize-address sanitize-thread sanitize-selftest

help: ## list the tasks
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-17s %s\n", $$1, $$2}'

develop: ## build the compiled module and install the package with what tests and lints need
	$(PYTHON) -m pip install -e '.[lint]'

test: ## the Python suite and the doctests, on the installed package
	$(PYTHON) -m pytest

rust-test: ## the tests and doctests of the Rust crates
	cargo test -p autodan-kernels -p autodan-core

lint: ## everything that reads the code without running it
	ruff check
	ruff format --check
	mypy
	$(PYTHON) -m mypy.stubtest autodan._core --mypy-config-file pyproject.toml
	cargo fmt --check
	cargo clippy --workspace --all-targets -- -D warnings

format: ## put the code into its format
	ruff check --fix
	ruff format
	cargo fmt

stub: ## write the stub of the compiled module anew
	$(PYTHON) tools/generate_stub.py > _core.pyi.new && mv _core.pyi.new python/autodan/_core.pyi

bench: ## the kernels' benchmarks
	cargo bench -p autodan-benches

ci: ## what continuous integration runs: all of it, in a fresh environment
	.ci/run

sanitize-guard: ## the tests, Rust's and Python's, with guard pages around every buffer
	PYTHON=$(PYTHON) tools/sanitize/guard.sh

sanitize-address: ## the Python suite under AddressSanitizer, with debug assertions
	PYTHON=$(PYTHON) tools/sanitize/asan.sh

sanitize-thread: ## the tests of the thread pool under ThreadSanitizer
	PYTHON=$(PYTHON) tools/sanitize/tsan.sh

sanitize-selftest: ## that each of these jobs finds a bug planted for it
	PYTHON=$(PYTHON) tools/sanitize/selftest.sh

.PHONY: fuzz bad-calls
TARGET ?= idx
SECONDS ?= 600

fuzz: ## fuzz one parser: TARGET=idx|idx_gzip|cifar10|model|header SECONDS=600
	$(PYTHON) fuzz/run.py $(TARGET) --seconds $(SECONDS)

bad-calls: ## 50,000 generated calls of everything public, right, wrong and hostile
	$(PYTHON) tests/stress/bad_calls.py --count 50000
