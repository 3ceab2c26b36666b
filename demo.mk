.PHONY: demo
demo: ## A mesh, a Prometheus and envoy-scraper on this machine, until Ctrl-C (ONCE=1: one result; DEMO_KUBE=1: a real API server)
	@ONCE='$(ONCE)' DEMO_KUBE='$(DEMO_KUBE)' e2e/demo/demo.sh
