# Every command a person needs; `make help` lists them. Needs Python 3.11, git and make.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The CPU build of torch wherever pip is configured with one (it sorts above the plain version); GPU=1 asks for the
# build with CUDA, and brings the library with which xgboost talks between GPUs.
ifeq ($(GPU),1)
TORCH := 'torch==2.13.0,!=2.13.0+cpu' nvidia-nccl-cu12
else
TORCH := torch==2.13.0
endif
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export DO_NOT_TRACK := 1
export DAGSTER_DISABLE_TELEMETRY := yes
export DBT_SEND_ANONYMOUS_USAGE_STATS := false
export BENTOML_DO_NOT_TRACK := true

.PHONY: help setup check run serve stream dev-stream cluster promote rollback forget upgrade rotate backup restore backfill try experiment plan diff dev test lint bench bench-models bench-serving load faults fuzz docs parity lock clean

# As in pyproject's extra `peers`: exact, because no lock holds them.
PEERS := implicit==0.7.3 lightgbm==4.7.0

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## install everything into .venv (GPU=1 for the CUDA builds); done once, and again when the lock changes

$(READY): requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: install it, or say PYTHON=/path/to/python3.11"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked packages into $(VENV), a few minutes the first time"
	@# --no-deps: the lock is complete, and leaves out the CUDA packages that xgboost asks for.
	@# pyspark is published as a source archive only (no compiler needed); everything else is a wheel.
	@$(BIN)/python -m pip install --quiet --no-compile --no-deps --only-binary :all: --no-binary pyspark -r requirements.lock 2>&1 | { grep -v '^WARNING: Location' || true; }
	@$(BIN)/python -m pip install --quiet --no-compile $(TORCH) 2>&1 | { grep -v '^WARNING: Location' || true; }
	@# pip compiles 39,000 files on one core (some 90 s): here on all of them, but for the packages' own tests. Templates
	@# among the files are no Python, so it always ends with an error.
	@$(BIN)/python -m compileall -qq -j 0 -x '/site-packages/.*/tests?/' $(VENV)/lib || true
	@touch $@

run: $(READY) ## raw events to a gated, servable bundle (RECSYS_SOURCE=simulator|kuairand|files, RECSYS_DATA=folder); AGAIN=1: all of it anew
	@$(BIN)/python -m recsys_assets.run

check: $(READY) ## what the source holds, what will be learned and what to mend, in seconds (RECSYS_DATA=folder)
	@$(BIN)/python -m recsys_assets.check

serve: $(READY) ## answer over HTTP (RECSYS_HTTP_PORT, 3000) and gRPC (RECSYS_GRPC_PORT, 3001)
	@$(BIN)/python -m bentos.recommender.serve

stream: $(READY) ## read events from Kafka, and send served slates to it (RECSYS_KAFKA, docs/stream.md); as often as there are partitions
	@$(BIN)/python -m bentos.recommender.stream

dev-stream: $(READY) ## a broker in memory, with topics, and `make stream` on it: for development alone
	@$(BIN)/python -m bentos.recommender.dev_stream

cluster: $(READY) ## the cluster profile on this machine, a day in it, the bytes compared with one process (docs/cluster.md)
	@# by constraints, since the lock leaves it out: its version goes with dagster's
	@$(BIN)/python -m pip install --quiet --only-binary :all: -c requirements.lock dagster-postgres 2>&1 | { grep -v '^WARNING: Location' || true; }
	@$(BIN)/python -m deploy.cluster

rollback: $(READY) ## the champion is again the bundle it was before; running services follow by themselves
	@$(BIN)/python -m recsys_assets.rollback

promote: $(READY) ## a bundle becomes the champion by hand: make promote BUNDLE=<id> REASON="..."
	@$(BIN)/python -m recsys_assets.promote "$${BUNDLE:-}" "$${REASON:-}"

forget: $(READY) ## no byte of a user stays: make forget USER=<user_id>; the items keep their counts
	@$(if $(findstring command line,$(origin USER)),,$(error say whom: make forget USER=<user_id>))
	@$(BIN)/python -m recsys_assets.forget "$$USER"

upgrade: $(READY) ## the state of this code's features beside the one in service; DROP=<fingerprint> drops one
	@$(BIN)/python -m recsys_assets.upgrade "$(DROP)"

rotate: $(READY) ## journal and served log encrypted with the newest of RECSYS_ENCRYPTION_KEYS; NEW=<id> adds a key first
	@$(BIN)/python -m recsys_assets.rotate "$(NEW)"

backup: $(READY) ## all that is kept, while services run: TO=folder or address (s3://...); KEEP=n: how many stay
	@$(BIN)/python -m recsys_assets.backup backup "$(TO)" $(if $(KEEP),--keep "$(KEEP)")

restore: $(READY) ## a backup into an empty RECSYS_HOME: FROM=folder or address; AT=its name, else the newest
	@$(BIN)/python -m recsys_assets.backup restore "$(FROM)" $(if $(AT),--at "$(AT)")

try: $(READY) ## an experiment whose shares you change by hand: BUNDLE=id CANARY=0.05 SHADOW=0.2; shares of 0 end it
	@$(BIN)/python -m recsys_assets.experiment try $(BUNDLE) --canary $(or $(CANARY),0) --shadow $(or $(SHADOW),0)

experiment: $(READY) ## an experiment on a share of the users: ARGS="start NAME --bundle ID", "stop NAME WHY" or "list"
	@$(BIN)/python -m recsys_assets.experiment $(ARGS)

plan: $(READY) ## machines, memory, shards, disk, network of a size: USERS= and EVENTS= a day, ITEMS=, QPS= of the busiest hour
	@$(BIN)/python -m recsys_assets.plan "$(USERS)" "$(ITEMS)" "$(EVENTS)" "$(QPS)"

diff: $(READY) ## the last requests on two bundles, without a write: BUNDLE=id OTHER=id; how slates, scores and time differ
	@$(BIN)/python -m recsys_assets.diff "$(BUNDLE)" "$(OTHER)" $(if $(LATEST),--latest $(LATEST))

backfill: $(READY) ## take days in again, raw to features: FROM=2026-01-05 TO=2026-02-03; goes on where it was stopped
	@$(BIN)/python -m recsys_assets.backfill "$(FROM)" "$(TO)"

dev: $(READY) ## the Dagster UI on the real graph
	@$(BIN)/python -m recsys_assets.dev

test: $(READY) ## all tests, in three processes; those that need Redis or Java say so when it is missing
	@# three for two cores: a test that waits for a service to end or for a clock leaves its core to another
	@$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

lint: $(READY) ## style, types and who may import whom
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

bench: $(READY) ## every figure the README quotes, beside its peers
	@$(BIN)/python -m benchmarks

bench-serving: $(READY) ## the service's cost beside bare servers, its latency, and published peers
	@$(BIN)/python -m benchmarks.serving

load: $(READY) ## ten minutes at 80 % of what two workers hold, with events, a swap and a rollback
	@$(BIN)/python -m benchmarks.serving_load

faults: $(READY) ## Milvus, ranker, disk, a worker and the store broken under load, one after the other
	@$(BIN)/python -m benchmarks.serving_faults

fuzz: $(READY) ## 24,000 bad requests over HTTP and gRPC
	@$(BIN)/python -m benchmarks.serving_fuzz

docs: $(READY) ## write docs/features.md, settings.md and capacity.md from the code; a test fails while they are stale
	@$(BIN)/python -m recsys.features.page > docs/.features.md && mv docs/.features.md docs/features.md
	@$(BIN)/python -m recsys.settings_page
	@$(BIN)/python -m recsys.capacity.page docs/capacity.md

bench-models: $(READY) ## our models beside LightGBM, implicit, EASE and SASRec on the rows of the last `make run`
	@$(BIN)/python -m pip install --quiet --only-binary :all: $(PEERS) 2>&1 | { grep -v '^WARNING: Location' || true; }
	@$(BIN)/python -m benchmarks.models

parity: $(READY) ## the long proof: every runner and store against each other, crashes included; mismatches / values
	@$(BIN)/python -m benchmarks.parity

lock: ## resolve the versions anew into requirements.lock (no index address in it)
	@python3 -m venv $(VENV)-lock && $(VENV)-lock/bin/pip install --quiet uv
	@UV_FIND_LINKS=$${PIP_FIND_LINKS:-} $(VENV)-lock/bin/uv pip compile --quiet --python-version 3.11 --extra dev \
	  --no-emit-index-url --no-emit-find-links --no-emit-package torch --no-emit-package setuptools \
	  --no-emit-package nvidia-nccl-cu12 --custom-compile-command 'make lock' pyproject.toml -o requirements.lock
	@rm -rf $(VENV)-lock

clean: ## remove what was materialized (var/), but for who was forgotten; keep what is installed
	@find var -mindepth 1 -maxdepth 1 ! -name audit -exec rm -rf {} + 2>/dev/null || true
