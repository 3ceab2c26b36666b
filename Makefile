# Everything that is done to this repository more than once. `make help` lists the targets.
#
# Variables: FUZZTIME (make fuzz), PKG and RUN (make test), DIST (make build's output folder), SHORT (make chaos).

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

GO       ?= go
DIST     ?= bin
PKG      ?= ./...
RUN      ?= .
FUZZTIME ?= 30s
SHORT    ?= 1
# Everything but the race detector is built in one way (no cgo, no paths of the machine, no version control, which a
# source archive has not), so that build, lint, fuzz, e2e and its tools share one set of compiled dependencies.
export GOFLAGS := $(filter-out -buildvcs% -trimpath,$(shell $(GO) env GOFLAGS)) -buildvcs=false -trimpath
export CGO_ENABLED := 0

# The version of the binary: of the commit, never of the clock or the machine, so that a build repeats byte for byte.
STAMP     = github.com/prometheus/common/version
VERSION  ?= $(patsubst v%,%,$(shell git describe --tags --always --dirty 2>/dev/null || echo unknown))
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
BRANCH   ?= $(shell git rev-parse --abbrev-ref HEAD 2>/dev/null || echo unknown)
DATE     ?= $(shell TZ=UTC git log -1 --date=format-local:%Y%m%d-%H:%M:%S --format=%cd 2>/dev/null || echo unknown)
LDFLAGS   = -s -w -X $(STAMP).Version=$(VERSION) -X $(STAMP).Revision=$(REVISION) -X $(STAMP).Branch=$(BRANCH) \
            -X $(STAMP).BuildUser= -X $(STAMP).BuildDate=$(DATE)

# Tests of the other modules that are quick and need no other program: module:packages.
SIDE_TESTS = $(if $(wildcard bench/go.mod),bench:./...) $(if $(wildcard e2e/mesh),e2e:./mesh/...)

# The race detector is written in C: without a C compiler the tests run without it, and say so.
# What it makes serves nothing else, so it is built as a plain `go test -race` builds it.
RACE := $(shell command -v "$$($(GO) env CC | cut -d' ' -f1)" >/dev/null 2>&1 && echo -race)
RACE_ENV = CGO_ENABLED=1 GOFLAGS='$(filter-out -trimpath,$(GOFLAGS))'

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z][a-z0-9-]*:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST) | sort

.PHONY: build
build: ## Build bin/envoy-scraper: static, reproducible, version stamped
	@mkdir -p $(DIST)
	$(GO) build -ldflags '$(LDFLAGS)' -o $(DIST)/envoy-scraper ./cmd/envoy-scraper

.PHONY: test
test: ## Unit tests, command-line stories, golden outputs and fuzz seeds, with the race detector (PKG=./internal/x RUN=TestY)
	$(call need-race)
	$(if $(RACE),$(RACE_ENV)) $(GO) test $(RACE) -timeout 10m -run '$(RUN)' $(PKG)
	@for t in $(if $(filter ./...,$(PKG)),$(SIDE_TESTS)); do \
		echo "(cd $${t%%:*} && go test -short $${t#*:})"; (cd $${t%%:*} && $(GO) test -short -timeout 5m $${t#*:}); done

.PHONY: race
race: ## Unit tests with the race detector, uncached, each twice, in random order
	@[ -n "$(RACE)" ] || { echo "make race: no C compiler, so no race detector" >&2; exit 1; }
	$(RACE_ENV) $(GO) test -race -count=2 -shuffle=on -timeout 20m $(PKG)

.PHONY: golden
golden: ## Rewrite every testdata/*.golden from what the code prints now; look at the diff before you commit it
	GOLDEN=1 $(GO) test -count=1 $(PKG)
	@git --no-pager diff --stat -- '*.golden' '*.txtar' '*.md' '*.svg' || true

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (30s)
	@tools/fuzz.sh $(FUZZTIME)

.PHONY: lint
lint: ## gofmt, go vet, staticcheck and govulncheck over every module
	@tools/lint.sh

.PHONY: manifests
manifests: build ## Check that deploy/manifests is what the chart renders, and its configuration with bin/envoy-scraper
	@tools/manifests.sh $(DIST)/envoy-scraper

.PHONY: chart
chart: ## Lint the Helm chart with every file of values in its tests
	@tools/chart.sh

IMAGE = cd tools/image && $(GO) run . -root ../.. -version '$(VERSION)' -revision '$(REVISION)' -ldflags '$(LDFLAGS)' \
        -epoch $(shell git log -1 --format=%ct 2>/dev/null || echo 0)

.PHONY: image
image: ## An OCI archive for amd64 and arm64, bills of materials and checksums, in bin/image
	$(IMAGE) -out $(abspath $(DIST))/image image

.PHONY: release
release: ## Archives for linux, darwin and windows with checksums, in bin/release
	$(IMAGE) -out $(abspath $(DIST))/release release

.PHONY: mixin
mixin: ## Write the dashboards of deploy/mixin, and the chart's copies of them and of the alerts
	$(GO) run ./deploy/mixin deploy/mixin/dashboards deploy/helm/envoy-scraper/files

.PHONY: e2e
e2e: ## Real parts: etcd, kube-apiserver, Prometheus, Envoy; the chart, faults, hostile pages (E2E_NO_SKIP=1: a skipped part fails)
	@e2e/tools/build.sh >/dev/null # outside the tests' time: the first build takes long
	@tools/helm/build.sh >/dev/null
	cd e2e && $(GO) test -count=1 -timeout 20m -v ./...

.PHONY: chaos
chaos: ## End, starve and damage the running program, count what that costs (SHORT=0: the long form; RUN=kills: one scenario)
	@RUN='$(filter-out .,$(RUN))' SHORT='$(SHORT)' tools/chaos.sh

.PHONY: migration
migration: ## The migration guides, the OpenTelemetry collector's too (its first build: more than six minutes of CPU)
	@e2e/tools/build.sh prometheus >/dev/null # outside the tests' time
	@bench/peers/build.sh vmagent >/dev/null
	@e2e/tools/otelcol/build.sh >/dev/null
	cd e2e && MIGRATION_OTEL=1 $(GO) test -count=1 -timeout 15m -v ./migration

.PHONY: compliance
compliance: ## The remote write sender's checks: Prometheus' library, the specification, a real Prometheus
	@e2e/tools/build.sh prometheus >/dev/null # outside the tests' time
	cd e2e && $(GO) test -count=1 -timeout 10m -v ./compliance/...

.PHONY: differential
differential: ## A Prometheus agent beside envoy-scraper, the same file and pages: every difference (DIFFERENTIAL_SEEDS=40: more random jobs, DIFFERENTIAL_STEPS=100: longer)
	@e2e/tools/build.sh prometheus >/dev/null # outside the tests' time
	cd e2e && $(GO) test -count=1 -timeout 20m -v ./differential

.PHONY: blocks
blocks: ## Bytes per sample in the blocks of a real Prometheus, beside those that it scrapes by itself (BLOCKS_TIME=11m: full chunks)
	@e2e/tools/build.sh prometheus >/dev/null # outside the tests' time
	cd e2e && $(GO) test -count=1 -timeout 30m -v ./blocks

.PHONY: clean
clean: ## Remove what the other targets made here (the caches of the real parts stay)
	rm -rf $(DIST)

# The targets demo, bench and bench-baseline live beside what they run.
-include demo.mk bench.mk e2e/demo.mk bench/bench.mk

define need-race
$(if $(RACE),,@echo "make test: NO RACE DETECTOR: no C compiler ($$($(GO) env CC)) here; the tests run without it" >&2)
endef
