#!/usr/bin/env bash
# Builds the real parts of the end-to-end tests (etcd, kube-apiserver, kubectl, Prometheus, promtool) from
# the versions that go.mod pins, once, into a cache folder whose name is a hash of what decides their
# content. Prints the folder of the binaries on standard output; progress goes to standard error.
#
#   build.sh [TOOL ...]     default: all of them
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

key=$(cat go.mod go.sum build.sh <(go env GOVERSION GOOS GOARCH) | git hash-object --stdin | cut -c1-16)
bin=${ENVOY_SCRAPER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/envoy-scraper}/tools-$key
mkdir -p "$bin"

build() { # name, package, further flags of go build
	local name=$1 package=$2
	shift 2
	[ -x "$bin/$name" ] && return
	echo "building $name ..." >&2
	# A name of its own until it is whole: an interrupted build leaves nothing that looks finished.
	CGO_ENABLED=0 go build -buildvcs=false -trimpath -o "$bin/.$name.$$" "$@" "$package" >&2
	mv "$bin/.$name.$$" "$bin/$name"
	echo "built $name after ${SECONDS} s" >&2
}

kube_version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
IFS=. read -r kube_major kube_minor _ <<<"${kube_version#v}"
kube_ldflags="-s -w -X k8s.io/component-base/version.gitVersion=$kube_version"
kube_ldflags+=" -X k8s.io/component-base/version.gitMajor=$kube_major -X k8s.io/component-base/version.gitMinor=$kube_minor"
# Only the discoveries that a receiver needs, that is none: less to compile. The other flags are those of make build,
# so that both share what they compile.
prometheus_tags=remove_all_sd

[ $# -gt 0 ] || set -- etcd prometheus promtool kube-apiserver kubectl
for tool in "$@"; do
	case $tool in
	etcd) build etcd go.etcd.io/etcd/server/v3 -ldflags='-s -w' ;;
	prometheus) build prometheus github.com/prometheus/prometheus/cmd/prometheus -ldflags='-s -w' -tags="$prometheus_tags" ;;
	promtool) build promtool github.com/prometheus/prometheus/cmd/promtool -ldflags='-s -w' -tags="$prometheus_tags" ;;
	kube-apiserver) build kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver -ldflags="$kube_ldflags" ;;
	kubectl) build kubectl k8s.io/kubernetes/cmd/kubectl -ldflags="$kube_ldflags" ;;
	*) echo "build.sh: unknown tool $tool" >&2; exit 2 ;;
	esac
done
echo "$bin"
