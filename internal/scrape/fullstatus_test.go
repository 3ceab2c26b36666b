package scrape

import (
	"compress/gzip"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/relabel"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/discovery"
	"github.com/envoy-scraper/envoy-scraper/internal/envoy"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
	"github.com/envoy-scraper/envoy-scraper/internal/shard"
)

// lookJob is a job that keeps the targets with the label keep="yes" and drops those of phase Failed.
func lookJob() *promconfig.ScrapeConfig {
	job := promconfig.DefaultScrapeConfig
	job.JobName, job.MetricsPath, job.Scheme = "envoy-stats", "/stats/prometheus", "http"
	job.ScrapeInterval, job.ScrapeTimeout = model.Duration(15*time.Second), model.Duration(10*time.Second)
	job.ScrapeProtocols = promconfig.DefaultScrapeProtocols
	job.MetricNameValidationScheme, job.MetricNameEscapingScheme = model.UTF8Validation, model.AllowUTF8
	job.EnableCompression = true
	job.KeepDroppedTargets = 1
	rule := func(action relabel.Action, label, regex string) *relabel.Config {
		r := relabel.DefaultRelabelConfig
		r.Action, r.SourceLabels, r.Regex = action, model.LabelNames{model.LabelName(label)},
			relabel.MustNewRegexp(regex)
		r.NameValidationScheme = model.UTF8Validation
		return &r
	}
	job.RelabelConfigs = []*relabel.Config{
		rule(relabel.Drop, "__meta_kubernetes_pod_phase", "Failed"), rule(relabel.Keep, "__meta_keep", "yes"),
	}
	return &job
}

// lookGroup is a pod with one target.
func lookGroup(pod, address string, more model.LabelSet) discovery.Group {
	return discovery.Group{Group: &targetgroup.Group{
		Source: "pod/shop/" + pod,
		Labels: model.LabelSet{namespaceLabel: "shop", podNameLabel: model.LabelValue(pod),
			"__meta_keep": "yes"}.Merge(more),
		Targets: []model.LabelSet{{model.AddressLabel: model.LabelValue(address)}},
	}}
}

func look(t *testing.T, shards shard.Map, groups ...discovery.Group) PoolStatus {
	t.Helper()
	status, err := Look(t.Context(), []*promconfig.ScrapeConfig{lookJob()},
		map[string]discovery.Update{"envoy-stats": {Whole: true, Groups: groups}}, Options{AllowLoopback: true}, shards,
		func(TargetStatus) bool { return true })
	if err != nil || len(status) != 1 {
		t.Fatalf("status %+v, error %v", status, err)
	}
	return status[0]
}

func TestFullStatusListsEveryDiscoveredTarget(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = z.Write([]byte(strings.Repeat("# a comment\n", 100) +
			"istio_requests_total{source_workload=\"unknown\"} 1\nenvoy_server_uptime{} 3600\n"))
		_ = z.Close()
	}))
	defer s.Close()
	address := strings.TrimPrefix(s.URL, "http://")
	p := look(t, shard.Map{},
		lookGroup("cart", address, nil), lookGroup("same", address, nil),
		lookGroup("failed", "10.0.0.1:1", model.LabelSet{"__meta_kubernetes_pod_phase": "Failed"}),
		lookGroup("other", "10.0.0.2:1", model.LabelSet{"__meta_keep": "no"}),
		lookGroup("bad", "10.0.0.3:1/path", nil))
	if len(p.Targets) != 1 || len(p.Dropped) != 2 || len(p.Invalid) != 1 || len(p.Duplicates) != 1 || p.Shards != 0 {
		t.Fatalf("status = %+v", p)
	}
	up := p.Targets[0]
	if up.Pod != (Pod{Namespace: "shop", Name: "cart"}) || up.Health != HealthUp ||
		up.PageBytes < 1200 || up.WireBytes == 0 ||
		up.WireBytes > 300 || up.Failures != 0 || up.Failure != "" || !up.FailingSince.IsZero() {
		t.Errorf("target = %+v", up)
	}
	if up.Signs != envoy.Requests|envoy.Unknown|envoy.Envoy {
		t.Errorf("signs = %b", up.Signs)
	}
	if age := time.Since(up.Started); age < time.Hour || age > time.Hour+5*time.Minute {
		t.Errorf("started %v ago, want an hour", age)
	}
	if d := p.Dropped; d[0].Pod.Name != "failed" || d[0].Rule != 1 || d[1].Pod.Name != "other" || d[1].Rule != 2 {
		t.Errorf("dropped = %+v", d)
	}
	if i := p.Invalid[0]; i.Pod.Name != "bad" || i.Reason == "" || i.Discovered().Get(podNameLabel) != "bad" {
		t.Errorf("invalid = %+v", i)
	}
	if d := p.Duplicates[0]; d.Pod.Name != "same" || d.Same.Name != "cart" {
		t.Errorf("duplicate = %+v", d)
	}
}

// TestFullStatusOfOnePod lists what became of its targets, and of no other's.
func TestFullStatusOfOnePod(t *testing.T) {
	ps := New(series.NewTable(), dropSink{}, Options{}, zap.NewNop(), prometheus.NewRegistry())
	if err := ps.Apply([]*promconfig.ScrapeConfig{lookJob()}); err != nil {
		t.Fatal(err)
	}
	ps.Update(map[string]discovery.Update{"envoy-stats": {Whole: true, Groups: []discovery.Group{
		lookGroup("cart", "10.0.0.1:1", nil), lookGroup("same", "10.0.0.1:1", nil),
		lookGroup("failed", "10.0.0.2:1", model.LabelSet{"__meta_kubernetes_pod_phase": "Failed"}),
		lookGroup("other", "10.0.0.3:1", model.LabelSet{"__meta_keep": "no"}),
		lookGroup("bad", "10.0.0.4:1/path", nil)}}})
	for _, whole := range ps.FullStatus()[0].Dropped {
		if d := ps.FullStatusOf(whole.Pod)[0].Dropped; len(d) != 1 || d[0].Pod != whole.Pod || d[0].Rule != whole.Rule {
			t.Errorf("%s: dropped %+v, want rule %d", whole.Pod, d, whole.Rule)
		}
	}
	got := ""
	for _, name := range []string{"cart", "same", "failed", "other", "bad", "none"} {
		p := ps.FullStatusOf(Pod{Namespace: "shop", Name: name})[0]
		got += fmt.Sprintf("%s %d %d %d %d; ", name, len(p.Targets), len(p.Dropped), len(p.Invalid), len(p.Duplicates))
	}
	if want := "cart 1 0 0 0; same 0 0 0 1; failed 0 1 0 0; other 0 1 0 0; bad 0 0 1 0; none 0 0 0 0; "; got != want {
		t.Errorf("targets, dropped, invalid and equal ones:\n%s, want\n%s", got, want)
	}
}

func TestFullStatusListsTargetsOfOtherShards(t *testing.T) {
	var groups []discovery.Group
	for i := range 20 {
		groups = append(groups, lookGroup(fmt.Sprintf("cart-%d", i), fmt.Sprintf("127.0.0.1:%d", i+1), nil))
	}
	p := look(t, shard.Map{Index: 2, Periods: []shard.Period{{Count: 3}}}, groups...)
	if len(p.Targets)+len(p.Elsewhere) != 20 || len(p.Targets) == 0 || len(p.Elsewhere) == 0 || p.Shards != 3 {
		t.Fatalf("%d here, %d elsewhere, of %d shards", len(p.Targets), len(p.Elsewhere), p.Shards)
	}
	for _, e := range p.Elsewhere {
		if e.Shard == 2 || e.Shard > 2 || e.Pod.Namespace != "shop" {
			t.Errorf("elsewhere = %+v", e)
		}
	}
	for _, here := range p.Targets {
		if here.Failure != "refused" || here.Failures != 1 || here.FailingSince.IsZero() {
			t.Errorf("target = %+v", here)
		}
	}
}

// TestUptimesThatCannotBe: a page may show any number.
func TestUptimesThatCannotBe(t *testing.T) {
	for _, uptime := range []float64{math.NaN(), math.Inf(1), -1, 1e300} {
		tr := traits{hasUptime: true, uptime: 7, started: 1}
		b := &series.Batch{Time: time.Now().UnixMilli()}
		b.Add(3, 0)
		b.Add(7, uptime)
		if tr.note(b, true); tr.started != 0 || tr.restarted != 0 || !tr.hasUptime {
			t.Errorf("uptime %v: %+v", uptime, tr)
		}
		b.Reset(b.Target, b.Time)
		if tr.note(b, true); tr.hasUptime {
			t.Error("a series that the page no longer shows is remembered")
		}
	}
}

// TestFullStatusWhileTargetsChange is for the race detector.
func TestFullStatusWhileTargetsChange(t *testing.T) {
	ps := New(series.NewTable(), dropSink{}, Options{AllowLoopback: true, Sharded: true}, zap.NewNop(),
		prometheus.NewRegistry())
	if err := ps.Apply([]*promconfig.ScrapeConfig{lookJob()}); err != nil {
		t.Fatal(err)
	}
	ps.Shard(shard.Map{Periods: []shard.Period{{Count: 2}}})
	changed := make(chan struct{})
	go func() {
		defer close(changed)
		for i := range 100 {
			keep := model.LabelValue([]string{"yes", "no"}[i/10%2])
			ps.Update(map[string]discovery.Update{"envoy-stats": {Groups: []discovery.Group{
				lookGroup(fmt.Sprint(i%10), fmt.Sprintf("10.0.0.%d:1", i%10), model.LabelSet{"__meta_keep": keep})}}})
		}
	}()
	for running := true; running; {
		select {
		case <-changed:
			running = false
		default:
		}
		p := ps.FullStatus()[0]
		for _, d := range p.Dropped {
			_ = d.Discovered()
		}
		// The target of the running update may be dropped already, and its loop not yet ended.
		if n := len(p.Targets) + len(p.Dropped) + len(p.Duplicates) + len(p.Elsewhere); n > 11 {
			t.Fatalf("%d targets of 10: %+v", n, p)
		}
	}
}

// BenchmarkFullStatus lists 10,000 pods of 5 discovered targets each, of which rules keep one.
func BenchmarkFullStatus(b *testing.B) {
	ps := New(series.NewTable(), dropSink{}, Options{}, zap.NewNop(), prometheus.NewRegistry())
	job := lookJob()
	job.KeepDroppedTargets = 0
	if err := ps.Apply([]*promconfig.ScrapeConfig{job}); err != nil {
		b.Fatal(err)
	}
	u := discovery.Update{Whole: true}
	for i := range 10_000 {
		g := lookGroup(fmt.Sprintf("cart-%d", i), fmt.Sprintf("10.0.%d.%d:15090", i/250, i%250), nil)
		for port := range 4 {
			g.Targets = append(g.Targets, model.LabelSet{"__meta_keep": "no",
				model.AddressLabel: model.LabelValue(fmt.Sprintf("10.0.%d.%d:%d", i/250, i%250, port+1))})
		}
		u.Groups = append(u.Groups, g)
	}
	ps.Update(map[string]discovery.Update{"envoy-stats": u})
	b.ReportAllocs()
	for b.Loop() {
		if p := ps.FullStatus()[0]; len(p.Targets) != 10_000 || len(p.Dropped) != 40_000 {
			b.Fatalf("%d targets, %d dropped", len(p.Targets), len(p.Dropped))
		}
	}
}

// TestTheStartIsLearnedFromAFailedPage: its lines stay known, so a good page does not teach them again.
func TestTheStartIsLearnedFromAFailedPage(t *testing.T) {
	during(t, func(t *testing.T, r *rig) {
		r.apply(t, job(t, ""))
		r.pages.set("a:1", "envoy_server_uptime{} 7200\nx one\n")
		r.discover(at("a:1"))
		pass(60 * time.Second)
		target := func() TargetStatus { return r.FullStatus()[0].Targets[0] }
		if down := target(); down.Failure != "page" || !down.Started.IsZero() {
			t.Errorf("after a failed page: %+v", down)
		}
		r.pages.set("a:1", "envoy_server_uptime{} 7200\nx 1\n")
		pass(60 * time.Second)
		if up := target(); up.Health != HealthUp || up.Started.IsZero() {
			t.Errorf("after a good page: %+v", up)
		}
		r.pages.set("a:1", "x 1\ny one\n")
		pass(60 * time.Second)
		r.pages.set("a:1", "x 1\n")
		pass(60 * time.Second)
		for _, l := range r.jobs["envoy"].loops {
			if l.traits.hasUptime {
				t.Error("a series that the page no longer shows is remembered")
			}
		}
	})
}

// TestFailuresInARow scrapes one target that fails, comes back, and starts again.
func TestFailuresInARow(t *testing.T) {
	var uptime, status atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		if code := status.Load(); code != 0 {
			w.WriteHeader(int(code))
			return
		}
		fmt.Fprintf(w, "a 1\nenvoy_server_uptime{} %d\n", uptime.Load())
	}))
	defer s.Close()
	jobs := []*promconfig.ScrapeConfig{lookJob()}
	e := New(series.NewTable(), dropSink{}, Options{AllowLoopback: true}, zap.NewNop(), prometheus.NewRegistry())
	if err := e.Apply(jobs); err != nil {
		t.Fatal(err)
	}
	e.Update(map[string]discovery.Update{"envoy-stats": {Whole: true, Groups: []discovery.Group{
		lookGroup("cart", strings.TrimPrefix(s.URL, "http://"), nil)}}})
	scrape := func(code, up int64) TargetStatus {
		status.Store(code)
		uptime.Store(up)
		for _, l := range e.jobs["envoy-stats"].loops {
			l.scrape(t.Context(), nil)
		}
		return e.FullStatus()[0].Targets[0]
	}
	first := scrape(0, 7200)
	if first.Failures != 0 || !first.Restarted.IsZero() || first.Started.IsZero() {
		t.Errorf("after a good scrape: %+v", first)
	}
	down := scrape(503, 0)
	again := scrape(503, 0)
	if down.Failures != 1 || again.Failures != 2 || !again.FailingSince.Equal(down.LastScrape) ||
		again.Failure != "status" {
		t.Errorf("after two failures: %+v, then %+v", down, again)
	}
	if back := scrape(0, 7200); back.Failures != 0 || !back.FailingSince.IsZero() || !back.Restarted.IsZero() {
		t.Errorf("back: %+v", back)
	}
	if restarted := scrape(0, 3); restarted.Restarted.IsZero() {
		t.Errorf("restarted: %+v", restarted)
	}
}
