# The common tasks; `make` lists them.

.DEFAULT_GOAL := help
PYTHON ?= python3

.PHONY: help develop test lint format stub rust-test bench ci

help: ## list the tasks
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

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
