// Package web is what people and tools see of a running envoy-scraper: pages that need no script, Prometheus' API as
// JSON, the own metrics, health, readiness and reload.
//
// It only reads. Everything it shows comes through the small functions in Sources, called anew for each request; it
// keeps nothing of them. Three rules hold for every answer:
//   - labels, errors and URLs come from targets and are hostile until proven otherwise: HTML is made by html/template
//     only, the pages allow no script, and long values are cut;
//   - no credential is shown: userinfo and query values of URLs are masked wherever they turn up (mask.go);
//   - what is made is bounded: pages show at most pageSize rows, the API writes one target at a time.
package web
