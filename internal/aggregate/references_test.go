package aggregate

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// TestNothingIsLeftAtTheEnd: every series and target that the aggregates held is given back.
func TestNothingIsLeftAtTheEnd(t *testing.T) {
	table := series.NewTable()
	a := New(table, nowhere{}, zap.NewNop(), prometheus.NewRegistry())
	now := start
	a.clock = func() time.Time { return now }
	a.Apply([]Block{istio()})
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 200 {
		replica := random.IntN(20)
		p := page(table, replica, 20+random.IntN(50), a)
		p.Time = now.UnixMilli()
		if err := a.Append(p); err != nil {
			t.Fatal(err)
		}
		if i%7 == 0 {
			a.Forget(p.Origin.Source)
		}
		if i%50 == 20 {
			block := istio()
			block.Idle += time.Duration(i) * time.Second
			a.Apply([]Block{istio(), block})
		}
		table.Release(func(yield func(series.ID) bool) {
			for _, id := range p.Series {
				if !yield(id) {
					return
				}
			}
		})
		table.ReleaseTarget(p.Target)
		now = now.Add(3 * time.Second)
		a.tickAll(now)
	}
	for r := range 20 {
		a.Forget(series.SourceID(r + 1))
	}
	for range 2 {
		now = now.Add(20 * time.Minute)
		a.tickAll(now)
	}
	if n := table.Len(); n != 0 {
		t.Errorf("%d series left", n)
	}
	if n := table.SymbolCount(); n != 0 {
		t.Errorf("%d strings left, so a target is left", n)
	}
}

// TestReplicasShareALayout: the second replica costs its values only.
func TestReplicasShareALayout(t *testing.T) {
	table := series.NewTable()
	a := New(table, nowhere{}, zap.NewNop(), prometheus.NewRegistry())
	a.Apply([]Block{istio()})
	for r := range 10 {
		if err := a.Append(page(table, r, 100, a)); err != nil {
			t.Fatal(err)
		}
	}
	layouts := map[*layout]bool{}
	for _, s := range a.sources {
		layouts[s.layout] = true
	}
	if len(layouts) != 1 {
		t.Errorf("%d layouts, want 1", len(layouts))
	}
}

// TestBoundsAreForgotten: numbers of bounds are used again.
func TestBoundsAreForgotten(t *testing.T) {
	b := newBed(t, istio())
	for i := range 300 { // more than there are numbers for bounds
		a := b.target(fmt.Sprint(i))
		a.scrape(histogram(1, fmt.Sprint(i), "+Inf")...)
		b.wait(10 * time.Second)
		a.end()
		b.wait(6 * time.Minute)
	}
	if len(b.a.groups) != 0 {
		t.Errorf("%d groups left", len(b.a.groups))
	}
	b.target("last").scrape(append(histogram(1, "+Inf"), line{"istio_x_total", "", model.MetricTypeCounter, 1})...)
	if n := len(b.a.allGroups()[0].bounds.entries); n != 2 {
		t.Errorf("%d bounds, want 1", n-1)
	}
}

// TestConcurrentUse is for the race detector: scrapes, ticks, reloads, pages and ends at once.
func TestConcurrentUse(t *testing.T) {
	table := series.NewTable()
	a := New(table, nowhere{}, zap.NewNop(), prometheus.NewRegistry())
	a.Apply([]Block{istio()})
	var all sync.WaitGroup
	for r := range 8 {
		all.Go(func() {
			for i := range 50 {
				p := page(table, r, 30+i%3, a)
				p.Interval = time.Millisecond
				_ = a.Append(p)
				if i%20 == 19 {
					a.Forget(p.Origin.Source)
				}
			}
		})
	}
	all.Go(func() {
		for range 200 {
			a.tickAll(time.Now())
			testutil.CollectAndCount(newSizes(a))
			a.Of([]labels.Labels{replicaLabels(3), replicaLabels(7)})
			for _, g := range a.Status().Groups {
				sums, _ := a.Series(g.Labels, nil, 0, 10)
				for _, sum := range sums {
					a.Sources(g.Labels, sum.Series, 0, 10)
				}
			}
		}
	})
	all.Go(func() {
		for i := range 50 {
			block := istio()
			block.Idle += time.Duration(i%2) * time.Second
			a.Apply([]Block{block})
		}
	})
	all.Wait()
}

// TestAPageThatChangesAtEachScrapeIsBounded: aggregates without a source do not fill the memory.
func TestAPageThatChangesAtEachScrapeIsBounded(t *testing.T) {
	b := newBed(t, istio())
	a := b.target("a")
	most := 0
	for i := range 20 {
		var lines []line
		for n := range 2000 {
			lines = append(lines, line{"istio_requests_total", fmt.Sprintf("path=/%d/%d", i, n),
				model.MetricTypeCounter, 1})
		}
		a.scrape(lines...)
		b.wait(10 * time.Second)
		most = max(most, len(b.a.allGroups()[0].byID))
	}
	if want := mostIdle + 2*2000; most > want || most < mostIdle {
		t.Errorf("%d aggregates at most, want %d to %d", most, mostIdle, want)
	}
}
