# The tasks of this repository. `make help` lists the targets.
#
# Variables: FUZZTIME (make fuzz), PKG and RUN (make test), DIST (output folder of make build), SHORT (make chaos),
# CHROMIUM (make screenshots, make e2e: path of the browser), E2E_PACKAGES (make e2e: how many run at the same time).

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
# All builds except those with the race detector use the same settings, so that build, lint, fuzz, e2e and the tools share
# one cache of compiled dependencies: no cgo, no paths of the machine, and no version control, which a source archive lacks.
export GOFLAGS := $(filter-out -buildvcs% -trimpath,$(shell $(GO) env GOFLAGS)) -buildvcs=false -trimpath
export CGO_ENABLED := 0

# The version comes from the file VERSION, everything else about the build from the commit, and nothing from the clock or
# the machine. So a build can be repeated byte for byte.
STAMP     = github.com/prometheus/common/version
VERSION  ?= $(shell cat VERSION)
COMMIT   ?= $(shell git describe --always --dirty --exclude '*' 2>/dev/null || echo unknown)
REVISION ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
BRANCH   ?= $(shell git rev-parse --abbrev-ref HEAD 2>/dev/null || echo unknown)
DATE     ?= $(shell TZ=UTC git log -1 --date=format-local:%Y%m%d-%H:%M:%S --format=%cd 2>/dev/null || echo unknown)
LDFLAGS   = -s -w -X $(STAMP).Version=$(VERSION) -X $(STAMP).Revision=$(REVISION) -X $(STAMP).Branch=$(BRANCH) \
            -X $(STAMP).BuildUser= -X $(STAMP).BuildDate=$(DATE)

# Quick tests of the other modules, which need no other program: module:packages.
SIDE_TESTS = $(if $(wildcard bench/go.mod),bench:./...) $(if $(wildcard e2e/mesh),e2e:./mesh/...)

# ALL is not empty if all packages are tested. Then the whole agents of internal/simulate run without the race detector,
# which makes them four times slower; `make race` and .ci/run have it for them.
ALL   = $(filter ./...,$(PKG))
RACED = $(if $(ALL),$$($(GO) list ./... | grep -v '/internal/simulate$$'),$(PKG))

# The race detector needs a C compiler. Without one, the tests run without it and say so. No other target uses builds with
# the race detector, so they have the settings of a plain `go test -race`.
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
test: ## Unit tests, command-line scripts, golden outputs and fuzz seeds, with the race detector (PKG=./internal/x RUN=TestY)
	$(call need-race)
	$(if $(RACE),$(RACE_ENV)) $(GO) test $(RACE) -timeout 20m -run '$(RUN)' $(RACED)
	$(if $(ALL),$(GO) test -timeout 10m -run '$(RUN)' ./internal/simulate)
	@for t in $(if $(ALL),$(SIDE_TESTS)); do \
		echo "(cd $${t%%:*} && go test -short $${t#*:})"; (cd $${t%%:*} && $(GO) test -short -timeout 5m $${t#*:}); done

.PHONY: race
race: ## Unit tests with the race detector, uncached, each twice, in random order
	@[ -n "$(RACE)" ] || { echo "make race: no C compiler, so no race detector" >&2; exit 1; }
	$(RACE_ENV) $(GO) test -race -count=2 -shuffle=on -timeout 20m $(PKG)

.PHONY: golden
golden: ## Rewrite every testdata/*.golden with the current output; check the diff before you commit it
	GOLDEN=1 $(GO) test -count=1 $(PKG)
	@git --no-pager diff --stat -- '*.golden' '*.txtar' '*.md' '*.svg' || true

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZTIME (30s)
	@tools/fuzz.sh $(FUZZTIME)

.PHONY: lint
lint: ## gofmt, go vet, staticcheck and govulncheck over every module
	@tools/lint.sh

.PHONY: manifests
manifests: build ## Check that deploy/manifests equals the rendered chart, and check its configuration with bin/envoy-scraper
	@tools/manifests.sh $(DIST)/envoy-scraper

.PHONY: chart
chart: ## Lint the Helm chart with every values file of its tests
	@tools/chart.sh

IMAGE = cd tools/image && $(GO) run . -root ../.. -version '$(VERSION)' -revision '$(REVISION)' -ldflags '$(LDFLAGS)' \
        -epoch $(shell git log -1 --format=%ct 2>/dev/null || echo 0)

.PHONY: image
image: ## Build an OCI archive for amd64 and arm64, with bills of materials and checksums, in bin/image
	$(IMAGE) -out $(abspath $(DIST))/image image

.PHONY: release
release: ## Build archives for linux, darwin and windows, with checksums, in bin/release
	$(IMAGE) -out $(abspath $(DIST))/release release

.PHONY: mixin
mixin: ## Generate the dashboards of deploy/mixin, and the chart's copies of dashboards and alerts
	$(GO) run ./deploy/mixin deploy/mixin/dashboards deploy/helm/envoy-scraper/files

.PHONY: screenshots
screenshots: ## Take screenshots of the pages in both themes, with sample data, for docs/images (needs Chromium)
	@SCREENSHOTS_CHROMIUM="$$(e2e/tools/chromium.sh)" $(GO) test -count=1 -run TestScreenshots ./internal/web

# Most tests of e2e wait: for scrapes, for the backoff of a client, for a killed server. So more packages, and more
# parallel tests of each, run at the same time than there are processors. All use one build of the program, and make lint
# has vetted them.
E2E_PACKAGES ?= 3

.PHONY: e2e
e2e: build ## End-to-end tests with real etcd, kube-apiserver, Prometheus, Envoy and Chromium: the chart, faults, hostile pages (E2E_NO_SKIP=1: a skipped test fails)
	@e2e/tools/chromium.sh >/dev/null || [ $$? = 3 ] # installs it where that is possible; 3: the tests of the pages skip
	@e2e/tools/build.sh >/dev/null # not within the timeout of the tests: the first build takes long
	@e2e/tools/vmui.sh >/dev/null
	@tools/helm/build.sh >/dev/null
	@PUSHDOWN_ENVOY="$$(e2e/tools/envoy.sh)" $(GO) test -count=1 -v -run TestRealEnvoy ./internal/pushdown ./internal/scrape
	cd e2e && E2E_SCRAPER='$(abspath $(DIST))/envoy-scraper' \
		$(GO) test -count=1 -vet=off -p $(E2E_PACKAGES) -parallel 4 -timeout 20m -v ./...

# GODEBUG and one processor are set by the tests themselves: the same seed gives the same run.
.PHONY: simulate
simulate: ## Run whole agents in a simulation with faults (SEED=x: first seed, SEEDS=n, DAYS=7: of each, FAULTS=n: only the first ones)
	@SIMULATE_SEED='$(or $(SEED),1)' SIMULATE_SEEDS='$(or $(SEEDS),1)' SIMULATE_DAYS='$(DAYS)' SIMULATE_FAULTS='$(FAULTS)' \
		$(GO) test -count=1 -timeout 0 -v -run '^TestSeeds$$' ./internal/simulate

# Each mistake is compiled into the product and searched for by seeds 1, 2, ... until one fails.
.PHONY: simulate-mutants
simulate-mutants: ## Make mistakes in the product, one at a time: the simulation must find each (SEEDS=n: at most, RUN=words of a name)
	@SIMULATE_MUTANTS=1 SIMULATE_SEEDS='$(SEEDS)' $(GO) test -count=1 -timeout 0 -v \
		-run '^TestSimulationFindsMutants$$$(if $(RUN),/$(RUN))' ./internal/simulate

.PHONY: chaos
chaos: ## Kill, starve and damage the running program and count the lost samples (SHORT=0: the long form; RUN=kills: one scenario)
	@RUN='$(filter-out .,$(RUN))' SHORT='$(SHORT)' tools/chaos.sh

.PHONY: migration
migration: ## Test the migration guides, including the OpenTelemetry collector's (its first build takes six minutes of CPU)
	@e2e/tools/build.sh prometheus >/dev/null # not within the timeout of the tests
	@bench/peers/build.sh vmagent >/dev/null
	@e2e/tools/otelcol/build.sh >/dev/null
	cd e2e && MIGRATION_OTEL=1 $(GO) test -count=1 -timeout 15m -v ./migration

.PHONY: compliance
compliance: ## Test remote write against Prometheus' library, the specification and a real Prometheus
	@e2e/tools/build.sh prometheus >/dev/null # not within the timeout of the tests
	cd e2e && $(GO) test -count=1 -timeout 10m -v ./compliance/...

.PHONY: differential
differential: ## Compare with a Prometheus agent that has the same file and pages (DIFFERENTIAL_SEEDS=40: more random jobs, DIFFERENTIAL_STEPS=100: longer, DIFFERENTIAL_SCRAPES=1,2,3,5: scrapes a request)
	@e2e/tools/build.sh prometheus >/dev/null # not within the timeout of the tests
	cd e2e && $(GO) test -count=1 -timeout 20m -v ./differential

.PHONY: blocks
blocks: ## Compare the bytes per sample in the blocks of a Prometheus that receives with one that scrapes (BLOCKS_TIME=11m: full chunks)
	@e2e/tools/build.sh prometheus >/dev/null # not within the timeout of the tests
	cd e2e && $(GO) test -count=1 -timeout 30m -v ./blocks

.PHONY: clean
clean: ## Remove the outputs of the other targets (the caches of the real parts stay)
	rm -rf $(DIST)

# The targets demo and bench… are in their own files.
-include demo.mk bench.mk e2e/demo.mk bench/bench.mk

define need-race
$(if $(RACE),,@echo "make test: NO RACE DETECTOR: no C compiler ($$($(GO) env CC)) here; the tests run without it" >&2)
endef
