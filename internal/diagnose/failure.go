package diagnose

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/envoy-scraper/envoy-scraper/internal/envoy"
	"github.com/envoy-scraper/envoy-scraper/internal/scrape"
)

// down is about a target whose last scrape failed, apart from limits.
func (b *builder) down(p *pod, t *scrape.TargetStatus) finding {
	e := b.explain(p, t)
	f := finding{verdict: Down, words: upperFirst(e.words) + ".", target: t}
	address, _, _ := cutURL(t.URL)
	f.reason = Reason{
		Sentence: fmt.Sprintf("Job %s fails to scrape %s: %s.", t.Job, address, e.words),
		Hint:     e.hint, Cause: causeDown + ":" + e.cause, Job: t.Job,
	}
	if e.detail != "" {
		f.reason.Sentence = fmt.Sprintf("Job %s fails to scrape %s: %s (%s).", t.Job, address, e.words, e.detail)
	}
	if other := upTarget(p); other != nil {
		f.reason.Hint = strings.TrimSpace(fmt.Sprintf("Job %s does scrape it, at %s. %s", other.Job, other.URL, e.hint))
	}
	return f
}

// upTarget returns a target of the pod's Envoy whose last scrape was good.
func upTarget(p *pod) *scrape.TargetStatus {
	for _, t := range p.envoys {
		if t.Health == scrape.HealthUp {
			return t
		}
	}
	return nil
}

// explanation is an error of a scrape in words.
type explanation struct {
	cause  string // refused, timeout, status:403 …
	words  string // a clause, the same for all pods with this cause and port
	detail string // the error itself, where the words do not say all of it
	hint   string // what to do
}

// statusCode finds the code in the error of an answer that is not 200.
var statusCode = regexp.MustCompile(`^server returned HTTP status (\d{3})(?: (.*))?$`)

// explain puts the error of a scrape into words.
func (b *builder) explain(p *pod, t *scrape.TargetStatus) explanation {
	_, port, _ := cutURL(t.URL)
	if port == "" {
		port = "80"
	}
	err := t.Err
	has := func(texts ...string) bool {
		for _, text := range texts {
			if strings.Contains(err, text) {
				return true
			}
		}
		return false
	}
	switch {
	case t.Failure == "refused":
		return explainRefused(p, port)
	case t.Failure == "timeout" && t.PageBytes > 0:
		return explanation{"slow", fmt.Sprintf("the page does not end within %s", span(t.Timeout)),
			counted(int(t.PageBytes), "byte") + " read", slowHint}
	case t.Failure == "timeout":
		return explanation{"timeout", fmt.Sprintf("there is no answer from port %s within %s", port, span(t.Timeout)),
			"",
			fmt.Sprintf("A NetworkPolicy keeps port %s closed, or the node does not answer, or the pod has no CPU.",
				port)}
	case t.Failure == "status":
		return explainStatus(err, port)
	case t.Failure == "forbidden_address":
		return explanation{"forbidden-address", "envoy-scraper does not connect to this address", err,
			"A pod may not choose loopback or another pod's address: see SECURITY.md."}
	case t.Failure == "api_server":
		return explanation{"api-server", "the API server answers instead of the pod", withoutURL(t), ""}
	case t.Failure == "via_limit", t.Failure == "via_rate":
		return explanation{"via-limit", "it exceeds the limits of reading through the API server", withoutURL(t), ""}
	case t.Failure == "emfile":
		return explanation{"open-files", "envoy-scraper has too many open files", "",
			"Raise the limit of open files (ulimit -n)."}
	case t.Failure == "panic":
		return explanation{"panic", "reading the page ended in a bug of envoy-scraper", err,
			"Please report it, with the page and the log."}
	case has("connection reset"):
		return explanation{"reset", fmt.Sprintf("port %s ends the connection (reset)", port), "", resetHint(port)}
	case has("too many colons in address", "missing port in address", "invalid port", "in host name", "invalid host"):
		return explanation{"address", "its address is not valid", err, addressHint}
	case has("no such host", "server misbehaving"):
		return explanation{"host", "its host name is not known", err, "A rule makes this name: check __address__."}
	case has("x509: ", "tls: ", "remote error: tls", "first record does not look like a TLS handshake"):
		return explanation{"tls", "the TLS connection fails", err,
			"Check scheme and tls_config of the job. Ports 15090 and 15020 of Istio are plain HTTP."}
	case has("no route to host", "network is unreachable", "host is down"):
		return explanation{"unreachable", "there is no way to its address", err,
			"The pod may have gone, or the network of the pods cannot be reached from here."}
	case t.Failure == "page":
		return explainPage(t, port)
	default:
		return explanation{"network", "the connection fails", err, ""}
	}
}

// withoutURL returns the error of a scrape without the URL, which net/http puts before it.
func withoutURL(t *scrape.TargetStatus) string {
	return strings.TrimPrefix(t.Err, fmt.Sprintf("Get %q: ", t.URL))
}

const (
	localhostOnly = "If METRICS_LOCALHOST_ACCESS_ONLY is in the pod's proxyMetadata, only the pod itself may read " +
		"its metrics: remove it."
	fewerMetrics = "Have the Envoy show fewer metrics (proxyStatsMatcher, Telemetry), or give it more CPU."
	slowHint     = "Raise scrape_timeout, or have the Envoy show fewer metrics (proxyStatsMatcher, Telemetry): its " +
		"main thread writes the page."
	addressHint = "IPv6 addresses need brackets: a rule with ([^:]+) or $1:$2 breaks them. " +
		`Use (\[.+\]|[^:]+)(?::\d+)?;(\d+) as the built-in job does.`
)

func explainRefused(p *pod, port string) explanation {
	e := explanation{cause: "refused", words: fmt.Sprintf("nothing listens on port %s (connection refused)", port)}
	istios := port == envoy.StatsPort || port == envoy.MergedPort
	merged := otherTarget(p, envoy.MergedPort)
	switch {
	case port == envoy.StatsPort && merged != nil && strings.Contains(merged.Err, "status 403"):
		e.cause = "refused:localhost-only"
		e.hint = "Its port 15020 answers 403. " + localhostOnly
	case !istios && p.record.Declares(15090):
		e.hint = fmt.Sprintf("The container declares 15090, and a rule of the job makes %s of it.", port)
	case !istios:
		e.hint = "Envoy's metrics are on port 15090 in Istio's pods."
	case p.record.Ready:
		e.hint = "The pod is ready, so its Envoy runs. " + localhostOnly
	default:
		e.hint = fmt.Sprintf("The pod is not ready: its Envoy has not started yet, or it has ended. kubectl logs "+
			"-n %s %s -c istio-proxy.", p.record.Namespace, p.record.Name)
	}
	return e
}

// otherTarget returns a target of the pod with this port.
func otherTarget(p *pod, port string) *scrape.TargetStatus {
	for _, t := range p.targets {
		if _, its, _ := cutURL(t.URL); its == port {
			return t
		}
	}
	return nil
}

func resetHint(port string) string {
	if port == envoy.StatsPort || port == envoy.MergedPort {
		return "The Envoy restarts, or something between here and the pod ends connections. Istio does not capture " +
			"this port unless the pod's annotations say so."
	}
	return fmt.Sprintf("The sidecar captures port %s and wants mutual TLS there (PeerAuthentication STRICT). "+
		"Scrape 15090, which is plain HTTP and not captured.", port)
}

func explainStatus(err, port string) explanation {
	code, text := "", err
	if m := statusCode.FindStringSubmatch(err); m != nil {
		code, text = m[1], strings.TrimSpace(m[1]+" "+m[2])
	}
	e := explanation{cause: "status:" + code, words: fmt.Sprintf("port %s answers %s", port, text)}
	switch {
	case code == "403" && port == envoy.MergedPort:
		e.hint = localhostOnly
	case code == "403":
		e.hint = "An AuthorizationPolicy forbids it (RBAC). Scrape 15090, to which no policy applies."
	case code == "401":
		e.hint = "It wants credentials: basic_auth, authorization or oauth2 of the job."
	case code == "404":
		e.hint = "There is no such page. Envoy's is " + envoy.StatsPath + "."
	case code == "503" && port == envoy.MergedPort:
		e.hint = "pilot-agent answers, but could not read Envoy's page: the Envoy has not started, or it is too busy."
	case code == "503":
		e.hint = "The sidecar answers, and the application behind it does not, or mutual TLS is expected there. " +
			"Envoy's own page is on 15090."
	case code == "504":
		e.hint = "The route to the page ends after a timeout of its own (15 s in Envoy): the page takes longer. " +
			slowHint
	case strings.HasPrefix(code, "3"):
		e.hint = "It redirects, and the job does not follow: check scheme and path."
	}
	return e
}

func explainPage(t *scrape.TargetStatus, port string) explanation {
	err := t.Err
	e := explanation{"page", "its page is not in a format of Prometheus, so the whole scrape fails", err,
		fmt.Sprintf("Look at it: envoy-scraper scrape %s. Envoy's is %s.", t.URL, envoy.StatsPath)}
	switch {
	case strings.HasSuffix(err, "EOF"):
		return explanation{"cut-off", "the connection ends before the page does", err, "The Envoy restarts, or a " +
			"proxy between here and the pod limits the size or the time of an answer."}
	case strings.Contains(err, "UTF-8"):
		return explanation{"utf-8", "a label on its page is not valid UTF-8, so the whole scrape fails", err,
			"A request's data has become a label, such as a host or a header. Remove that dimension in Istio's " +
				"Telemetry (tagOverrides)."}
	case strings.Contains(err, "Content-Type"):
		e.words = "its answer is not a page of metrics"
		e.hint = "Check the path and the port: Envoy's are " + envoy.StatsPath + " and 15090 in Istio's pods."
	case port == envoy.MergedPort:
		e.cause = "merged-page"
		e.hint = "Port 15020 merges the pages of the agent, of Envoy and of the application, and one of them " +
			"breaks it, mostly the application's. Scrape 15090 for Envoy alone, or switch merging off " +
			"(prometheus.istio.io/merge-metrics: \"false\")."
	}
	return e
}

// span writes a duration as configurations do: 1m instead of 1m0s.
func span(d time.Duration) string { return model.Duration(d).String() }

// counted writes a number of things: 1 sample, 2 samples.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// cut is about a target whose last scrape exceeded a limit.
func (b *builder) cut(t *scrape.TargetStatus) finding {
	var limit any
	if job := b.jobs[t.Job]; job != nil {
		limit = map[string]any{
			"sample_limit": job.SampleLimit, "body_size_limit": job.BodySizeLimit, "target_limit": job.TargetLimit,
			"label_limit": job.LabelLimit, "bucket_limit": job.NativeHistogramBucketLimit,
		}[t.Failure]
	}
	name := t.Failure
	what := fmt.Sprintf("Its page exceeds %s of job %s, so none of its samples are taken", name, t.Job)
	hint := fmt.Sprintf("Raise %s of the job, or have the Envoy show less (proxyStatsMatcher, Telemetry).", name)
	detail := ""
	switch name {
	case "memory":
		what = "There was no memory to read its page in time, so none of its samples are taken"
		hint = "Raise --scrape.max-memory and the memory limit of the pod."
	case "target_limit":
		what = fmt.Sprintf("Job %s has more targets than its target_limit, so all its scrapes fail", t.Job)
		hint = "Raise target_limit, or let rules choose fewer targets."
	case "growth_limit":
		hint = "A page whose new series need that much is broken or hostile: look at it. Otherwise raise " +
			"body_size_limit, from which the limit follows."
	case "label_limit":
		detail = t.Err // it names the limit, the metric and the label
	case "sample_limit":
		detail = fmt.Sprintf("%s read, the limit is %v", counted(t.Samples, "sample"), limit)
	case "body_size_limit":
		detail = fmt.Sprintf("the limit is %v", limit)
	}
	f := same(Cut, causeCut+":"+name, what+".", hint)
	if detail != "" {
		f.reason.Sentence = what + " (" + detail + ")."
	}
	return f
}
