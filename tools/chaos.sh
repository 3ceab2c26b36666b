#!/usr/bin/env bash
# Runs the scenarios of e2e/chaos, which kill, starve and damage the running program, and prints a table of what each
# scenario lost.
#
#   SHORT=0 tools/chaos.sh     the long form, which takes more than a quarter of an hour
#   RUN=kills tools/chaos.sh   one scenario
#   CHAOS_SCRAPES=5 tools/chaos.sh   5 instead of 3 scrapes a request in the scenarios with several
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../e2e"

log=$(mktemp "${TMPDIR:-/tmp}/chaos.XXXXXX")
trap 'rm -f "$log"' EXIT
short=-short timeout=10m
[ "${SHORT:-1}" != 0 ] || short= timeout=45m

status=0
# Scenarios mostly wait, so more of them run in parallel than there are processors.
CHAOS=1 go test -count=1 -v $short -timeout "$timeout" -parallel 12 -run "TestChaos/${RUN:-}" ./chaos |
	tee "$log" || status=$?

echo
echo "| scenario | served | lost, had ended | lost, in flight | samples out of order | requests twice |" \
	"samples counted as dropped | |"
echo "|---|---|---|---|---|---|---|---|"
sed -n 's/^ *[a-z_]*_test\.go:[0-9]*: |/|/p' "$log" | sort
exit "$status"
