#!/usr/bin/env bash
# Fetches the Prometheus Operator's custom resource definitions, as the version in go.mod has them. Prints their folder
# on standard output.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

module=github.com/prometheus-operator/prometheus-operator
go mod download "$module" >&2
echo "$(go list -m -f '{{.Dir}}' "$module")/example/prometheus-operator-crd"
