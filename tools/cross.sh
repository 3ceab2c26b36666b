#!/usr/bin/env bash
# go vet for the systems that a release is made for and this machine is not: the program and its tests compile there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
for system in darwin windows linux; do
	[ "$system" != "$(go env GOHOSTOS)" ] || continue
	echo "go vet for $system"
	GOOS=$system go vet ./...
done
