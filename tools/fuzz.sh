#!/usr/bin/env bash
# Runs every fuzz target of the root module for the time given ($1, default 30s), one after another.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
time=${1:-30s}

count=0
while IFS=: read -r file name; do
	count=$((count + 1))
	echo "fuzz $name in ./$(dirname "$file") for $time"
	go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" "./$(dirname "$file")"
done < <(grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' cmd internal | sed 's/:func /:/' | sort)
echo "fuzz: $count targets, $time each"
