#!/usr/bin/env bash
# Builds the demo and the programs it needs, and runs it. Only Go's build cache and the cache of the real parts remain
# afterwards. All builds use the flags of `make build`, so that they share compiled packages.
#
#   ONCE=1 or DEMO_ONCE=1   exit after the first result: with code 0 if there was one
#   DEMO_KUBE=1             take the pods from a real kube-apiserver, whose first build takes about ten minutes
#   DEMO_DASHBOARDS=FOLDER  show the Grafana dashboards of this folder, too: those that the mesh's project publishes
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
once=${DEMO_ONCE:-${ONCE:-}} kube=${DEMO_KUBE:-}

command -v go >/dev/null || { echo "demo: Go is needed, see https://go.dev/doc/install" >&2; exit 1; }
dir=$(mktemp -d "${TMPDIR:-/tmp}/envoy-scraper-demo.XXXXXX")
ticker=
cleanup() {
	[ -z "$ticker" ] || kill "$ticker" 2>/dev/null || true
	rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

show() { # text, again: on a terminal, if again is set, the next text replaces this one
	if [ ! -t 2 ]; then
		echo "$1" >&2
	elif [ "${2:-}" ]; then
		printf '\r%-78s' "$1" >&2
	else
		printf '\r%-78s\n' "$1" >&2
	fi
}

elapsed() { # what: shows the elapsed time, every second on a terminal, otherwise every 15 seconds
	local start=$SECONDS next=15 every=15
	[ ! -t 2 ] || next=1 every=1
	while sleep 1; do
		if [ $((SECONDS - start)) -ge "$next" ]; then
			show "$1 ... $((SECONDS - start)) s" again
			next=$((SECONDS - start + every))
		fi
	done
}

step() { # what, command ...: shows the output of the command only if it fails
	local what=$1 start=$SECONDS status=0
	shift
	elapsed "$what" &
	ticker=$!
	"$@" >"$dir/step.log" 2>&1 || status=$?
	kill "$ticker" 2>/dev/null || true
	wait "$ticker" 2>/dev/null || true
	ticker=
	if [ "$status" != 0 ]; then
		show "$what: failed after $((SECONDS - start)) s"
		cat "$dir/step.log" >&2
		exit 1
	fi
	show "$what: $((SECONDS - start)) s"
}

build_demo() { (cd "$root/e2e" && CGO_ENABLED=0 go build -trimpath -o "$dir/" ./demo ${kube:+./demo/kube}); }
build_tools() { "$root/e2e/tools/build.sh" "$@" >"$dir/tools"; }

step "building the demo" build_demo
step "building envoy-scraper" make -C "$root" build DIST="$dir/bin"
step "building Prometheus" build_tools prometheus
if [ -n "$kube" ]; then
	step "building etcd and kube-apiserver" build_tools etcd kube-apiserver
fi
trap - EXIT # from here on the demo removes the folder
# One result in the usual form is compared with the output that README shows.
readme=
if [ "$once" ] && [ -z "$kube" ] && [ "$(uname)" = Linux ]; then # elsewhere all sidecars share one address
	readme=$root/README.md
fi
exec "$dir/demo" -scraper="$dir/bin/envoy-scraper" -tools="$(cat "$dir/tools")" -dir="$dir" \
	-vmui="$root/e2e/tools/vmui.sh" -dashboards="$root/deploy/mixin/dashboards" \
	-mesh-dashboards="${DEMO_DASHBOARDS:-$(dirname "$root")/shared/data/dashboards}" \
	${once:+-once} ${readme:+-readme="$readme"} ${kube:+-kube="$dir/kube"}
