#!/usr/bin/env bash
# Ends, starves and damages the running program (e2e/chaos) and prints the table of what that cost.
#
#   SHORT=0 tools/chaos.sh     the long form: more than a quarter of an hour
#   RUN=kills tools/chaos.sh   one scenario
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../e2e"

log=$(mktemp "${TMPDIR:-/tmp}/chaos.XXXXXX")
trap 'rm -f "$log"' EXIT
short=-short timeout=10m
[ "${SHORT:-1}" != 0 ] || short= timeout=45m

status=0
# Most of a scenario is waiting, so more of them run at once than there are processors.
CHAOS=1 go test -count=1 -v $short -timeout "$timeout" -parallel 12 -run "TestChaos/${RUN:-}" ./chaos | tee "$log" || status=$?

echo
echo "| scenario | served | lost, ended | lost, in flight | out of order | requests twice | samples counted as dropped | |"
echo "|---|---|---|---|---|---|---|---|"
sed -n 's/^ *[a-z_]*_test\.go:[0-9]*: |/|/p' "$log" | sort
exit "$status"
