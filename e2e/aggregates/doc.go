// Package aggregates tests that dashboards show the same whether a mesh's series are stored for each pod, or summed
// over the pods of a workload by envoy-scraper (envoy_scraper.aggregate). A simulated mesh with three pods of each
// workload is scraped at once by several agents. Each agent has a real Prometheus of its own:
//
//   - truth: one page has the totals of the mesh, those of ended processes included. Its counters never begin again.
//   - raw: the series of each pod.
//   - sums: the same pages, summed.
//   - lean: summed also over the labels that no dashboard reads.
//
// The tests:
//
//   - TestDashboards: every query of the mesh's own dashboards, as rate, irate and increase. At a steady load sums and
//     raw are equal within 1 %. While each pod is restarted or replaced, sums never show more than the truth of a
//     window that is one interval longer, and no hole.
//   - TestFaults: the same with a tenth of the scrapes failing, beside Istio's recording rules and the stream
//     aggregation of vmagent. It prints the table of docs/performance.md.
//
// Time is scaled: the interval is 1 s, and a window of 4, 20 or 40 s stands for 1, 5 or 10 minutes of a job that
// scrapes every 15 s. The number of samples in a window is what decides, and it is the same. The load of the mesh is
// the same in each tenth of a second, so each rate is a constant that does not depend on when a page was read.
package aggregates
