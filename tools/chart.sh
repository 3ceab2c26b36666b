#!/usr/bin/env bash
# Lints the chart with its own values and with each file of its tests/good. What it renders is judged in e2e/chart.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
helm=$(tools/helm/build.sh)
chart=deploy/helm/envoy-scraper

dir=$(mktemp -d "${TMPDIR:-/tmp}/chart.XXXXXX")
trap 'rm -rf "$dir"' EXIT
export HELM_CONFIG_HOME=$dir HELM_CACHE_HOME=$dir HELM_DATA_HOME=$dir

failed=0
for values in "$chart"/tests/good/*.yaml; do
	"$helm" lint --strict --quiet "$chart" -f "$values" || { echo "chart: lint fails with $values"; failed=1; }
done
[ "$failed" = 0 ]
echo "chart: lint passes with $(ls "$chart"/tests/good | wc -l) files of values"
"$helm" package "$chart" --destination "$dir" >/dev/null
packed=$(tar -tzf "$dir"/envoy-scraper-*.tgz)
[[ "$packed" != */tests/* ]] || { echo "chart: the package holds its tests" >&2; exit 1; }
for file in alerts.yaml dashboards/envoy-scraper.json; do
	[[ "$packed" = */files/$file* ]] || { echo "chart: the package has no files/$file" >&2; exit 1; }
done
