package diagnose

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// kind is a kind of cause: what a verdict can be about.
type kind struct {
	Verdict Verdict
	Cause   string // Reason.Cause, with names in capitals for what differs: rule:JOB:NUMBER
	Means   string
}

// allKinds returns all kinds of causes, by verdict, the worst first. docs/troubleshooting.md has the same table.
func allKinds() []kind {
	return []kind{
		{Down, "down:refused", "nothing listens on the port"},
		{Down, "down:refused:localhost-only", "METRICS_LOCALHOST_ACCESS_ONLY: 15090 refuses, 15020 answers 403"},
		{Down, "down:timeout", "no answer in time: NetworkPolicy, node, CPU"},
		{Down, "down:timeout:namespace:NAMESPACE", "no pod of the namespace answers and others do: a NetworkPolicy"},
		{Down, "down:slow", "the page does not end in time"},
		{Down, "down:reset", "the connection is reset: mutual TLS (STRICT) on a captured port"},
		{Down, "down:status:CODE", "an answer that is not 200: 403 RBAC, 404 path, 503 application, 504 too slow"},
		{Down, "down:page", "the answer is not a page of metrics, or does not parse"},
		{Down, "down:merged-page", "the merged page of port 15020 does not parse"},
		{Down, "down:utf-8", "a label is not valid UTF-8"},
		{Down, "down:cut-off", "the connection ends before the page does"},
		{Down, "down:tls", "the TLS connection fails"},
		{Down, "down:address", "the address is not valid: IPv6 without brackets"},
		{Down, "down:host", "the host name is not known"},
		{Down, "down:unreachable", "there is no way to the address"},
		{Down, "down:forbidden-address", "an address that a pod may not choose"},
		{Down, "down:api-server", "the API server answers instead of the pod, or not at all (`--via`)"},
		{Down, "down:via-limit", "more targets, or more bytes per second, than are read through the API server"},
		{Down, "down:open-files", "envoy-scraper has too many open files"},
		{Down, "down:panic", "a bug of envoy-scraper"},
		{Down, "down:network", "another failure of the connection"},
		{Cut, "cut:LIMIT", "the page exceeds sample_limit, body_size_limit, label_limit, growth_limit, …"},
		{NotATarget, "rule:JOB:NUMBER", "a rule leaves it out; the hint is the nearest miss"},
		{NotATarget, "invalid:JOB", "the rules make an invalid target of it"},
		{NotSeen, "not-seen:namespace", "no job looks in its namespace"},
		{NotSeen, "not-seen:selector", "the selectors of the jobs do not match it"},
		{NotSeen, "not-seen:rights", "the API server refuses the list of its namespace"},
		{NotSeen, "not-seen:no-service", "the jobs that look in its namespace find only pods that a Service selects"},
		{NotSeen, "not-seen:no-job", "no job discovers pods in Kubernetes"},
		{NoSidecar, "sidecar:missing", "it asks for a sidecar and has none"},
		{NoSidecar, "sidecar:none", "it has no Envoy and asks for none"},
		{NotReady, "not-ready:no-address", "it has no address yet"},
		{NotReady, "not-ready:first-scrape", "its first scrape is still to come"},
		{NotReady, "not-ready:no-target-yet", "discovery has just seen it, or rules have just changed"},
		{Duplicate, "duplicate:JOB", "the target of another pod has the same URL and labels"},
		{Elsewhere, "elsewhere:shard", "another shard scrapes it"},
		{Elsewhere, "elsewhere:node", "the instance of its node scrapes it"},
		{Finished, "finished", "its containers have ended for good"},
		{Finished, "finished:still-a-target", "they have, but a job still scrapes its address, which another pod " +
			"may have"},
		{Scraped, "scraped", "all is well"},
		{Scraped, "scraped:own-page", "all targets show one page: envoy-scraper has a sidecar of its own"},
		{Scraped, "scraped:twice", "two jobs or two ports scrape the same metrics"},
		{Scraped, "scraped:no-requests", "istio_requests_total is not on the page"},
		{Scraped, "scraped:collisions", "samples are lost, since rules remove the label that tells series apart"},
		{Scraped, "scraped:repeated", "the page shows some series twice; the first of each counts"},
		{Scraped, "scraped:slowed", "it is slow to answer, and so is asked less often"},
		{Scraped, "scraped:slow", "the last scrape took most of its timeout"},
		{Scraped, "scraped:restarted", "the Envoy started again in the last hour"},
		{Scraped, "scraped:unknown-peer", "some requests have a workload named unknown"},
		{Scraped, "scraped:merged", "the page is the merged one of port 15020"},
	}
}

// TestTroubleshootingListsAllKinds compares the table of docs/troubleshooting.md with allKinds.
func TestTroubleshootingListsAllKinds(t *testing.T) {
	text, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	const head = "| verdict | cause | means |\n|---|---|---|\n"
	_, table, ok := strings.Cut(string(text), head)
	table, _, _ = strings.Cut(table, "\n\n")
	var want strings.Builder
	for _, k := range allKinds() {
		fmt.Fprintf(&want, "| %s | `%s` | %s |\n", k.Verdict, k.Cause, k.Means)
	}
	if got := table + "\n"; !ok || got != want.String() {
		t.Errorf("docs/troubleshooting.md has\n%s\nwant\n%s%s", got, head, want.String())
	}
}

func TestKindOf(t *testing.T) {
	for _, k := range allKinds() {
		if got, ok := kindOf(k.Verdict, k.Cause); !ok || got != k {
			t.Errorf("kind of %s = %+v", k.Cause, got)
		}
		if rank(k.Verdict) < 0 {
			t.Errorf("%s is not among Verdicts", k.Verdict)
		}
	}
	for cause, want := range map[string]string{
		"down:status:503": "down:status:CODE", "down:timeout:namespace:pay": "down:timeout:namespace:NAMESPACE",
		"down:refused": "down:refused", "cut:sample_limit": "", "down:strange": "",
	} {
		if got, _ := kindOf(Down, cause); got.Cause != want {
			t.Errorf("kind of %s = %q, want %q", cause, got.Cause, want)
		}
	}
	if k, ok := kindOf(NotATarget, "rule:a:b:7"); !ok || k.Cause != "rule:JOB:NUMBER" {
		t.Errorf("a job with a colon: %+v", k)
	}
	if k, ok := kindOf(Duplicate, "duplicate:a:b"); !ok || k.Cause != "duplicate:JOB" {
		t.Errorf("a job with a colon: %+v", k)
	}
}

// kindOf returns the kind of a row; false: there is none, which is a bug.
func kindOf(v Verdict, cause string) (kind, bool) {
	for _, k := range allKinds() {
		if k.Verdict == v && k.matches(cause) {
			return k, true
		}
	}
	return kind{}, false
}

// matches compares part by part. A part in capitals stands for any text; the name of a job may hold colons.
func (k kind) matches(cause string) bool {
	wants := strings.Split(k.Cause, ":")
	parts := strings.Split(cause, ":")
	if strings.HasPrefix(k.Cause, causeRule+":") && len(parts) > len(wants) {
		return parts[0] == causeRule
	}
	if len(parts) != len(wants) {
		return strings.HasSuffix(k.Cause, ":JOB") && parts[0] == wants[0]
	}
	for i, want := range wants {
		if want != strings.ToUpper(want) && want != parts[i] {
			return false
		}
	}
	return true
}
