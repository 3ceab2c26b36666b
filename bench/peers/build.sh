#!/usr/bin/env bash
# Builds the agents that bench compares with from the versions that are pinned, once, at the lowest priority,
# into a cache folder whose name is a hash of what decides their content. Prints that folder on standard output;
# progress goes to standard error.
#
#   build.sh [PROGRAM ...]     default: prometheus vmagent
#
# vmagent is pinned by go.mod here. Prometheus is the one that the end-to-end tests build and cache.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# vmagent is released with cgo: it compresses each page that it has read, with zstd, and the C library does that for
# less CPU than the one in Go. Without a C compiler it is built in Go, which the report says (CGO_ENABLED).
cgo=0
! command -v "$(go env CC | cut -d' ' -f1)" >/dev/null || cgo=1

key=$(cat go.mod go.sum build.sh <(go env GOVERSION GOOS GOARCH) <(echo $cgo) | git hash-object --stdin | cut -c1-16)
bin=${ENVOY_SCRAPER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/envoy-scraper}/peers-$key
mkdir -p "$bin"

vmagent() {
	[ -x "$bin/vmagent" ] && return
	echo "building vmagent ..." >&2
	# The flags of its release. A name of its own until it is whole: an interrupted build leaves nothing that
	# looks finished.
	CGO_ENABLED=$cgo nice -n 19 go build -buildvcs=false -trimpath -tags 'netgo osusergo' \
		-ldflags "-extldflags '-static'" -o "$bin/.vmagent.$$" github.com/VictoriaMetrics/VictoriaMetrics/app/vmagent >&2
	mv "$bin/.vmagent.$$" "$bin/vmagent"
	echo "built vmagent after ${SECONDS} s" >&2
}

[ $# -gt 0 ] || set -- prometheus vmagent
for program in "$@"; do
	case $program in
	prometheus) ln -sfn "$(nice -n 19 ../../e2e/tools/build.sh prometheus)/prometheus" "$bin/prometheus" ;;
	vmagent) vmagent ;;
	*) echo "build.sh: unknown program $program" >&2; exit 2 ;;
	esac
done
echo "$bin"
