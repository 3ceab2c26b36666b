#!/usr/bin/env bash
# Builds a commit of this repository as its own Makefile does, in a worktree of its own that is gone afterwards, with
# the build cache that all share. Prints the program's path on standard output; progress goes to standard error.
#
#   build-commit.sh REVISION
#
# A commit that was built before is not built again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

commit=$(git rev-parse --verify --quiet "${1:?REVISION is missing}^{commit}") || { echo "build-commit.sh: no commit $1 here" >&2; exit 1; }
dir=$PWD/bench/bin/commits/$commit
if [ ! -x "$dir/envoy-scraper" ]; then
	echo "building $(git log -1 --format='%h %s' "$commit") ..." >&2
	work=$(mktemp -d "${TMPDIR:-/tmp}/bench-build.XXXXXX")
	trap 'git worktree remove --force "$work/tree" || true; rm -rf "$work"' EXIT
	git worktree add --quiet --detach "$work/tree" "$commit"
	# A folder of its own until it is whole: an interrupted build leaves nothing that looks finished. The variables
	# of a make that runs this are not that commit's.
	env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -C "$work/tree" build DIST="$work/bin" >&2
	mkdir -p "$dir"
	mv "$work/bin/envoy-scraper" "$dir/envoy-scraper"
fi
echo "$dir/envoy-scraper"
