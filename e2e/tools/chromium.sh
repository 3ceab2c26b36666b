#!/usr/bin/env bash
# Finds Chromium for the tests that look at pages, and prints its path on standard output. Where it is missing, root on
# Debian installs Debian's package. CHROMIUM may name another one, which must be there.
#
# Exit code 3: Chromium cannot be had here; the tests that need it skip.
set -euo pipefail

if [ -n "${CHROMIUM:-}" ]; then
	command -v "$CHROMIUM" && exit
	echo "chromium.sh: CHROMIUM=$CHROMIUM is no program" >&2
	exit 1
fi

find_it() {
	local name
	for name in chromium chromium-browser google-chrome; do
		if command -v "$name"; then
			return 0
		fi
	done
	return 1
}
find_it && exit

unavailable() {
	echo "chromium.sh: no Chromium for the tests of the pages: $1" >&2
	exit 3
}
[ "$(id -u)" = 0 ] && [ -e /etc/debian_version ] && command -v apt-get >/dev/null ||
	unavailable "install it (Debian: apt-get install chromium), or name one with CHROMIUM=path"

log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "installing chromium ..." >&2
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update && apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends chromium \
	fonts-dejavu-core; } >"$log" 2>&1; then
	tail -n 20 "$log" >&2
	unavailable "apt-get could not install it"
fi
echo "installed chromium after ${SECONDS} s" >&2
find_it || unavailable "the package has no program of that name"
