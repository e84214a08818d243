# Faultline. `make` or `make help` lists the targets.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

NAME ?= cascade-failure
ARGS ?=
GO ?= go
GOFLAGS ?= -trimpath
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)
STATICCHECK := $(GO) run honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := $(GO) run golang.org/x/vuln/cmd/govulncheck@latest
PURE := ./parameter ./internal/strictyaml ./internal/scenario ./internal/plan ./internal/measure ./internal/check

.PHONY: help
help: ## List the targets
	@echo "make scenario NAME=cascade-failure   runs a scenario; 'make list' lists them"
	@echo
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

TARGET ?= local
.PHONY: scenario
scenario: build ## Run every variant of scenario NAME and print the verdict (TARGET=compose: on the stack; ARGS: flags of 'faultline run')
	@bin/faultline run $(NAME) --target $(TARGET) $(ARGS)

# The stack of containers: docs/full-stack.md. PROFILE: core, full or elk; CHAOS=1: the lab may kill its containers;
# RUN: a recorded run (several, separated by blanks) to send to the full stack once it is up.
PROFILE ?= $(if $(RUN),full,core)
COMPOSE = docker compose --env-file deploy/docker/$(PROFILE).env --file compose.yaml $(if $(CHAOS),--file compose.chaos.yaml)
.PHONY: images
images: ## Build the images of the stack that are ours
	docker build --quiet --file deploy/docker/Dockerfile --target shop --build-arg VERSION=$(VERSION) --tag faultline-shop:local .
	docker build --quiet --file deploy/docker/Dockerfile --target lab --build-arg VERSION=$(VERSION) --tag faultline-lab:local .

.PHONY: up
up: $(if $(RUN),build) ## Bring up the stack of containers and wait until it is ready (PROFILE=core, full or elk; RUN: send a run there)
	@docker image inspect faultline-shop:local faultline-lab:local >/dev/null 2>&1 || $(MAKE) images
	$(COMPOSE) up --detach --wait --no-build --remove-orphans
	@[ -z "$(RUN)" ] || { bin/faultline replay $(RUN) --otlp http://127.0.0.1:$(or $(OTLP_PORT),4318) \
	  --prometheus http://127.0.0.1:$(or $(PROMETHEUS_PORT),9090) --pyroscope http://127.0.0.1:$(or $(PYROSCOPE_PORT),4040) \
	  --grafana http://127.0.0.1:$(or $(GRAFANA_PORT),3000) && bin/faultline report --output runs/replayed.html $(RUN); }

.PHONY: down
down: ## Take the stack down, with all that it holds
	docker compose --project-name faultline down --volumes --remove-orphans --timeout 3

.PHONY: test-postgres
test-postgres: ## Run the tests of the stores on a real PostgreSQL, where there is one
	@deploy/docker/test-postgres

.PHONY: test-compose
test-compose: build ## Bring the stack up for real and run cascade-failure against it, where there is a container engine
	@deploy/docker/test-compose

# Where the programs of a full stack that is up are reached, and the runs to send there: directories, separated by commas.
test-stack: export FAULTLINE_PROMETHEUS ?= http://127.0.0.1:$(or $(PROMETHEUS_PORT),9090)
test-stack: export FAULTLINE_TEMPO ?= http://127.0.0.1:$(or $(TEMPO_PORT),3200)
test-stack: export FAULTLINE_LOKI ?= http://127.0.0.1:$(or $(LOKI_PORT),3100)
test-stack: export FAULTLINE_OTLP ?= http://127.0.0.1:$(or $(OTLP_PORT),4318)
.PHONY: test-stack
test-stack: build ## Ask a full stack that is up whatever dashboards, alerts, data sources and checks ask (RUNS: send these, not two new ones)
	@runs="$(RUNS)"; if [ -z "$$runs" ]; then \
	  bin/faultline run dashboards/testdata/tour.yaml --no-page || [ $$? -le 3 ]; \
	  runs="$$(ls -d $(CURDIR)/runs/*-tour-naive | tail -1),$$(ls -d $(CURDIR)/runs/*-tour-guarded | tail -1)"; fi; \
	  FAULTLINE_RUNS="$$runs" $(GO) test ./dashboards -run '^TestStack$$' -count=1 -v

.PHONY: crash
crash: build ## Kill every stateful process of the shop at random under load, 56 kills, and check the data (ARGS: --kills, --seed)
	@bin/faultline crash $(ARGS)

.PHONY: oracles
oracles: build ## Hold the lab to closed forms: queues, retries, budgets, fan-out (5 minutes)
	@bin/faultline oracles $(ARGS)

.PHONY: bench
bench: build ## Benchmark the variants of scenario or suite NAME, with intervals (ARGS: flags of 'faultline bench')
	@bin/faultline bench $(NAME) $(ARGS)

.PHONY: list
list: build ## List the bundled scenarios
	@bin/faultline list

.PHONY: build
build: ## Build bin/faultline and bin/shop
	@mkdir -p bin
	@[ -d "$$($(GO) env GOCACHE)/00" ] || echo "building for the first time: fetches modules and compiles for a few minutes"
	@$(GO) build $(GOFLAGS) -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

.PHONY: install
install: ## Install faultline and shop into GOBIN
	$(GO) install $(GOFLAGS) -ldflags '$(LDFLAGS)' ./cmd/...

.PHONY: test
test: ## Run the tests
	$(GO) test ./...

.PHONY: race
race: ## Run the tests under the race detector (but those that drive a browser or whole runs)
	$(GO) test -race $$($(GO) list ./... | grep -v -e /cmd/faultline$$ -e /internal/console$$ -e /internal/report$$ -e /examples$$)

.PHONY: cover
cover: ## Print the coverage of the pure packages
	$(GO) test -cover $(PURE)

.PHONY: lint
lint: ## gofmt, go vet, staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files '*.go' | grep -v -e '\.pb\.go$$' -e /testdata/)); [ -z "$$unformatted" ] || { echo "gofmt would change:"; echo "$$unformatted"; exit 1; }
	$(GO) vet ./...
	$(STATICCHECK) ./...

.PHONY: vuln
vuln: ## Run govulncheck, where its database can be reached
	@$(GOVULNCHECK) ./... || { status=$$?; [ $$status -ne 3 ] && echo "vuln: NOT CHECKED: govulncheck or its database cannot be reached from here" || exit $$status; }

.PHONY: cross
cross: ## Compile for macOS (arm64) and Linux (arm64)
	@out=$$(mktemp -d); trap 'rm -rf "$$out"' EXIT; for os in darwin linux; do \
	  echo "$$os/arm64"; GOOS=$$os GOARCH=arm64 CGO_ENABLED=0 $(GO) build $(GOFLAGS) -o "$$out" ./cmd/...; done

.PHONY: numbers
numbers: build ## Measure what the lab itself costs: times, memory, processor, exactness (takes two minutes)
	@$(GO) run ./internal/numbers

FUZZTIME ?= 10s
.PHONY: fuzz
fuzz: ## Run every fuzz test for FUZZTIME
	@grep -rl --include='*_test.go' '^func Fuzz' . | while read -r file; do \
	  for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$$file"); do \
	    echo "$$name in $$(dirname "$$file")"; $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")"; \
	  done; done

.PHONY: dashboards-record
dashboards-record: build ## Record anew the run that the dashboards' tests ask (two minutes)
	@bin/faultline run dashboards/testdata/tour.yaml --no-page
	@$(GO) test ./dashboards -run TestRecord -record "$$(ls -d $(CURDIR)/runs/*-tour-naive | tail -1),$$(ls -d $(CURDIR)/runs/*-tour-guarded | tail -1)"

.PHONY: generate
generate: ## Make the generated files anew: protobuf code, JSON schemas, tables
	$(GO) generate ./...

.PHONY: clean
clean: ## Remove bin/ and runs/
	rm -rf bin runs
