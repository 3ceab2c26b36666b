#!/usr/bin/env bash
# Lints the chart with each file of values in its tests/good. Checks that Helm refuses each file in tests/bad and renders
# each file in tests/refused, which the program then refuses. e2e/chart checks the rendered objects and the messages.
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
for values in "$chart"/tests/bad/*.yaml; do
	! "$helm" template x "$chart" -n x -f "$values" >/dev/null 2>&1 || { echo "chart: $values is not refused"; failed=1; }
done
for values in "$chart"/tests/refused/*.yaml; do
	"$helm" template x "$chart" -n x -f "$values" >/dev/null || { echo "chart: $values is not rendered"; failed=1; }
done
[ "$failed" = 0 ]
count() { find "$chart/tests/$1" -name '*.yaml' | wc -l; }
echo "chart: lint passes with $(count good) files of values, Helm refuses $(count bad) and renders $(count refused) for the program to refuse"
"$helm" package "$chart" --destination "$dir" >/dev/null
packed=$(tar -tzf "$dir"/envoy-scraper-*.tgz)
[[ "$packed" != */tests/* ]] || { echo "chart: the package holds its tests" >&2; exit 1; }
for file in alerts.yaml dashboards/envoy-scraper.json; do
	[[ "$packed" = */files/$file* ]] || { echo "chart: the package has no files/$file" >&2; exit 1; }
done
