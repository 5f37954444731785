# Everything a fresh Debian 12 machine needs is installed by the first target.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON := /usr/bin/python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := proto tandem ztunnel_compat bpf daemon waypoint deploy
SOURCES := $(PACKAGES) tests
CHANGED := build/setup.stamp

# What runs the mesh; what `make test` and `make bench` need on top of it.
DEBIAN_RUN := python3 python3-venv python3-bpfcc linux-libc-dev nftables
DEBIAN_TEST := clang-format curl iperf3 iproute2 libnginx-mod-stream nghttp2-client \
    haproxy nginx-light python3-grpcio wrk

.PHONY: help setup setup-test demo up test check interop bench soak proto lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

setup: build/setup.stamp ## install what the mesh needs
setup-test: build/setup-test.stamp

build/setup.stamp: requirements.lock pyproject.toml deploy/install.sh
	@PYTHON=$(PYTHON) VENV=$(VENV) deploy/install.sh run $(DEBIAN_RUN)
	@mkdir -p build && touch $@

build/setup-test.stamp: build/setup.stamp requirements-dev.lock
	@PYTHON=$(PYTHON) VENV=$(VENV) deploy/install.sh dev $(DEBIAN_TEST)
	@touch $@

demo: setup ## bring up a mesh with bookinfo, show what it does, take it down
	@$(BIN)/python -m deploy.demo

up: setup ## keep a mesh with bookinfo running until Ctrl-C
	@$(BIN)/tandem up -f deploy/samples/bookinfo

test: setup-test check ## every test, on the real kernel
	@$(BIN)/python -m tests.support.halves

soak: setup-test ## the volumes that take longer than `make test` may
	@$(BIN)/python -m pytest tests -m soak

interop: setup-test ## beside a stock ztunnel: make interop ZTUNNEL=/path/to/it
	@test -x "$(ZTUNNEL)" || { echo "ZTUNNEL=$(ZTUNNEL): give the path of a ztunnel program" >&2; exit 2; }
	@ZTUNNEL="$(abspath $(ZTUNNEL))" $(BIN)/python -m pytest tests/interop -m interop

check: setup-test ## style, types, import contracts, generated code is current
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/mypy $(PACKAGES)
	@$(BIN)/lint-imports --no-cache
	@clang-format --dry-run --Werror bpf/src/*.c bpf/include/*.h
	@$(BIN)/python -m tests.support.mirrors
	@$(BIN)/python -m tests.support.generated

bench: setup-test ## measure; prints a table, writes build/bench.json; ZTUNNEL=: beside one
	@mkdir -p build && ZTUNNEL="$(ZTUNNEL)" $(BIN)/python -m tests.bench build/bench.json

proto: setup-test ## regenerate code from .proto files and from bpf/include/abi.h
	@$(BIN)/python -m tests.support.generated --write

lock: setup-test ## pin dependencies again, with hashes
	@$(BIN)/python -m tests.support.lock

clean: ## remove leftovers of dead runs, build products and the environment
	@if [ -x $(BIN)/tandem ]; then for mesh in tandem demo; do $(BIN)/tandem clean --name $$mesh; done; fi
	rm -rf build $(VENV) *.egg-info .mypy_cache .ruff_cache .pytest_cache
