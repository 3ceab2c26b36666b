#!/usr/bin/env bash
# Compiles the program for every operating system of a release, except that of this machine. Only compiling is checked:
# the tests need Unix.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
for system in darwin windows linux; do
	[ "$system" != "$(go env GOHOSTOS)" ] || continue
	echo "go build for $system"
	GOOS=$system go build -o /dev/null ./cmd/envoy-scraper
done
