#!/usr/bin/env bash
# Checks that deploy/manifests is what the chart renders, and its configuration as a pod of the DaemonSet would read it.
# That the manifests are valid objects is for a real API server to say, in e2e.
#
#   manifests.sh PROGRAM      the envoy-scraper to check with
#   manifests.sh --write      renders deploy/manifests anew
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
helm=$(tools/helm/build.sh)

dir=$(mktemp -d "${TMPDIR:-/tmp}/manifests.XXXXXX")
trap 'rm -rf "$dir"' EXIT
# Nothing of the user's own Helm is read.
export HELM_CONFIG_HOME=$dir/helm HELM_CACHE_HOME=$dir/helm HELM_DATA_HOME=$dir/helm
files=(namespace rbac configmap daemonset)

"$helm" template envoy-scraper deploy/helm/envoy-scraper --namespace envoy-scraper \
	-f deploy/manifests/values.yaml --output-dir "$dir/out" >/dev/null
rendered=$dir/out/envoy-scraper/templates
for file in "$rendered"/*; do
	name=$(basename "$file" .yaml)
	[[ " ${files[*]} " = *" $name "* ]] || { echo "manifests: the chart renders $name.yaml too, which deploy/manifests has not" >&2; exit 1; }
done
mkdir "$dir/manifests"
for name in "${files[@]}"; do
	# Whoever applies these has no Helm, and no release of it.
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
[ "$stale" = 0 ] || { echo "deploy/manifests is not what the chart renders: run tools/manifests.sh --write" >&2; exit 1; }

program=$(realpath "$1")
# The block scalar under its key: the lines that are indented deeper than the key.
awk '/^  envoy-scraper\.yml: \|/ { inside = 1; next }
	inside && /^ ? ? ?[^ ]/ { inside = 0 }
	inside { print substr($0, 5) }' deploy/manifests/configmap.yaml >"$dir/envoy-scraper.yml"
grep -q '^scrape_configs:' "$dir/envoy-scraper.yml" || { echo "deploy/manifests/configmap.yaml: found no configuration in it" >&2; exit 1; }
cd "$dir"
NODE_NAME=node-1 "$program" check --lint-fatal envoy-scraper.yml
