#!/usr/bin/env bash
# Checks that deploy/manifests is the output of the chart, and checks its configuration as a pod of the DaemonSet does.
# e2e applies the manifests to a real API server.
#
#   manifests.sh PROGRAM      the envoy-scraper to check with
#   manifests.sh --write      renders deploy/manifests again
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
helm=$(tools/helm/build.sh)

dir=$(mktemp -d "${TMPDIR:-/tmp}/manifests.XXXXXX")
trap 'rm -rf "$dir"' EXIT
# Do not read the user's Helm configuration.
export HELM_CONFIG_HOME=$dir/helm HELM_CACHE_HOME=$dir/helm HELM_DATA_HOME=$dir/helm
files=(namespace rbac configmap daemonset)

"$helm" template envoy-scraper deploy/helm/envoy-scraper --namespace envoy-scraper \
	-f deploy/manifests/values.yaml --output-dir "$dir/out" >/dev/null
rendered=$dir/out/envoy-scraper/templates
for file in "$rendered"/*; do
	name=$(basename "$file" .yaml)
	[[ " ${files[*]} " = *" $name "* ]] || { echo "manifests: the chart renders $name.yaml too, which is not in deploy/manifests" >&2; exit 1; }
done
mkdir "$dir/manifests"
for name in "${files[@]}"; do
	# The manifests are applied without Helm, so they have no labels of a release.
	{
		echo "# Rendered from deploy/helm/envoy-scraper with deploy/manifests/values.yaml."
		sed -e '/^# Source: /d' -e '/^ *helm.sh\/chart: /d' -e '/^ *app.kubernetes.io\/managed-by: /d' "$rendered/$name.yaml" |
			sed -e '1{/^---$/d}'
	} >"$dir/manifests/$name.yaml"
done

if [ "${1:-}" = --write ]; then
	cp "$dir"/manifests/* deploy/manifests/
	exit
fi
stale=0
for name in "${files[@]}"; do
	diff -u "deploy/manifests/$name.yaml" "$dir/manifests/$name.yaml" || stale=1
done
[ "$stale" = 0 ] || { echo "deploy/manifests differs from the output of the chart; run tools/manifests.sh --write" >&2; exit 1; }

program=$(realpath "$1")
# The lines of the block scalar: those that are indented deeper than its key.
awk '/^  envoy-scraper\.yml: \|/ { inside = 1; next }
	inside && /^ ? ? ?[^ ]/ { inside = 0 }
	inside { print substr($0, 5) }' deploy/manifests/configmap.yaml >"$dir/envoy-scraper.yml"
grep -q '^scrape_configs:' "$dir/envoy-scraper.yml" || { echo "deploy/manifests/configmap.yaml: has no configuration" >&2; exit 1; }
cd "$dir"
NODE_NAME=node-1 "$program" check --lint-fatal envoy-scraper.yml
