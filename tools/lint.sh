#!/usr/bin/env bash
# gofmt, go vet and staticcheck over every module of this repository, govulncheck over the product's. The
# versions of the two tools are pinned in tools/go.mod. Prints a line that begins with SKIPPED for what it could
# not do.
#
#   lint.sh [STEP ...]      default: format vet staticcheck vulnerabilities
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export CGO_ENABLED=0 # what ships, and what the other targets have compiled already
bin=$PWD/tools/bin
database=${GOVULNDB:-https://vuln.go.dev}
modules=$(git ls-files --cached --others --exclude-standard | grep -E '(^|/)go\.mod$' | grep -v '^tools/\|^e2e/tools/' | xargs -n1 dirname)

tool() { # name, package: built at its first use; go build makes the second use cheap
	echo "building $1" >&2
	(cd tools && go build -o "$bin/$1" "$2")
}

format() {
	local unformatted
	unformatted=$(git ls-files --cached --others --exclude-standard '*.go' | xargs -r ls -d 2>/dev/null | xargs -r gofmt -l)
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
		echo "SKIPPED govulncheck: the vulnerability database $database cannot be reached from here"
		return 0
	fi
	tool govulncheck golang.org/x/vuln/cmd/govulncheck
	local out status=0
	out=$("$bin/govulncheck" -db "$database" ./... 2>&1) || status=$?
	echo "$out"
	if [ "$status" != 0 ] && grep -q 'fetching vulnerabilities' <<<"$out"; then
		echo "SKIPPED govulncheck: the vulnerability database $database cannot be reached from here"
		status=0
	fi
	return "$status"
}

[ $# -gt 0 ] || set -- format vet staticcheck vulnerabilities
for step in "$@"; do
	start=$SECONDS
	echo "lint: $step"
	"$step" || { echo "lint: $step found something"; exit 1; }
	echo "lint: $step ok after $((SECONDS - start)) s"
done
