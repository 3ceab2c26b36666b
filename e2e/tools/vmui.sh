#!/usr/bin/env bash
# Prints the folder of vmui, the web UI of VictoriaMetrics (Apache-2.0), which shows the graphs of the demo. Its Go
# module has the built files, so nothing is compiled. The module is the one that bench/peers pins for vmagent: Go checks
# the download (34 MB) against go.sum there, and keeps it in its module cache.
#
#   vmui.sh            downloads the module if it is not in the cache
#   vmui.sh --cached   does not: exit code 3 if it is not in the cache
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../../bench/peers"
module=github.com/VictoriaMetrics/VictoriaMetrics

cached() { # sets ui
	ui=$(GOPROXY=off go list -m -f '{{.Dir}}' "$module" 2>/dev/null) && ui=$ui/app/vmselect/vmui && [ -f "$ui/index.html" ]
}

if ! cached; then
	if [ "${1:-}" = --cached ]; then
		echo "vmui.sh: $module is not in Go's module cache" >&2
		exit 3
	fi
	echo "downloading $module ..." >&2
	go mod download "$module" >&2
	cached || { echo "vmui.sh: $module has no built web UI in app/vmselect/vmui" >&2; exit 1; }
fi
echo "$ui"
