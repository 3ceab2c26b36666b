#!/usr/bin/env bash
# Runs every fuzz target of the root module, one after another, for $1 each (default 30s).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
time=${1:-30s}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Go 1.26 sometimes reports the end of the fuzzing time as a failure with only the message "context deadline exceeded"
# (go.dev/issue/75804, fixed in Go 1.27). For a real failure, Go also prints the file of the failing input.
only_deadline() {
	! grep -qE 'Failing input|panic|hung|testdata/fuzz' "$log" &&
		[ "$(grep -A1 '^--- FAIL: ' "$log" | sed -n 2p)" = "    context deadline exceeded" ]
}

fuzz() { # target, package
	local try
	for try in 1 2 3; do
		echo "fuzz $1 in $2 for $time"
		# Without a limit, Go spends up to a minute on minimizing one input, which is usually the whole fuzzing time.
		if go test -run '^$' -fuzz "^$1\$" -fuzztime "$time" -fuzzminimizetime 10x "$2" 2>&1 | tee "$log"; then
			return 0
		fi
		only_deadline || return 1
		echo "fuzz $1: Go reported the end of the fuzzing time as a failure (attempt $try of 3); no input failed"
	done
	return 1
}

count=0
while IFS=: read -r file name; do
	count=$((count + 1))
	fuzz "$name" "./$(dirname "$file")" </dev/null
done < <(grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' cmd internal | sed 's/:func /:/' | sort)
echo "fuzz: $count targets, $time each"
