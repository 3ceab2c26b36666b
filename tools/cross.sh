#!/usr/bin/env bash
# Compiles the program for the systems that a release is made for and this machine is not. Its tests are for unix.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
for system in darwin windows linux; do
	[ "$system" != "$(go env GOHOSTOS)" ] || continue
	echo "go build for $system"
	GOOS=$system go build -o /dev/null ./cmd/envoy-scraper
done
