#!/usr/bin/env bash
# Runs gofmt, go vet and staticcheck on every module of this repository, and govulncheck on the root module.
# tools/go.mod pins the versions of staticcheck and govulncheck. A step that cannot run prints a line that
# begins with SKIPPED.
#
#   lint.sh [STEP ...]      default: format vet staticcheck vulnerabilities
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export CGO_ENABLED=0 # as in a release; the other make targets have compiled the same packages
bin=$PWD/tools/bin
database=${GOVULNDB:-https://vuln.go.dev}
modules=$(git ls-files --cached --others --exclude-standard | grep -E '(^|/)go\.mod$' |
	grep -v '^tools/\|^e2e/tools/' | xargs -n1 dirname)

tool() { # name, package; go build does nothing if the tool is up to date
	echo "building $1" >&2
	(cd tools && go build -o "$bin/$1" "$2")
}

format() {
	local unformatted
	unformatted=$(git ls-files --cached --others --exclude-standard '*.go' |
		xargs -r ls -d 2>/dev/null | xargs -r gofmt -l)
	[ -z "$unformatted" ] && return
	printf 'gofmt would change:\n%s\n' "$unformatted"
	return 1
}

vet() {
	for module in $modules; do
		echo "go vet in $module"
		(cd "$module" && go vet ./...)
	done
}

staticcheck() {
	tool staticcheck honnef.co/go/tools/cmd/staticcheck
	for module in $modules; do
		echo "staticcheck in $module"
		(cd "$module" && "$bin/staticcheck" ./...)
	done
}

vulnerabilities() {
	if command -v curl >/dev/null && ! curl -fsS -m 15 -o /dev/null "$database/index/db.json"; then
		echo "SKIPPED govulncheck: the vulnerability database $database is not reachable"
		return 0
	fi
	tool govulncheck golang.org/x/vuln/cmd/govulncheck
	local out status=0
	out=$("$bin/govulncheck" -db "$database" ./... 2>&1) || status=$?
	echo "$out"
	if [ "$status" != 0 ] && grep -q 'fetching vulnerabilities' <<<"$out"; then
		echo "SKIPPED govulncheck: the vulnerability database $database is not reachable"
		status=0
	fi
	return "$status"
}

[ $# -gt 0 ] || set -- format vet staticcheck vulnerabilities
for step in "$@"; do
	start=$SECONDS
	echo "lint: $step"
	"$step" || { echo "lint: $step found problems"; exit 1; }
	echo "lint: $step ok after $((SECONDS - start)) s"
done
