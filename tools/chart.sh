#!/usr/bin/env bash
# Lints the Helm chart with each values file in its tests/good, and checks which files its package contains. The tests
# of e2e/chart check what the chart renders.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
helm=$(tools/helm/build.sh)
chart=deploy/helm/envoy-scraper

dir=$(mktemp -d "${TMPDIR:-/tmp}/chart.XXXXXX")
trap 'rm -rf "$dir"' EXIT
export HELM_CONFIG_HOME=$dir HELM_CACHE_HOME=$dir HELM_DATA_HOME=$dir

failed=0
for values in "$chart"/tests/good/*.yaml; do
	"$helm" lint --strict --quiet "$chart" -f "$values" || { echo "chart: helm lint fails with $values"; failed=1; }
done
[ "$failed" = 0 ]
echo "chart: helm lint passes with $(ls "$chart"/tests/good | wc -l) values files"
"$helm" package "$chart" --destination "$dir" >/dev/null
packed=$(tar -tzf "$dir"/envoy-scraper-*.tgz)
[[ "$packed" != */tests/* ]] || { echo "chart: the package must not contain the chart's tests" >&2; exit 1; }
for file in alerts.yaml dashboards/envoy-scraper.json; do
	[[ "$packed" = */files/$file* ]] || { echo "chart: the package has no files/$file" >&2; exit 1; }
done
