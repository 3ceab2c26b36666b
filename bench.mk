# The bench: how much CPU and memory a fleet of sidecars costs. Included by Makefile.
#
# Variables: DURATION (all windows together), WARMUP, FLEET (S, L or M), AGENTS, BENCH_FLAGS (see bench/bin/bench run -h).

DURATION    ?= 5m
WARMUP      ?= 40s
FLEET       ?= S
AGENTS      ?= envoy-scraper-2.0,envoy-scraper-1.0,prometheus-2.0,prometheus-1.0,vmagent,vmagent-gogc400
BENCH_FLAGS ?=
BENCH_OUT   ?= bench/out
BENCH_TIMES  = -warmup $(WARMUP) -duration $(DURATION)
BENCH_PEERS  = $(if $(findstring prometheus,$(AGENTS)),prometheus) $(if $(findstring vmagent,$(AGENTS)),vmagent)
bench_run    = bench/bin/bench $(1) -programs $(DIST) -build '$(VERSION)' $(BENCH_TIMES)

.PHONY: bench-build
bench-build: build
	@mkdir -p bench/bin
	cd bench && $(GO) build -o bin/bench ./cmd/bench

.PHONY: bench
bench: bench-build ## Measure AGENTS (ours and the peers) with fleet S, L or M for DURATION each (FLEET=S DURATION=5m); report in bench/out
	$(if $(strip $(BENCH_PEERS)),@bench/peers/build.sh $(BENCH_PEERS) >/dev/null)
	$(call bench_run,run) -fleet $(FLEET) -agents $(AGENTS) $(if $(strip $(BENCH_PEERS)),-peers "$$(bench/peers/build.sh $(BENCH_PEERS))") \
		-out $(BENCH_OUT)/$(FLEET) $(BENCH_FLAGS)

.PHONY: bench-baseline
bench-baseline: bench-build ## 200 targets x 2,000 series every 10 s for DURATION (5m): is every sample delivered, at what CPU and memory
	$(call bench_run,run) -fleet S -agents envoy-scraper -must-deliver -out $(BENCH_OUT)/baseline $(BENCH_FLAGS)
