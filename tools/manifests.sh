#!/usr/bin/env bash
# Checks the configuration in deploy/manifests as a pod of the DaemonSet would read it. That the manifests are
# valid objects is for a real API server to say, in e2e.
#
#   manifests.sh PROGRAM      the envoy-scraper to check with
set -euo pipefail
program=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/.."

dir=$(mktemp -d "${TMPDIR:-/tmp}/manifests.XXXXXX")
trap 'rm -rf "$dir"' EXIT
# The block scalar under its key: the lines that are indented deeper than the key.
awk '/^  envoy-scraper\.yml: \|/ { inside = 1; next }
	inside && /^ ? ? ?[^ ]/ { inside = 0 }
	inside { print substr($0, 5) }' deploy/manifests/configmap.yaml >"$dir/envoy-scraper.yml"
grep -q '^scrape_configs:' "$dir/envoy-scraper.yml" || { echo "deploy/manifests/configmap.yaml: found no configuration in it" >&2; exit 1; }
cd "$dir"
NODE_NAME=node-1 "$program" check envoy-scraper.yml
