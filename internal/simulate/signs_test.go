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
	diskErrors  = "envoy_scraper_queue_write_errors_total"
	noAPIServer = "Kubernetes API server unreachable: known targets stay, changes are missed"
	podEvents   = "prometheus_sd_kubernetes_events_total"
	watches     = "envoy_scraper_discovery_watches_total"
	reloaded    = "configuration reloaded"
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
	"disk: torn writes":   {metric: diskErrors}, // a write often succeeds before the failure is reported
	"disk: does not sync": {line: "sync segment fails", metric: diskFailing},

	"agent: kill -9":   {line: "started"},
	"agent: power cut": {line: "started"},
	"agent: SIGTERM":   {line: "stopped"},
	"agent: reload":    {line: reloaded},

	"API server: away":                {line: noAPIServer},
	"API server: half answers":        {line: noAPIServer, metric: "prometheus_sd_kubernetes_failures_total"},
	"API server: 500":                 {line: noAPIServer, metric: "prometheus_sd_kubernetes_failures_total"},
	"API server: slow":                {line: noAPIServer},
	"API server: restarts":            {line: noAPIServer, metric: watches},
	"API server: network: refused":    {line: noAPIServer},
	"API server: network: black hole": {line: noAPIServer},
	"API server: no rights": {
		line: "Kubernetes API server refuses rights that discovery needs: grant get, list and watch"},
	"API server: 429":             {metric: watches},
	"API server: forgets changes": {metric: podEvents},
	"API server: silent watches":  {silent: "a watch without events is usual"},
	"API server: old state":       {silent: "an agent that runs does not list again"},
	"API server: network: reset":  {silent: "a watch carries few bytes, and is opened again"},
	"API server: network: slow":   {silent: "events come later"},
	"API server: cuts watches":    {silent: "watches end after some minutes anyhow, and are opened again"},
	"API server: 410 Gone":        {silent: "the next list shows everything"},

	"pod: evicted":                     {metric: "envoy_scraper_discovery_groups"},
	"pod: completes":                   {metric: "envoy_scraper_discovery_groups"},
	"pod: without the port":            {metric: "envoy_scraper_scrape_dropped_targets"},
	"pod: moves":                       {metric: podEvents},
	"pod: its address is used at once": {metric: podEvents},
	"pod: a label changes":             {metric: podEvents},
	"pod: its container restarts":      {metric: podEvents},
	"pod: same name, other address":    {silent: "pods may be replaced; the number of targets is as before"},
	"pod: its node is lost":            {silent: "its pods stay until the API server says that they are gone"},

	"disk: read-only":              {line: "write segment fails", metric: diskFailing},
	"disk: quota":                  {line: "write segment fails", metric: diskFailing},
	"disk: directory is read-only": {silent: "no file is made or removed in six minutes"},
	"disk: slow":                   {silent: "nothing waits for the disk"},
	"disk: a bit flips":            {silent: "what is delivered is not read again"},
	"disk: a segment is removed":   {silent: "what is delivered is not read again"},

	"agent: kill -9 at a call of the disk":   {line: "started"},
	"agent: power cut at a call of the disk": {line: "started"},
	"agent: stopped for a while":             {line: "stopped"},
	"agent: little memory and slow pages":    {line: targetDown, metric: failures + `"timeout"`},
	"agent: reload of a bad file":            {line: "configuration refused; the previous one stays in force"},

	"agents: another number at an instant":        {line: "the number of shards changed"},
	"agents: another number, one after the other": {line: "stopped"},

	"endpoints: one is removed and comes back": {line: reloaded},
	"endpoints: another one for a while":       {line: reloaded, metric: `envoy_scraper_queue_segments{endpoint="c"`},
	"certificate: all are renewed":             {silent: "connections stay, and new ones use the new certificates"},
	"certificate: a bad one":                   {line: unreachable, metric: retries},
}

// Seeds by what their runs have.
const (
	oneAgent    = 4 // and pods of an HTTP discovery; exact
	notExact    = 10
	pods        = 1 // of Kubernetes, and one agent
	threeByFlag = 2 // three agents, whose number is a flag
	twoByFile   = 3 // two agents, whose number is in the file
)

// seedFor returns a seed whose runs may have a kind of fault.
func seedFor(k kind) uint64 {
	switch {
	case k.in != nil && !k.in(hour(oneAgent)):
		return pods
	case k.name == "agents: another number at an instant":
		return twoByFile
	case strings.HasPrefix(k.name, "agents: "):
		return threeByFlag
	case !k.isExact():
		return notExact
	}
	return oneAgent
}

// TestEveryFaultIsTold: a fault that happens alone, for six minutes, leaves its line in the log and moves its metric.
// What signsOf calls silent has neither a line nor a failure.
func TestEveryFaultIsTold(t *testing.T) {
	alone := func(t *testing.T, seed uint64, faults ...scheduledFault) signs {
		o := hour(seed)
		o.Pods, o.Duration, o.Schedule = 3, 3*time.Minute, append([]scheduledFault{}, faults...)
		res := simulate(t, o)
		for _, p := range res.Problems {
			t.Error(p)
		}
		return res.Signs
	}
	quiet := map[uint64]signs{}
	for _, seed := range []uint64{oneAgent, notExact, pods, threeByFlag, twoByFile} {
		quiet[seed] = alone(t, seed)
	}
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
			seed := seedFor(k)
			got := alone(t, seed, f).since(quiet[seed])
			lines, metrics := slices.Sorted(maps.Keys(got.logged)), slices.Sorted(maps.Keys(got.metrics))
			if want.line != "" && !slices.Contains(lines, want.line) {
				t.Errorf("no line %q, but %q", want.line, lines)
			}
			if want.silent != "" && len(lines) > 0 {
				t.Errorf("lines %q, want none: %s", lines, want.silent)
			}
			moved := func(m string) bool { return strings.HasPrefix(m, want.metric) }
			if want.metric != "" && !slices.ContainsFunc(metrics, moved) {
				t.Errorf("%s is not higher, but %q", want.metric, metrics)
			}
			failed := func(m string) bool { return strings.HasPrefix(m, failures) }
			if want.silent != "" && slices.ContainsFunc(metrics, failed) {
				t.Errorf("failed scrapes, want none: %s", want.silent)
			}
		})
	}
}
