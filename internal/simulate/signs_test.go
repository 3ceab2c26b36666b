package simulate

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// sign is how an operator notices a fault: by a line in the log, by a metric, or both.
type sign struct {
	line   string // a message that is logged
	metric string // the beginning of a metric that is higher than without the fault
	silent string // why there is neither
}

// Lines and metrics of several kinds.
const (
	unavailable = "remote write endpoint unavailable; retrying until it accepts the samples"
	unreachable = "remote write endpoint unreachable; retrying until it accepts the samples"
	targetDown  = "target down"
	noTargets   = "Unable to refresh target groups"
	retries     = "envoy_scraper_remotewrite_retries_total"
	answerTime  = "envoy_scraper_remotewrite_send_duration_seconds"
	scrapeTime  = "envoy_scraper_scrape_duration_seconds"
	refused     = `envoy_scraper_remotewrite_samples_dropped_total{endpoint="b", reason="refused"}`
	failures    = `envoy_scraper_scrape_failures_total{job="envoy", reason=`
	noRefresh   = "prometheus_sd_refresh_failures_total"
	diskFailing = "envoy_scraper_queue_disk_failing"
)

// signsOf has the signs of each kind of fault.
var signsOf = map[string]sign{
	"receiver: 503":                           {line: unavailable, metric: retries},
	"receiver: 503 with Retry-After":          {line: unavailable, metric: retries},
	"receiver: 429":                           {line: unavailable, metric: retries},
	"receiver: 429 with Retry-After":          {line: unavailable, metric: retries},
	"receiver: 400 for some series":           {line: "remote write endpoint refuses samples", metric: refused},
	"receiver: 400 for some series, only 1.0": {line: "remote write endpoint rejects series", metric: refused},
	"receiver: lost answers":                  {line: unreachable, metric: retries},
	"receiver: cut before the body":           {line: unreachable, metric: retries},
	"receiver: silent":                        {line: unreachable, metric: retries},
	"receiver: slow":                          {metric: answerTime},
	"receiver: only 1.0": {line: "remote write protocol changed",
		metric: `envoy_scraper_remotewrite_requests_total{endpoint="b", outcome="other_protocol"}`},
	"receiver: 401": {line: "remote write endpoint refuses the credentials; retrying until it accepts the samples",
		metric: `envoy_scraper_remotewrite_requests_total{endpoint="b", outcome="slow_retry"}`},
	"receiver: 413": {
		line:   "remote write endpoint refuses requests as too large; later ones are divided before they are sent",
		metric: `envoy_scraper_remotewrite_requests_total{endpoint="b", outcome="split"}`},

	"network: refused at a receiver":    {silent: "connections that are open stay, so every request arrives"},
	"network: black hole at a receiver": {line: unreachable, metric: retries},
	"network: reset at a receiver":      {line: unreachable, metric: retries},
	"network: slow at a receiver":       {metric: answerTime},
	"network: delay at a receiver":      {metric: answerTime},
	"network: refused at a pod":         {line: targetDown, metric: failures + `"refused"`},
	"network: black hole at a pod":      {line: targetDown, metric: failures + `"timeout"`},
	"network: reset at a pod":           {line: targetDown, metric: failures + `"network"`},
	"network: slow at a pod":            {line: targetDown, metric: failures + `"timeout"`},
	"network: delay at a pod":           {metric: scrapeTime},

	"page: 503":            {line: targetDown, metric: failures + `"status"`},
	"page: ends halfway":   {line: targetDown, metric: failures + `"page"`},
	"page: no answer":      {line: targetDown, metric: failures + `"timeout"`},
	"page: late":           {metric: scrapeTime},
	"page: another format": {line: targetDown, metric: failures + `"page"`},
	"page: bad line":       {line: targetDown, metric: failures + `"page"`},
	"page: redirect":       {line: targetDown, metric: failures + `"network"`}, // it leads to where nothing is
	"page: duplicate":      {metric: `envoy_scraper_scrape_dropped_samples_total{job="envoy", reason="duplicate"}`},
	"page: grows":          {metric: "envoy_scraper_scrape_job_series"},
	"page: empty":          {silent: "a page without series is good, as in Prometheus; its series get markers"},
	"page: shrinks":        {silent: "series may end; they get markers"},
	"page: churns":         {silent: "series may end and begin; those that end get markers"},

	"sidecar restarts":             {silent: "the next scrape connects again"},
	"connections of a pod are cut": {silent: "the next scrape connects again"},
	"a pod goes":                   {silent: "pods may end; envoy_scraper_scrape_targets falls"},
	"a pod comes":                  {metric: "envoy_scraper_scrape_targets"},
	"a pod is replaced at once":    {silent: "pods may be replaced; the number of targets is as before"},

	"discovery: fails":          {line: noTargets, metric: noRefresh},
	"discovery: half an answer": {line: noTargets, metric: noRefresh},
	"discovery: no answer":      {line: noTargets, metric: noRefresh},

	"disk: full":          {line: "write segment fails", metric: diskFailing},
	"disk: fails":         {line: "sync segment fails", metric: diskFailing},
	"disk: torn writes":   {line: "write segment fails", metric: diskFailing},
	"disk: does not sync": {line: "sync segment fails", metric: diskFailing},

	"agent: kill -9":   {line: "started"},
	"agent: power cut": {line: "started"},
	"agent: SIGTERM":   {line: "stopped"},
	"agent: reload":    {line: "configuration reloaded"},
}

// TestEveryFaultIsTold: a fault that happens alone, for six minutes, leaves its line in the log and moves its metric.
// What signsOf calls silent has neither a line nor a failure.
func TestEveryFaultIsTold(t *testing.T) {
	alone := func(t *testing.T, faults ...scheduledFault) signs {
		o := hour(1)
		o.Pods, o.Duration, o.Schedule = 3, 3*time.Minute, append([]scheduledFault{}, faults...)
		res := simulate(t, o)
		for _, p := range res.Problems {
			t.Error(p)
		}
		return res.Signs
	}
	quiet := alone(t)
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			want, known := signsOf[k.name]
			if !known || want == (sign{}) {
				t.Fatal("no sign and no reason why there is none")
			}
			f := scheduledFault{At: warmUp + time.Second, Kind: k.name, Draw: 1}
			if k.lasts {
				f.For = longestFault
			}
			got := alone(t, f).since(quiet)
			lines, metrics := slices.Sorted(maps.Keys(got.logged)), slices.Sorted(maps.Keys(got.metrics))
			if want.line != "" && !slices.Contains(lines, want.line) {
				t.Errorf("no line %q, but %q", want.line, lines)
			}
			if want.silent != "" && len(lines) > 0 {
				t.Errorf("lines %q, want none: %s", lines, want.silent)
			}
			told := func(m string) bool { return strings.HasPrefix(m, want.metric) }
			if want.metric != "" && !slices.ContainsFunc(metrics, told) {
				t.Errorf("%s is not higher, but %q", want.metric, metrics)
			}
			failed := func(m string) bool { return strings.HasPrefix(m, failures) }
			if want.silent != "" && slices.ContainsFunc(metrics, failed) {
				t.Errorf("failed scrapes, want none: %s", want.silent)
			}
		})
	}
}
