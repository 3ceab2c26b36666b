#!/usr/bin/env bash
# Builds the OpenTelemetry collector of main.go from the versions that go.mod pins, once, at the lowest priority, into a
# cache folder whose name is a hash of what decides its content. Prints that folder on standard output; progress goes
# to standard error.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

key=$(cat go.mod go.sum main.go build.sh <(go env GOVERSION GOOS GOARCH) | git hash-object --stdin | cut -c1-16)
bin=${ENVOY_SCRAPER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/envoy-scraper}/otelcol-$key
mkdir -p "$bin"

if [ ! -x "$bin/otelcol" ]; then
	echo "building otelcol ..." >&2
	# Of the discoveries, that of the guide and those that ask no cloud: less to compile. A name of its own until it is
	# whole: an interrupted build leaves nothing that looks finished.
	CGO_ENABLED=0 nice -n 19 go build -buildvcs=false -trimpath -ldflags='-s -w' \
		-tags='remove_all_sd enable_kubernetes_sd' -o "$bin/.otelcol.$$" . >&2
	mv "$bin/.otelcol.$$" "$bin/otelcol"
	echo "built otelcol after ${SECONDS} s" >&2
fi
echo "$bin"
