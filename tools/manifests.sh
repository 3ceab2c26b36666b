#!/usr/bin/env bash
# Checks that deploy/manifests equals what the Helm chart renders, and that envoy-scraper accepts their configuration
# without a warning. TestStory in e2e applies the manifests to a real API server.
#
#   manifests.sh PROGRAM      the envoy-scraper to check with
#   manifests.sh --write      replaces deploy/manifests by what the chart renders
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
helm=$(tools/helm/build.sh)

dir=$(mktemp -d "${TMPDIR:-/tmp}/manifests.XXXXXX")
trap 'rm -rf "$dir"' EXIT
# Keep Helm from reading the user's own settings.
export HELM_CONFIG_HOME=$dir/helm HELM_CACHE_HOME=$dir/helm HELM_DATA_HOME=$dir/helm
files=(namespace rbac configmap daemonset)

"$helm" template envoy-scraper deploy/helm/envoy-scraper --namespace envoy-scraper \
	-f deploy/manifests/values.yaml --output-dir "$dir/out" >/dev/null
rendered=$dir/out/envoy-scraper/templates
for file in "$rendered"/*; do
	name=$(basename "$file" .yaml)
	[[ " ${files[*]} " = *" $name "* ]] || {
		echo "manifests: the chart renders $name.yaml, which deploy/manifests does not have" >&2
		exit 1
	}
done
mkdir "$dir/manifests"
for name in "${files[@]}"; do
	# Users apply these files without Helm, so the labels and comments of Helm are removed.
	{
		echo "# Rendered from deploy/helm/envoy-scraper with deploy/manifests/values.yaml."
		sed -e '/^# Source: /d' -e '/^ *helm.sh\/chart: /d' -e '/^ *app.kubernetes.io\/managed-by: /d' \
			"$rendered/$name.yaml" |
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
[ "$stale" = 0 ] || {
	echo "manifests: deploy/manifests differs from what the chart renders: run tools/manifests.sh --write" >&2
	exit 1
}

program=$(realpath "$1")
# The configuration is the block scalar under its key: the following lines with a deeper indent.
awk '/^  envoy-scraper\.yml: \|/ { inside = 1; next }
	inside && /^ ? ? ?[^ ]/ { inside = 0 }
	inside { print substr($0, 5) }' deploy/manifests/configmap.yaml >"$dir/envoy-scraper.yml"
grep -q '^scrape_configs:' "$dir/envoy-scraper.yml" || {
	echo "manifests: deploy/manifests/configmap.yaml has no configuration" >&2
	exit 1
}
cd "$dir"
NODE_NAME=node-1 "$program" check --lint-fatal envoy-scraper.yml
