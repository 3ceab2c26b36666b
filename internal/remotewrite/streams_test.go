package remotewrite

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"github.com/prometheus/prometheus/model/value"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// mesh is a few targets whose pages change: series come and go, scrapes fail, targets end. Two targets have the same
// labels except for their address, so some of their series are the same. It is the same for equal seeds.
type mesh struct {
	*world
	rnd      *rand.Rand
	interval time.Duration
	pods     []*meshPod
	appended int
}

type meshPod struct {
	id     series.TargetID
	all    []series.ID
	shown  map[int]bool // of all
	failed bool
	gone   bool
}

func newMesh(w *world, seed uint64, interval time.Duration) *mesh {
	m := &mesh{world: w, rnd: rand.New(rand.NewPCG(seed, 7)), interval: interval}
	for i := range 6 {
		public := labels.FromStrings("instance", fmt.Sprint("pod-", i), "job", "envoy")
		p := &meshPod{id: w.table.AddTarget(public), shown: map[int]bool{}}
		for n := range 12 {
			p.all = append(p.all, w.series(p.id, public, fmt.Sprintf("metric_%d", n)))
		}
		for n := range 4 { // unbound, and the same on two pods
			shared := labels.FromStrings("__name__", "shared", "pair", fmt.Sprint(i/2), "n", fmt.Sprint(n))
			p.all = append(p.all, w.table.Add(p.id, shared, series.Meta{Type: model.MetricTypeGauge}))
		}
		m.pods = append(m.pods, p)
	}
	return m
}

// scrapeAll appends one scrape of each pod, at times that differ by some milliseconds.
func (m *mesh) scrapeAll() {
	for i, p := range m.pods {
		if p.gone {
			continue
		}
		var b series.Batch
		b.Reset(p.id, time.Now().UnixMilli()+int64(i))
		b.Interval = m.interval
		ends, fails := m.rnd.IntN(40) == 0, m.rnd.IntN(12) == 0
		b.Urgent = ends || fails && !p.failed
		for n, id := range p.all {
			shows := m.rnd.IntN(10) > 0 && !ends && !fails
			switch {
			case shows:
				b.Add(id, float64(m.rnd.IntN(1000)))
			case p.shown[n]:
				b.Add(id, staleNaN)
			}
			p.shown[n] = shows
		}
		p.failed, p.gone = fails, ends
		m.appended += b.Len()
		m.append(&b)
	}
}

var staleNaN = math.Float64frombits(value.StaleNaN)

// meshRun is what a receiver got of a mesh.
type meshRun struct {
	arrived  map[string][]point
	requests int
	accepted int
	dropped  map[string]int
}

// meshCase is how a mesh is delivered.
type meshCase struct {
	seed     uint64
	protocol wire.Protocol
	scrapes  int  // a request
	rules    bool // that change labels
	slow     bool // the receiver takes 7 s for an answer, and groups are limited to one scrape of a target at times
}

func runMesh(t *testing.T, c meshCase) (run meshRun) {
	synctest.Test(t, func(t *testing.T) {
		const interval = 10 * time.Second
		ec := explicit(endpointConfig("n"), c.protocol)
		if c.scrapes > 1 {
			ec.QueueConfig.BatchSendDeadline = model.Duration(time.Duration(c.scrapes) * interval)
		}
		if c.rules {
			ec.WriteRelabelConfigs = []*relabel.Config{{
				SourceLabels: model.LabelNames{"job"}, TargetLabel: "team", Regex: relabel.MustNewRegexp("(.*)"),
				Replacement: "of-$1", Action: relabel.Replace, Separator: ";",
				NameValidationScheme: model.UTF8Validation,
			}}
		}
		w := newWorld(t, ec)
		if w.cfg.FlushDeadline = time.Hour; c.slow {
			w.receivers["n"].delay = 7 * time.Second
		}
		w.apply()
		w.run()
		m := newMesh(w, c.seed, interval)
		chance := rand.New(rand.NewPCG(c.seed, 8))
		for range 30 {
			if c.slow && chance.IntN(3) == 0 {
				(*w.writers.endpoints.Load())[0].packer.LimitScrapes(chance.IntN(2) == 0)
			}
			m.scrapeAll()
			time.Sleep(interval)
		}
		w.stop()
		w.conserved("n", m.appended)
		r := w.receivers["n"]
		run = meshRun{arrived: r.arrived, requests: r.requests, accepted: w.acceptedCount("n"),
			dropped: map[string]int{}}
		for _, reason := range reasons {
			run.dropped[string(reason)] = w.dropped("n", reason)
		}
		if r.disorder > 0 {
			t.Errorf("%d samples arrived out of order", r.disorder)
		}
	})
	return run
}

func (want meshRun) compare(t *testing.T, got meshRun, name string) {
	t.Helper()
	if got.accepted != want.accepted || !maps.Equal(got.dropped, want.dropped) {
		t.Errorf("%s: accepted %d, dropped %v; want %d, %v", name, got.accepted, got.dropped, want.accepted,
			want.dropped)
	}
	if !maps.EqualFunc(got.arrived, want.arrived, slices.Equal) {
		t.Errorf("%s: other samples arrived", name)
	}
}

// TestSeveralScrapesInARequestArriveAsSingleOnes compares everything that a receiver gets, sample for sample, with what
// it gets if each request has one scrape.
func TestSeveralScrapesInARequestArriveAsSingleOnes(t *testing.T) {
	for _, p := range []wire.Protocol{wire.V1, wire.V2} {
		for _, rules := range []bool{false, true} {
			for seed := range uint64(4) {
				want := runMesh(t, meshCase{seed: seed, protocol: p, scrapes: 1, rules: rules})
				for _, n := range []int{2, 3, 5} {
					name := fmt.Sprintf("%v, rules %v, seed %d, %d scrapes", p, rules, seed, n)
					got := runMesh(t, meshCase{seed: seed, protocol: p, scrapes: n, rules: rules})
					want.compare(t, got, name)
				}
			}
		}
	}
}

// TestASeriesThatGetsTimestampsOfItsOwnStaysInOrder: it changes from the lane of its target to the lane of its own
// labels, while earlier scrapes wait in the former.
func TestASeriesThatGetsTimestampsOfItsOwnStaysInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ec := explicit(endpointConfig("n"), wire.V2)
		ec.QueueConfig.BatchSendDeadline = model.Duration(30 * time.Second)
		w := newWorld(t, ec)
		w.run()
		var pods []target
		for i := range 20 {
			pods = append(pods, w.target(fmt.Sprint("pod-", i), 4))
		}
		appended := 0
		for n := range 20 {
			for _, pod := range pods {
				b := w.scrape(pod, nowMillis())
				b.Interval = 10 * time.Second
				for i := 0; n >= 8 && i < 2; i++ {
					b.Times = append(b.Times, series.OwnTime{Index: i, Time: b.Time - 1000})
				}
				appended += b.Len()
				w.append(b)
			}
			time.Sleep(10 * time.Second)
		}
		w.stop()
		if r := w.receivers["n"]; r.disorder > 0 || r.total() != appended {
			t.Errorf("%d of %d samples arrived, %d out of order", r.total(), appended, r.disorder)
		}
	})
}

// newDelayedWorld returns a running world whose endpoint has a delay, for targets that are scraped every 10 s.
func newDelayedWorld(t *testing.T, delay time.Duration) *world {
	ec := endpointConfig("n")
	ec.QueueConfig.BatchSendDeadline = model.Duration(delay)
	w := newWorld(t, ec)
	w.run()
	return w
}

// appendEvery10s appends a scrape of a target that is scraped every 10 s.
func (w *world) appendEvery10s(t target) {
	w.t.Helper()
	b := w.scrape(t, nowMillis())
	b.Interval = 10 * time.Second
	w.append(b)
}

func TestRequestsHoldAsManyScrapesAsTheDelayAllows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDelayedWorld(t, 30*time.Second)
		pod := w.target("pod", 7)
		for range 30 {
			w.appendEvery10s(pod)
			time.Sleep(10 * time.Second)
		}
		w.stop()
		sizes := w.receivers["n"].sizes
		if len(sizes) < 10 || len(sizes) > 11 {
			t.Errorf("%d requests of %v samples, want 10 or 11", len(sizes), sizes)
		}
		for _, n := range sizes[1 : len(sizes)-1] {
			if n != 3*7 {
				t.Errorf("a request of %d samples, want three scrapes of 7", n)
			}
		}
	})
}

// TestSmallPagesShareRequests: 40 targets of 5 series are scraped within 40 ms. Their groups are due together.
func TestSmallPagesShareRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDelayedWorld(t, 30*time.Second)
		var pods []target
		for i := range 40 {
			pods = append(pods, w.target(fmt.Sprint("pod-", i), 5))
		}
		const rounds = 30
		for range rounds {
			for _, pod := range pods {
				w.appendEvery10s(pod)
				time.Sleep(time.Millisecond)
				synctest.Wait()
			}
			time.Sleep(10*time.Second - 40*time.Millisecond)
		}
		w.stop()
		r := w.receivers["n"]
		if want := rounds * len(pods) * 5; r.total() != want {
			t.Errorf("%d samples arrived, want %d", r.total(), want)
		}
		if most := rounds + 1; r.requests > most {
			t.Errorf("%d requests, want at most one for each round: %d", r.requests, most)
		}
	})
}

func TestASampleWaitsAtMostForTheDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newDelayedWorld(t, 30*time.Second)
		defer w.stop()
		pod := w.target("pod", 7)
		for range 2 { // the second of a stream's groups never is a short one
			for range 3 {
				w.appendEvery10s(pod)
				time.Sleep(10 * time.Second)
			}
		}
		synctest.Wait()
		before := w.receivers["n"].total()
		w.appendEvery10s(pod) // the last scrape before the target hangs
		time.Sleep(30*time.Second - time.Millisecond)
		synctest.Wait()
		early := w.receivers["n"].total() - before
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		if got := w.receivers["n"].total() - before; got == 0 || got < early {
			t.Errorf("%d samples arrived after the delay, %d before", got, early)
		}
	})
}

func TestWhatIsSentAtOnce(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(w *world, pod target)
	}{
		{"the target ends", func(w *world, pod target) {
			var b series.Batch
			b.Reset(pod.id, nowMillis())
			b.Interval, b.Urgent = 10*time.Second, true
			for _, id := range pod.ids {
				b.Add(id, staleNaN)
			}
			w.append(&b)
		}},
		{"targets move to another instance", func(w *world, _ target) { w.writers.Flush() }},
		{"a reload", func(w *world, pod target) {
			rw := *w.cfg.Endpoints[0].RemoteWriteConfig
			rw.QueueConfig.MaxShards = 7
			w.cfg.Endpoints = []EndpointConfig{{RemoteWriteConfig: &rw, Negotiate: true}}
			w.apply()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newDelayedWorld(t, time.Minute)
				defer w.stop()
				pod := w.target("pod", 7)
				scrape := func() {
					w.appendEvery10s(pod)
					time.Sleep(10 * time.Second)
					synctest.Wait()
				}
				scrape()
				for n := 0; w.writers.Status()[0].PendingSamples < 2*len(pod.ids); n++ {
					if scrape(); n > 12 {
						t.Fatal("no scrapes wait")
					}
				}
				c.do(w, pod)
				time.Sleep(time.Millisecond)
				synctest.Wait()
				if left := w.writers.Status()[0].PendingSamples; left != 0 {
					t.Errorf("%d samples wait still", left)
				}
			})
		})
	}
}
