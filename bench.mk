# The bench: how much CPU and memory a fleet of sidecars costs. Included by Makefile.
#
# Variables: DURATION (all windows together), WARMUP, FLEET (S, L, M, N or XL), AGENTS, BENCH_FLAGS (see bench/bin/bench
# run -h); bench-diff: BASE and NEW (commits; NEW=. is the tree as it is), WINDOW, AGENT, TOGETHER; bench-whole: WAYS,
# CATCHUP, OUTAGE; bench-pushdown: KEEP, WINDOW, AGENT; bench-sidecar: SIDECAR_WAYS; bench-aggregate: AGGREGATE_WAYS,
# REPLACE.

FLEET       ?= S
DURATION    ?= 5m
WARMUP      ?= $(if $(filter XL,$(FLEET)),120s,40s)
AGENTS      ?= $(or $(AGENTS_$(FLEET)),$(ALL_AGENTS))
ALL_AGENTS   = envoy-scraper-2.0,envoy-scraper-1.0,prometheus-2.0,prometheus-1.0,vmagent,vmagent-gogc400
FAST_AGENTS  = envoy-scraper-2.0,vmagent,prometheus-2.0
AGENTS_N     = $(FAST_AGENTS)
AGENTS_XL    = envoy-scraper-2.0,vmagent
AGENT       ?= envoy-scraper-2.0
BENCH_FLAGS ?=
BENCH_OUT   ?= bench/out
NEW         ?= HEAD
WAYS        ?= $(if $(CATCHUP),ours,all)
CATCHUP     ?=
OUTAGE      ?= 60s
KEEP        ?= istio_.*
SIDECAR_WAYS ?= all
RAW_AND_SUMS = raw,istio
AGGREGATE_WAYS ?= $(if $(REPLACE),$(RAW_AND_SUMS),all)
REPLACE     ?=
BENCH_PEERS  = $(strip $(if $(findstring prometheus,$(AGENTS)),prometheus) $(if $(findstring vmagent,$(AGENTS)),vmagent))
bench-peers  = $(if $(BENCH_PEERS),-peers "$$(bench/peers/build.sh $(BENCH_PEERS))")
bench-commit = $$(git rev-parse --short HEAD)$$(git diff --quiet HEAD -- cmd internal bench/runner go.mod go.sum || echo -dirty)
bench        = bench/bin/bench $(1) -programs $(DIST) -build '$(COMMIT)' -warmup $(WARMUP) -duration $(DURATION)

.PHONY: bench-build
bench-build: build bench-only

.PHONY: bench-only
bench-only:
	@mkdir -p bench/bin
	cd bench && $(GO) build -o bin/bench ./cmd/bench

.PHONY: bench
bench: bench-build ## Measure AGENTS (default: ours and the peers) with fleet S, L, M, N or XL for DURATION each (FLEET=S DURATION=5m); report in bench/out, figures in README and docs/performance.md
	$(if $(BENCH_PEERS),@bench/peers/build.sh $(BENCH_PEERS) >/dev/null)
	$(call bench,run) -fleet $(FLEET) -agents $(AGENTS) $(bench-peers) \
		-out $(BENCH_OUT)/$(FLEET) $(BENCH_FLAGS)
	@bench/bin/bench publish -fleet $(FLEET) -report $(BENCH_OUT)/$(FLEET)/report.json \
		-commit "$(bench-commit)"
	$(if $(filter S,$(FLEET)),@$(MAKE) bench-pushdown bench-sidecar BENCH_FLAGS=)

# An agent asks each target for a whole page first, and then for every fortieth. So the warm-up is four scrapes at least,
# and a window of bench-sidecar is 40.
.PHONY: bench-pushdown
bench-pushdown: DURATION = 2m
bench-pushdown: WARMUP = 45s
bench-pushdown: WINDOW = 20s
bench-pushdown: bench-build ## Filtered pages beside whole ones, fleet S in turns, DURATION (2m) each: with rules that keep KEEP (istio_.*), and without rules
	$(call bench,pushdown) -fleet S -agents $(AGENT) -window $(WINDOW) -keep '$(KEEP)' -out $(BENCH_OUT)/pushdown $(BENCH_FLAGS)
	$(call bench,pushdown) -fleet S -agents $(AGENT) -window $(WINDOW) -keep '' -out $(BENCH_OUT)/pushdown-no-rules \
		$(BENCH_FLAGS)

.PHONY: bench-sidecar
bench-sidecar: DURATION = 2m
bench-sidecar: WARMUP = 20s
bench-sidecar: WINDOW = 40s
bench-sidecar: bench-build ## CPU of a real Envoy with 50,000 lines, of the agent and of a real Prometheus, and the bytes between them, SIDECAR_WAYS (default: all) in turns, DURATION (2m) each
	@bench/peers/build.sh prometheus vmagent >/dev/null
	$(call bench,sidecar) -interval 1s -window $(WINDOW) -ways $(SIDECAR_WAYS) -envoy "$$(e2e/tools/envoy.sh)" \
		-filter vhost -filter '^vhost\.' -filter '(?s)cluster.*membership.*healthy' -filter '(?s)membership.*healthy' \
		-filter '^x$$' -peers "$$(bench/peers/build.sh prometheus vmagent)" -out $(BENCH_OUT)/sidecar $(BENCH_FLAGS)

.PHONY: bench-aggregate
bench-aggregate: DURATION = 40s
bench-aggregate: WARMUP = $(if $(REPLACE),20s,40s)
bench-aggregate: AGGREGATE_PEERS = prometheus $(if $(findstring vmagent,$(AGGREGATE_WAYS))$(findstring all,$(AGGREGATE_WAYS)),vmagent)
bench-aggregate: bench-build ## Sums over the pods of a workload beside raw series and vmagent's stream aggregation, in a real Prometheus: fleet S, AGGREGATE_WAYS (default: all) for DURATION (40s) each; REPLACE=2: while each pod is replaced twice
	@bench/peers/build.sh $(AGGREGATE_PEERS) >/dev/null
	$(call bench,aggregate) -fleet $(FLEET) -ways $(AGGREGATE_WAYS) $(if $(REPLACE),-replace $(REPLACE) -interval 3s) \
		-peers "$$(bench/peers/build.sh $(AGGREGATE_PEERS))" \
		-out $(BENCH_OUT)/aggregate$(if $(REPLACE),-replace) $(BENCH_FLAGS)

.PHONY: bench-baseline
bench-baseline: bench-build ## 200 targets x 2,000 series every 10 s for DURATION (5m): is every sample delivered, at what CPU and memory
	$(call bench,run) -fleet S -agents envoy-scraper -must-deliver -out $(BENCH_OUT)/baseline $(BENCH_FLAGS)

.PHONY: bench-idle
bench-idle: bench-build ## Memory without targets after 30 s; time from the start to the first sample of fleet S
	$(call bench,idle) -fleet S -out $(BENCH_OUT)/idle $(BENCH_FLAGS)

.PHONY: bench-learn
bench-learn: AGENTS = $(FAST_AGENTS)
bench-learn: DURATION = 1m
bench-learn: bench-build ## CPU until each series of FLEET has arrived once, of AGENTS (default: ours and the peers)
	$(call bench,run) -fleet $(FLEET) -agents $(AGENTS) $(bench-peers) -out $(BENCH_OUT)/learn $(BENCH_FLAGS)

# A page just below body_size_limit (64 MiB), of which no two lines are alike. vmagent refuses pages above 16 MiB.
.PHONY: bench-firstpage
bench-firstpage: AGENTS = envoy-scraper-2.0,prometheus-2.0
bench-firstpage: DURATION = 30s
bench-firstpage: bench-build ## Memory of AGENTS (default: ours and Prometheus' agent) while one page of 63 MiB with nothing but new series is read for the first time, and after it
	$(call bench,run) -targets 1 -series 122000 -distinct -interval 15s -window $(DURATION) -agents $(AGENTS) $(bench-peers) \
		-out $(BENCH_OUT)/firstpage $(BENCH_FLAGS)

.PHONY: bench-churn
bench-churn: AGENTS = $(FAST_AGENTS)
bench-churn: DURATION = 3m
bench-churn: bench-build ## Fleet S while 5 % of the series are replaced at each scrape, AGENTS (default: ours and the peers) for DURATION (3m) each
	$(call bench,run) -fleet S -churn 0.05 -agents $(AGENTS) $(bench-peers) -out $(BENCH_OUT)/churn $(BENCH_FLAGS)

.PHONY: bench-syscalls
bench-syscalls: AGENTS = $(FAST_AGENTS)
bench-syscalls: DURATION = 30s
bench-syscalls: bench-build ## System calls of AGENTS (default: ours and the peers) by name, for each scrape of FLEET, if strace is installed
	$(call bench,run) -fleet $(FLEET) -strace -window $(DURATION) -agents $(AGENTS) $(bench-peers) \
		-out $(BENCH_OUT)/syscalls $(BENCH_FLAGS)

.PHONY: bench-scale
bench-scale: DURATION = 3m
bench-scale: WARMUP = 60s
bench-scale: bench-build ## CPU of a sample with 100, 1,000, 3,000 and 9,000 targets x 200 series, each beside 300 targets at the same time, DURATION (3m) each
	$(call bench,scale) -agents $(AGENT) -out $(BENCH_OUT)/scale $(BENCH_FLAGS)

.PHONY: bench-whole
bench-whole: DURATION = 3m
bench-whole: WARMUP = 60s
bench-whole: WHOLE_PEERS = prometheus $(if $(findstring vmagent,$(WAYS))$(findstring all,$(WAYS)),vmagent)
bench-whole: bench-build ## Agent and a real Prometheus as the receiver together, WAYS (default: all) for DURATION (3m) each, fleet S; CATCHUP=1: how fast a queue drains after the receiver was down for OUTAGE (60s)
	@bench/peers/build.sh $(WHOLE_PEERS) >/dev/null
	$(call bench,$(if $(CATCHUP),catchup -outage $(OUTAGE),whole)) -fleet $(FLEET) -ways $(WAYS) \
		-peers "$$(bench/peers/build.sh $(WHOLE_PEERS))" -out $(BENCH_OUT)/$(if $(CATCHUP),catchup,whole) $(BENCH_FLAGS)
	$(if $(CATCHUP),,@bench/bin/bench publish-whole -report $(BENCH_OUT)/whole/report.json -commit "$(bench-commit)")

# The windows hold whole scrape intervals: 10 s, and of N and XL 15 s.
.PHONY: bench-diff
bench-diff: DURATION = 2m
bench-diff: WARMUP = $(if $(filter N XL,$(FLEET)),60s,25s)
bench-diff: WINDOW ?= $(if $(filter N XL,$(FLEET)),30s,20s)
bench-diff: $(if $(filter .,$(NEW)),build) bench-only ## Compare two commits of ours in turns, or with TOGETHER=1 at the same time, DURATION (2m) each in windows of WINDOW (20s): BASE=<revision> [NEW=<revision>|.]
	@[ -n "$(BASE)" ] || { echo "make bench-diff: BASE=<revision> is missing" >&2; exit 2; }
	@bench/build-commit.sh $(BASE) >/dev/null
	$(if $(filter .,$(NEW)),,@bench/build-commit.sh $(NEW) >/dev/null)
	$(call bench,diff) $(if $(TOGETHER),-together) -fleet $(FLEET) -agents $(AGENT) -window $(WINDOW) -out $(BENCH_OUT)/diff \
		-base-program "$$(bench/build-commit.sh $(BASE))" -base-name "$$(git rev-parse --short $(BASE))" \
		$(if $(filter .,$(NEW)),-new-program $(DIST)/envoy-scraper -new-name tree,-new-program "$$(bench/build-commit.sh $(NEW))" -new-name "$$(git rev-parse --short $(NEW))") $(BENCH_FLAGS)

.PHONY: bench-pair
bench-pair: AGENTS = envoy-scraper-2.0,vmagent
bench-pair: DURATION = 3m
bench-pair: WARMUP = 60s
bench-pair: WINDOW ?= 30s
bench-pair: bench-build ## Two AGENTS (default: ours and vmagent) at the same time, each with a FLEET of its own, DURATION (3m) in windows of WINDOW (30s): the ratio of each window
	$(call bench,diff) -together -fleet $(FLEET) -agents $(AGENTS) $(bench-peers) -window $(WINDOW) \
		-out $(BENCH_OUT)/pair $(BENCH_FLAGS)

.PHONY: bench-soak
bench-soak: DURATION = 30m
bench-soak: bench-build ## Fleet S for DURATION (30m) with churn, targets coming and going: memory, goroutines, descriptors flat, nothing lost
	$(call bench,soak) -fleet S -out $(BENCH_OUT)/soak $(BENCH_FLAGS)

.PHONY: bench-profile
bench-profile: DURATION = 3m
bench-profile: bench-build ## CPU and heap profiles of ours with FLEET, what pprof says of them, and the shares of the program's parts, to bench/out
	$(call bench,profile) -fleet $(FLEET) -agents $(AGENT) -out $(BENCH_OUT)/profile $(BENCH_FLAGS)
