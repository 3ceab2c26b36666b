package scrape

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
	"github.com/envoy-scraper/envoy-scraper/internal/shard"
)

// The simulations do random things to pools and check what a storage would have in the end. They run a few seeds;
// SIMULATION_SEEDS sets how many, SIMULATION_FIRST the first. A test that fails names its seed and lists its last
// steps:
//
//	SIMULATION_SEEDS=10000 go test ./internal/scrape -run Simulation
const ordinarySeeds = 30

func eachSeed(t *testing.T, run func(t *testing.T, random *rand.Rand)) {
	number := func(name string, otherwise int) int {
		if text := os.Getenv(name); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return n
		}
		return otherwise
	}
	first, seeds := number("SIMULATION_FIRST", 0), number("SIMULATION_SEEDS", ordinarySeeds)
	for seed := first; seed < first+seeds; seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			run(t, rand.New(rand.NewPCG(uint64(seed), 0)))
		})
	}
}

// diary lists the steps of a simulation.
type diary []string

func (d *diary) note(format string, args ...any) {
	*d = append(*d, time.Now().Format("04:05.000 ")+fmt.Sprintf(format, args...))
}

// tell logs the last steps if the test failed.
func (d diary) tell(t *testing.T) {
	if t.Failed() {
		t.Logf("the last steps:\n%s", strings.Join(d[max(0, len(d)-25):], "\n"))
	}
}

// simulation is one instance whose job, targets and pages change at random.
type simulation struct {
	*rig
	diary
	random *rand.Rand
}

// simulate runs a simulation in a bubble of fake time, while body does things to it, until every target is gone and
// marked.
func simulate(t *testing.T, random *rand.Rand, body func(s *simulation)) *simulation {
	t.Helper()
	s := &simulation{random: random}
	synctest.Test(t, func(t *testing.T) {
		sharded := random.IntN(3) == 0
		table := series.NewTable()
		out, p := &sink{table: table}, &pages{}
		fixed := func(string) bool { return random.IntN(4) == 0 } // with each reload
		pools := New(table, out, Options{transport: p, Sharded: sharded, FixedPace: fixed}, zap.NewNop(), nil)
		s.rig = &rig{Pools: pools, sink: out, pages: p, table: table}
		if sharded {
			s.Shard(shard.Map{Periods: []shard.Period{{Count: 1}}})
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		for _, host := range s.hosts() {
			p.set(host, s.page())
		}
		s.reload(t)
		for range 60 {
			body(s)
			pass(time.Duration(random.IntN(9000)) * time.Millisecond)
		}
		p.slow(0)
		s.note("all targets go")
		s.discover()
		pass(2 * time.Minute)
		s.checkNothingIsLeft(t)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *simulation) hosts() []string { return []string{"a:1", "b:1", "c:1"} }

// page returns a page with some of eight families, and at times a bad or an empty one.
func (s *simulation) page() string {
	var b strings.Builder
	if s.random.IntN(4) > 0 {
		b.WriteString(envoyPage) // so that the target is slowed if its answers are slow
	}
	for family := range 8 {
		if s.random.IntN(3) > 0 {
			fmt.Fprintf(&b, "m%d{l=\"%d\"} %d\n", family, s.random.IntN(2), s.random.IntN(10))
		}
	}
	switch s.random.IntN(8) {
	case 0:
		b.WriteString("bad line {\n")
	case 1:
		return ""
	}
	return b.String()
}

// reload applies another configuration of the job, with limits, intervals, rules and URLs of its own.
func (s *simulation) reload(t *testing.T) {
	jobs := []string{
		"", "  sample_limit: 50\n", "  sample_limit: 3\n", "  scrape_interval: 5s\n  scrape_timeout: 5s\n",
		"  metric_relabel_configs: [{source_labels: [__name__], regex: m1, action: drop}]\n",
		"  honor_labels: true\n", "  target_limit: 3\n", "  metrics_path: /other\n", "  params: {usedonly: ['']}\n",
	}
	yaml := jobs[s.random.IntN(len(jobs))]
	s.note("reload %q", yaml)
	s.apply(t, job(t, yaml))
}

// step does one random thing.
func (s *simulation) step(t *testing.T) {
	hosts := s.hosts()
	host := hosts[s.random.IntN(len(hosts))]
	switch s.random.IntN(7) {
	case 0:
		s.reload(t)
	case 1, 2:
		var found []model.LabelSet
		for _, h := range hosts {
			for n := range 2 {
				if s.random.IntN(3) > 0 {
					found = append(found, s.target(h, n))
				}
			}
		}
		s.note("found %v", found)
		s.discover(found...)
	case 3, 4:
		s.note("another page of %s", host)
		s.pages.set(host, s.page())
	case 5:
		by := time.Duration(s.random.IntN(4)*s.random.IntN(2200)) * time.Millisecond
		s.note("answers after %v", by)
		s.pages.slow(by)
	case 6:
		var err error
		if s.random.IntN(2) == 0 {
			err = errNoPage
		}
		s.note("%s fails with %v", host, err)
		s.pages.fail(host, err)
	}
}

// target returns one of the two targets of a host, at times with a hidden label or another path.
func (s *simulation) target(host string, n int) model.LabelSet {
	l := with(at(host), "n", fmt.Sprint(n))
	switch s.random.IntN(6) {
	case 0:
		l = with(l, "__tmp", fmt.Sprint(s.random.IntN(2)))
	case 1:
		l = with(l, model.MetricsPathLabel, "/moved")
	}
	return l
}

func (s *simulation) checkNothingIsLeft(t *testing.T) {
	if n, m := s.table.Len(), s.table.SymbolCount(); n != 0 || m != 0 {
		t.Errorf("%d series and %d symbols left in the table", n, m)
	}
	q := s.schedule
	if len(q.dueTimes.entries) != 0 || len(q.hosts) != 0 || len(q.concurrent) != 0 {
		t.Errorf("the schedule still has %d due times, %d busy hosts, %d running scrapes",
			len(q.dueTimes.entries), len(q.hosts), len(q.concurrent))
	}
	if n := s.slowedTargets(); n != 0 {
		t.Errorf("%v targets that are gone are slowed", n)
	}
	for name, p := range s.jobs {
		if len(p.loops)+len(p.departing) != 0 {
			t.Errorf("job %s still has %d loops, %d departing", name, len(p.loops), len(p.departing))
		}
	}
	for _, g := range s.sink.got {
		for series, v := range g.samples {
			if strings.HasPrefix(v, "twice") {
				t.Errorf("%s at %v: %s", series, g.at, v)
			}
		}
	}
}

// checkAllMarked checks that the last of every series is a marker. As in a writer, batches of a target count in the
// order of arrival, and one that is not newer than the last is refused.
func (s *simulation) checkAllMarked(t *testing.T) {
	stored, newest := map[string]sampled{}, map[string]time.Time{}
	for _, g := range s.sink.got {
		target := ""
		for series := range g.samples {
			if strings.HasPrefix(series, `{__name__="up"`) {
				target = series
			}
		}
		if last, known := newest[target]; known && !g.at.After(last) {
			continue
		}
		newest[target] = g.at
		for series, v := range g.samples {
			stored[series] = sampled{g.at, v}
		}
	}
	if len(stored) == 0 {
		t.Error("nothing was scraped")
	}
	for series, last := range stored {
		if last.value != "stale" {
			t.Errorf("%s was never marked stale; its last sample is %s at %s", series, last.value,
				last.at.Format("04:05.000"))
		}
	}
}

// TestSimulationOfOneInstance: whatever happens to a job and its targets, every series is marked stale in the end, and
// nothing of it is left in memory.
func TestSimulationOfOneInstance(t *testing.T) {
	leftOut := 0.0
	eachSeed(t, func(t *testing.T, random *rand.Rand) {
		s := simulate(t, random, func(s *simulation) { s.step(t) })
		s.checkAllMarked(t)
		leftOut += testutil.ToFloat64(s.env.metrics.leftOut.WithLabelValues("envoy"))
		s.tell(t)
	})
	if leftOut == 0 {
		t.Error("no target was slowed")
	}
}

// TestSimulationOfRemovedJobs: a removed job sends no markers, so this checks only that nothing of it is left.
func TestSimulationOfRemovedJobs(t *testing.T) {
	eachSeed(t, func(t *testing.T, random *rand.Rand) {
		simulate(t, random, func(s *simulation) {
			switch s.random.IntN(12) {
			case 0:
				s.note("the job goes")
				s.apply(t)
				pass(time.Duration(s.random.IntN(3)*s.random.IntN(3000)) * time.Millisecond)
				s.reload(t)
			case 1:
				s.note("the job waits for discovery")
				s.Hold([]string{"envoy"})
				s.reload(t)
			default:
				s.step(t)
			}
		}).tell(t)
	})
}

// TestSimulationOfAFleet: three instances share the targets, and their number changes. In the end every target has its
// markers, no two samples of it have the same time, and there is no long gap.
func TestSimulationOfAFleet(t *testing.T) {
	const instances = 3
	leftOut := 0.0
	eachSeed(t, func(t *testing.T, random *rand.Rand) {
		first := func(time.Time) []shard.Period { return []shard.Period{{Count: 1 + random.IntN(instances)}} }
		fleetDuring(t, instances, first, func(t *testing.T, f *fleet) {
			var d diary
			names, all := f.hosts(5)
			for _, name := range names {
				f.pages.set(name, envoyPage)
			}
			for reloads := range 40 {
				f.step(t, &d, random, all, reloads)
				pass(time.Duration(random.IntN(14000)) * time.Millisecond)
			}
			pass(time.Minute)
			d.note("all targets go")
			f.discover()
			pass(2 * time.Minute)
			for i, r := range f.instances {
				leftOut += testutil.ToFloat64(r.env.metrics.leftOut.WithLabelValues("envoy"))
				if n, due := r.table.Len(), len(r.schedule.dueTimes.entries); n != 0 || due != 0 {
					t.Errorf("instance %d still has %d series, %d due times", i, n, due)
				}
			}
			for _, name := range names {
				checkTaken(t, name, f.of(name))
			}
			d.tell(t)
		})
	})
	if leftOut == 0 {
		t.Error("no target was slowed")
	}
}

// step does one random thing to all instances of a fleet.
func (f *fleet) step(t *testing.T, d *diary, random *rand.Rand, all []model.LabelSet, reloads int) {
	switch random.IntN(6) {
	case 0, 1, 2:
		var found []model.LabelSet
		for _, target := range all {
			if random.IntN(3) > 0 {
				found = append(found, target)
			}
		}
		d.note("found %v", found)
		f.discover(found...)
	case 3:
		if last := f.maps[len(f.maps)-1]; last.From.After(time.Now().Add(-25 * time.Second)) {
			return // the previous change has not ended
		}
		count, wait := 1+random.IntN(len(f.instances)), time.Duration(15+random.IntN(30))*time.Second
		next := shard.Period{Count: count, From: time.Now().Add(wait).Round(0)}
		d.note("%d instances from %s", next.Count, next.From.Format("04:05.000"))
		f.maps = append(slices.Clone(f.maps), next)
		for i, r := range f.instances {
			r.Shard(shard.Map{Index: i, Periods: f.maps})
		}
	case 5:
		by := time.Duration(random.IntN(2)*random.IntN(6000)) * time.Millisecond
		d.note("answers after %v", by)
		f.pages.slow(by)
	case 4:
		d.note("reload")
		for _, r := range f.instances {
			r.apply(t, job(t, fmt.Sprintf("  sample_limit: %d\n", 50+reloads)))
		}
	}
}

// checkTaken checks the batches of all instances for a target, in the order of the timestamps.
func checkTaken(t *testing.T, name string, all []taken) {
	const longestGap = 75 * time.Second
	for i := 1; i < len(all); i++ {
		before, s := all[i-1], all[i]
		if before.stale || s.stale {
			continue
		}
		switch d := s.at.Sub(before.at); {
		case d <= 0:
			t.Errorf("%s: two samples at %s, of the instances %d and %d", name, s.at.Format("04:05.000"), before.by,
				s.by)
		case d > longestGap:
			t.Errorf("%s: neither a sample nor a marker between %s and %s",
				name, before.at.Format("04:05.000"), s.at.Format("04:05.000"))
		}
	}
	if n := len(all); n > 0 && !all[n-1].stale {
		last := all[n-1]
		t.Errorf("%s: the last sample, at %s of instance %d, is not marked", name, last.at.Format("04:05.000"), last.by)
	}
}
