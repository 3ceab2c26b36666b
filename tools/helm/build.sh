#!/usr/bin/env bash
# Builds Helm from the version that go.mod pins, once, into a cache folder whose name is a hash of what decides its
# content. Prints the program's path on standard output; progress goes to standard error. The first build takes six
# minutes of processor time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

key=$(cat go.mod go.sum build.sh <(go env GOVERSION GOOS GOARCH) | git hash-object --stdin | cut -c1-16)
bin=${ENVOY_SCRAPER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/envoy-scraper}/helm-$key
mkdir -p "$bin"
if [ ! -x "$bin/helm" ]; then
	echo "building helm ..." >&2
	# A name of its own until it is whole: an interrupted build leaves nothing that looks finished.
	CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags='-s -w' -o "$bin/.helm.$$" helm.sh/helm/v4/cmd/helm >&2
	mv "$bin/.helm.$$" "$bin/helm"
	echo "built helm after ${SECONDS} s" >&2
fi
echo "$bin/helm"
