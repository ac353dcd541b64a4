# What a developer types. `make` alone lists it.

.DEFAULT_GOAL := help
.PHONY: help setup run install test openapi requests doors fuzz chaos failover versions matrix bench bench-quick bench-programs check fmt sqlx-prepare

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## find the PostgreSQL server, or install it
	@scripts/setup

run: setup ## start everything, with a database of its own, and print how to use it
	cargo run --profile trial --locked --bin payonce -- dev

install: ## build the programs as fast as they get, and install them where cargo installs programs
	@for package in cli api worker simgateway; do cargo install --locked --path $$package || exit 1; done

test: setup ## run all tests, for which it installs what they need; then check that they have seen each answer of the contract
	@scripts/setup-tests
	@scripts/run-tests

requests: setup ## make up 20,000 requests from the document of the API, and check that each answer is one of the document's
	@scripts/setup-clients
	PAYONCE_REQUESTS=150 cargo test --locked -p tests --test it -- clients::requests --nocapture

doors: setup ## crowds of slow, silent and greedy clients against one API, as docs/LIMITS.md tells of them; prints the figures
	PAYONCE_DOORS=full cargo test --locked -p tests --test it -- listener::drills --nocapture --test-threads 1

fuzz: setup ## make up a million requests and as much that is no request, and check that each answer is one of the contract's
	PAYONCE_FUZZ=1000000 cargo test --locked -p tests --test it -- http::fuzz --nocapture

chaos: setup ## break everything under load, for about three hours, and check that nothing was lost; then the matrix (best as root)
	@scripts/chaos
	@$(MAKE) matrix

failover: setup ## kill the leader of three PostgreSQL nodes under Patroni, ten times, under load (installs etcd and Patroni for it)
	@scripts/failover

versions: setup ## exchange programs of this version and of an older one under load, take that back, and come back from a backup
	@scripts/versions

matrix: ## the whole crash matrix: every boundary, every fault, every outcome; prints the grid
	@scripts/setup-tests
	PAYONCE_MATRIX=all cargo test --locked -p tests --test it -- matrix --nocapture

bench: bench-programs ## measure Payonce beside the bare database, in three minutes: docs/PERFORMANCE.md
	target/release/bench

bench-quick: bench-programs ## the same with few payments stored, in half the time
	target/release/bench --quick

bench-programs: setup
	cargo build --release --locked --bin api --bin worker --bin simgateway --bin bench

check: ## formatting, lints, documentation, scripts, and that no secret stands in the tree
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked
	scripts/check-scripts
	scripts/check-secrets

fmt: ## format the code
	cargo fmt --all

openapi: ## write docs/openapi.json anew, after the contract changed
	cargo run --locked --bin payonce -- openapi > docs/openapi.json.new
	mv docs/openapi.json.new docs/openapi.json

sqlx-prepare: setup ## write .sqlx/ anew, after a query or a migration changed
	scripts/sqlx-prepare
