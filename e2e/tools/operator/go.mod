// The Prometheus Operator's source, for its definitions alone: definitions.sh. Nothing of it is compiled.
module github.com/envoy-scraper/envoy-scraper/e2e/tools/operator

go 1.26

require github.com/prometheus-operator/prometheus-operator v0.85.0
