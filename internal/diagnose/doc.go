// Package diagnose says of each pod that has an Envoy, or should have one, whether it is scraped, and if not, why. It
// only reads: the pods that discovery has seen, the targets that rules made of them, and the state of those targets.
//
// The way to a report (input.go):
//
//   - gather finds the targets of each pod, whatever became of them (gather.go).
//   - judge finds the verdict on a pod and its reason (judge.go): which rule left it out (rule.go) and how nearly
//     (miss.go), or why the last scrape failed (failure.go), or what is odd about a good one (scraped.go), or which
//     other instance scrapes it (elsewhere.go).
//   - compare looks at all pods together: one page from all targets, one namespace that never answers (compare.go).
//   - causes counts the causes and makes the funnel of each job (causes.go).
//
// docs/troubleshooting.md lists all verdicts and kinds of causes.
package diagnose
