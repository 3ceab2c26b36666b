.PHONY: demo
demo: ## A mesh, a Prometheus, envoy-scraper and graphs on this machine, until Ctrl-C (ONCE=1: one result; DEMO_KUBE=1: a real API server)
	@ONCE='$(ONCE)' DEMO_KUBE='$(DEMO_KUBE)' DEMO_DASHBOARDS='$(DEMO_DASHBOARDS)' e2e/demo/demo.sh

.PHONY: demo-screenshot
demo-screenshot: ## Take the screenshot of the demo's graphs for docs/images (needs Chromium)
	cd e2e && DEMO_SCREENSHOT='$(CURDIR)/docs/images/demo.png' $(GO) test -count=1 -run TestGraphs/chromium -v ./graphs
