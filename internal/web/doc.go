// Package web serves the pages of a running envoy-scraper (overview.go, pods.go, targets.go, discovery.go), Prometheus'
// API as JSON (api.go, remotewrite.go), its own metrics, health, readiness and reload (lifecycle.go). routes.go lists
// all paths.
//
// A page is whole without a script: search, facets, order and pages of a list are links and forms, whose state is in
// the address (listing.go). list.go describes a list once, and templates/list.html draws it. static/app.js adds keys
// and a refresh that waits while somebody reads.
//
// Except for /-/reload, and for the page of a pod, which asks the pod and the API server (podevidence.go), the package
// only reads. Each request calls the functions in Sources, fills a struct, and
// renders it with a template (render.go, templates) or as JSON. Nothing is kept between requests. Three rules hold for
// every response:
//   - Labels, errors and URLs come from targets and may be hostile. Only html/template makes HTML, the pages allow
//     no script but their own file, and long values are cut.
//   - No credential is shown. User names, passwords and query values in URLs are masked everywhere (mask.go),
//     before a search looks at them.
//   - The size is bounded. A page shows at most largePage rows, and the API writes one target at a time.
package web
