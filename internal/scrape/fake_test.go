package scrape

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// got is one batch as a receiver would read it: series to value, "stale" for a marker.
type got struct {
	at      time.Time
	samples map[string]string
}

// sink keeps the batches of all loops.
type sink struct {
	table *series.Table
	look  func(*series.Batch) // unless nil
	mu    sync.Mutex
	got   []got

	flushes int
	flushed int // batches before the last Flush
}

func (s *sink) Flush() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flushes++
	s.flushed = len(s.got)
}

func (s *sink) Append(b *series.Batch) error {
	if s.look != nil {
		s.look(b)
	}
	g := got{at: time.UnixMilli(b.Time), samples: map[string]string{}}
	s.table.Read(func(v series.View) {
		own := b.Times
		for i, id := range b.Series {
			var lb labels.ScratchBuilder
			for _, p := range v.Labels(nil, id, b.Target) {
				lb.Add(v.String(p.Name), v.String(p.Value))
			}
			text := fmt.Sprint(b.Values[i])
			if value.IsStaleNaN(b.Values[i]) {
				text = "stale"
			}
			if len(own) > 0 && own[0].Index == i {
				text += fmt.Sprintf(" @%d", own[0].Time)
				own = own[1:]
			}
			key := lb.Labels().String()
			if _, twice := g.samples[key]; twice {
				text = "twice in one batch"
			}
			g.samples[key] = text
		}
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, g)
	return nil
}

// sampled is one value of a series.
type sampled struct {
	at    time.Time
	value string
}

// of lists the values of a series, in the order of arrival.
func (s *sink) of(series string) (all []sampled) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.got {
		if v, ok := g.samples[series]; ok {
			all = append(all, sampled{g.at, v})
		}
	}
	return all
}

// pages answers scrapes without a network: host:port to page. A missing page is a refused connection.
type pages struct {
	mu      sync.Mutex
	text    map[string]string
	types   map[string]string // Content-Type, unless it is plain text
	errs    map[string]error
	delay   time.Duration
	running int
	most    int // requests at once
	asked   []*http.Request
}

func (p *pages) set(host, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.text == nil {
		p.text = map[string]string{}
	}
	p.text[host] = text
}

// fail makes requests to a host fail with err; nil ends that.
func (p *pages) fail(host string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.errs == nil {
		p.errs = map[string]error{}
	}
	p.errs[host] = err
}

// slow delays every answer.
func (p *pages) slow(by time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = by
}

// scrapes returns the number of requests so far.
func (p *pages) scrapes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.asked)
}

// mostAtOnce returns the largest number of requests at once so far.
func (p *pages) mostAtOnce() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.most
}

func (p *pages) RoundTrip(req *http.Request) (*http.Response, error) {
	p.mu.Lock()
	text, ok := p.text[req.URL.Host]
	p.asked = append(p.asked, req)
	p.running++
	p.most = max(p.most, p.running)
	delay, err, typ := p.delay, p.errs[req.URL.Host], p.types[req.URL.Host]
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.running--
		p.mu.Unlock()
	}()
	trace := httptrace.ContextClientTrace(req.Context())
	if trace != nil {
		trace.WroteRequest(httptrace.WroteRequestInfo{})
	}
	select {
	case <-time.After(delay):
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	if err != nil {
		return nil, err
	}
	if trace != nil {
		trace.GotFirstResponseByte()
	}
	if typ == "" {
		typ = "text/plain; charset=UTF-8"
	}
	if !ok {
		return nil, fmt.Errorf("dial %s: connection refused", req.URL.Host)
	}
	return &http.Response{
		StatusCode: 200, Status: "200 OK", Header: http.Header{"Content-Type": {typ}},
		Body: io.NopCloser(strings.NewReader(text)),
	}, nil
}

// rig is pools whose scrapes go to pages and whose batches go to sink.
type rig struct {
	*Pools
	sink  *sink
	pages *pages
	table *series.Table
}

func newRig() *rig {
	table := series.NewTable()
	s, p := &sink{table: table}, &pages{}
	return &rig{Pools: New(table, s, Options{transport: p}, zap.NewNop(), nil), sink: s, pages: p, table: table}
}

// job parses a job. Its interval is 10 s unless yaml sets another.
func job(t testing.TB, yaml string) *promconfig.ScrapeConfig {
	t.Helper()
	return jobUnder(t, "", yaml)
}

// jobUnder is job with more settings in the global block.
func jobUnder(t testing.TB, global, yaml string) *promconfig.ScrapeConfig {
	t.Helper()
	cfg, err := promconfig.Load("global: {scrape_interval: 10s, scrape_timeout: 5s, "+global+"}\nscrape_configs:\n"+
		"- job_name: envoy\n"+yaml, nil)
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := cfg.GetScrapeConfigs()
	if err != nil {
		t.Fatal(err)
	}
	return jobs[0]
}

// jobsOf returns a job whose rules change with each reload, or no job for every seventh.
func jobsOf(t testing.TB, reload int) []*promconfig.ScrapeConfig {
	if reload%7 == 6 {
		return nil
	}
	rules := []string{"", "  sample_limit: 50\n", "  metric_relabel_configs: [{source_labels: [__name__], regex: x, " +
		"action: drop}]\n"}
	return []*promconfig.ScrapeConfig{job(t, "  scrape_interval: 1s\n  scrape_timeout: 1s\n"+rules[reload%len(rules)])}
}

func (r *rig) apply(t *testing.T, jobs ...*promconfig.ScrapeConfig) {
	t.Helper()
	if err := r.Apply(jobs); err != nil {
		t.Fatal(err)
	}
}

// Update makes these the groups of their jobs.
func (r *rig) Update(found map[string][]*targetgroup.Group) {
	updates := map[string]discovery.Update{}
	for name, groups := range found {
		updates[name] = wholeUpdate(groups)
	}
	r.Pools.Update(updates)
}

// wholeUpdate is an update with all groups of a job. Each group has a discovery of its own, so sources may be equal.
func wholeUpdate(groups []*targetgroup.Group) discovery.Update {
	u := discovery.Update{Whole: true}
	for i, g := range groups {
		u.Groups = append(u.Groups, discovery.Group{Discovery: uint64(i), Group: g})
	}
	return u
}

// madeTargets are the targets and errors of relabeled groups.
type madeTargets struct {
	targets []*target
	errors  []string
}

func makeTargets(cfg *promconfig.ScrapeConfig, groups []*targetgroup.Group, ownAddress bool) (m madeTargets) {
	r := &relabeler{cfg: cfg, ownAddress: ownAddress, builder: labels.NewBuilder(labels.EmptyLabels()),
		scratch: model.LabelSet{}}
	for i, g := range groups {
		made, targets := r.relabel(groupKey{discovery: uint64(i), source: g.Source}, g)
		m.targets = append(m.targets, targets...)
		for _, bad := range made.invalid {
			m.errors = append(m.errors, bad.reason)
		}
	}
	return m
}

// discover makes these the targets of the job, as its first static list would.
func (r *rig) discover(targets ...model.LabelSet) {
	r.Update(map[string][]*targetgroup.Group{"envoy": {{Source: "0", Targets: targets}}})
}

func at(host string) model.LabelSet {
	return model.LabelSet{model.AddressLabel: model.LabelValue(host)}
}

// with adds a label to those of a discovered target.
func with(target model.LabelSet, name model.LabelName, value string) model.LabelSet {
	target[name] = model.LabelValue(value)
	return target
}

// values returns the samples of the n-th batch, or from the end if n is negative. Of the report series it has up only.
func (r *rig) values(t *testing.T, n int) map[string]string {
	t.Helper()
	r.sink.mu.Lock()
	defer r.sink.mu.Unlock()
	if n < 0 {
		n += len(r.sink.got)
	}
	if n < 0 || n >= len(r.sink.got) {
		t.Fatalf("no batch %d of %d", n, len(r.sink.got))
	}
	out := map[string]string{}
	for k, v := range r.sink.got[n].samples {
		if !strings.Contains(k, `__name__="scrape_`) {
			out[k] = v
		}
	}
	return out
}

func (r *rig) batches() int {
	r.sink.mu.Lock()
	defer r.sink.mu.Unlock()
	return len(r.sink.got)
}

func want(t *testing.T, got map[string]string, pairs ...string) {
	t.Helper()
	wanted := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		wanted[pairs[i]] = pairs[i+1]
	}
	if !maps.Equal(got, wanted) {
		for _, k := range slices.Sorted(maps.Keys(got)) {
			t.Logf("got  %s = %s", k, got[k])
		}
		for _, k := range slices.Sorted(maps.Keys(wanted)) {
			t.Logf("want %s = %s", k, wanted[k])
		}
		t.Error("samples differ")
	}
}

// named returns a series of the target "a:1" as text.
func named(name string) string {
	return fmt.Sprintf(`{__name__=%q, instance="a:1", job="envoy"}`, name)
}
