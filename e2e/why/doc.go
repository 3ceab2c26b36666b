// Package why asks envoy-scraper about pods of a real kube-apiserver: which are scraped, and why the others are not.
// Each pod is one reason that people meet: a rule, a port, a phase, an address, an answer, a limit, another instance, a
// missing right. The command `why` beside a process, `why` without one, the page /pods, its text and its JSON must all
// say the same.
//
// TestEnvoys has the situations that only a real Envoy makes: one that answers for all pods, one that wants mutual TLS,
// one that listens on localhost only. TestOtherSituations has silent namespaces, selectors, merged pages and UTF-8.
//
// To run it alone:
//
//	cd e2e && go test -count=1 -v ./why
//
// TestManyPods reports how long /pods takes and how large it is with 1,000 pods; WHY_PODS=10000 for more.
package why
