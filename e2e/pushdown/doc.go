// Package pushdown tests that asking a sidecar with a filter loses nothing. Two envoy-scrapers scrape the same pages:
// one asks with the filters that it makes of metric_relabel_configs (push_down: auto), the other one asks for whole
// pages (push_down: off). Both send to one real Prometheus, and what is stored of them must be equal, series by series.
//
//   - TestSameAsOff: a real Envoy with Istio's labels, traffic, and clusters that come and go.
//   - TestCutInsideAWord: a real Envoy with a label for which a filter misses a series. The program must notice.
//   - TestRefusals: sidecars that refuse a filter, or answer it wrongly. No scrape may be lost.
//   - TestMergedPort: an agent in front of Envoy that hides what Envoy answers. It must never be asked with a filter.
//   - TestIstioLike: pages of Istio's metrics with a label of the mesh's owner.
package pushdown
