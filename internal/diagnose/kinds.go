package diagnose

// Kind is a kind of cause: what a verdict can be about.
type Kind struct {
	Verdict Verdict
	Cause   string // Reason.Cause, with names in capitals for what differs: rule:JOB:NUMBER
	Means   string
}

// Kinds returns all kinds of causes, by verdict, the worst first. docs/troubleshooting.md has the same table.
func Kinds() []Kind {
	return []Kind{
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
		{Scraped, "scraped:slow", "the last scrape took most of its timeout"},
		{Scraped, "scraped:restarted", "the Envoy started again in the last hour"},
		{Scraped, "scraped:unknown-peer", "some requests have a workload named unknown"},
		{Scraped, "scraped:merged", "the page is the merged one of port 15020"},
	}
}
