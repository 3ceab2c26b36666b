package exposition

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// belowLimit is a number of lines just below the default sample_limit.
const belowLimit = 499_000

// changingPage returns a page on which no series is one of another round: line 7 of round 1 is m7{x="1_7"} 1.
func changingPage(round, lines int) string {
	var page strings.Builder
	for i := range lines {
		fmt.Fprintf(&page, "m%d{x=\"%d_%d\"} 1\n", i, round, i)
	}
	return page.String()
}

// neighbour takes the shared locks as the scrapes of other targets do, until stop is set. It returns its longest wait.
func neighbour(layouts *Layouts, stop *atomic.Bool) (longest time.Duration) {
	table := layouts.table
	target := table.AddTarget(labels.FromStrings("instance", "neighbour"))
	layout := &layout{users: 1}
	for i := 0; !stop.Load(); i++ {
		began := time.Now()
		id := table.Add(target, labels.FromStrings("__name__", "n", "instance", "neighbour", "i", fmt.Sprint(i%100)),
			series.Meta{})
		table.Read(func(v series.View) { v.Parts(id) })
		table.Release(func(yield func(series.ID) bool) { yield(id) })
		layouts.retain(layout)
		layouts.release(layout)
		longest = max(longest, time.Since(began))
	}
	table.ReleaseTarget(target)
	return longest
}

// TestOneChangedPageDoesNotStallOthers commits a page of new series, and one on which none of them is left. It bounds
// how many series, labels and numbers of indexes are handled under one hold of the table's lock. How long a neighbour
// waits for the locks depends on the machine; it is only printed.
func TestOneChangedPageDoesNotStallOthers(t *testing.T) {
	l := newLearner()
	p := NewPage(l.layouts, l, Options{SampleLimit: 500_000})
	var stop atomic.Bool
	waited := make(chan time.Duration)
	go func() { waited <- neighbour(l.layouts, &stop) }()
	var shown Shown
	var b series.Batch
	for round, page := range []string{changingPage(0, belowLimit), "a 1\n"} {
		b.Reset(l.target, int64(round))
		if _, err := p.Read(strings.NewReader(page), plain, math.MaxInt64, &b); err != nil {
			t.Fatal(err)
		}
		shown = p.Commit(shown)
	}
	shown.Release()
	p.Forget()
	stop.Store(true)
	t.Logf("a neighbour waited %v at most", <-waited)
	if most := l.table.MostWork(); most == 0 || most > 10_000 {
		t.Errorf("%d units of work under one hold of the lock, want some and at most 10,000", most)
	} else {
		t.Logf("%d units of work at most under one hold of the lock", most)
	}
	if n := l.table.Len(); n != 0 {
		t.Errorf("%d series left", n)
	}
}

// TestLayoutsAreSharedWithoutTheirLock commits and drops a page while the test holds the table's read lock. Commit has
// to wait for the table, but a reader of the layouts must not wait for Commit.
func TestLayoutsAreSharedWithoutTheirLock(t *testing.T) {
	l := newLearner()
	p := NewPage(l.layouts, l, Options{})
	for round := range 2 {
		var b series.Batch
		b.Reset(l.target, int64(round))
		page := strings.NewReader(fmt.Sprintf("a%d 1\nb 1\n", round))
		if _, err := p.Read(page, plain, math.MaxInt64, &b); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		l.table.Read(func(series.View) {
			go func() {
				defer close(done)
				p.Commit(Shown{}).Release()
			}()
			for range 100_000 { // Commit waits for the table, at the latest when it retains the new series
				l.layouts.Len()
			}
		})
		<-done
	}
	p.Forget()
	if n := l.layouts.Len() + l.table.Len(); n != 0 {
		t.Errorf("%d layouts and series left", n)
	}
}

// TestReplicasThatPublishAtOnceShareOneLayout commits the same page for eight targets at once.
func TestReplicasThatPublishAtOnceShareOneLayout(t *testing.T) {
	l := newLearner()
	for round := range 50 {
		pages := make([]*Page, 8)
		begin := make(chan struct{})
		var wg sync.WaitGroup
		for i := range pages {
			pages[i] = NewPage(l.layouts, l, Options{})
			var b series.Batch
			page := strings.NewReader(fmt.Sprintf("a%d 1\nb 1\n", round))
			if _, err := pages[i].Read(page, plain, math.MaxInt64, &b); err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				<-begin
				pages[i].Commit(Shown{}).Release()
			})
		}
		close(begin)
		wg.Wait()
		if n := l.layouts.Len(); n != 1 {
			t.Fatalf("round %d: %d layouts, want the same for all", round, n)
		}
		for _, p := range pages {
			p.Forget()
		}
	}
	if n := l.layouts.Len() + l.table.Len(); n != 0 {
		t.Errorf("%d layouts and series left", n)
	}
}

// BenchmarkNeighboursWait reports the longest wait of a neighbour for the shared locks while every series of one page
// changes.
func BenchmarkNeighboursWait(b *testing.B) {
	l := newLearner()
	pages := []string{changingPage(0, belowLimit), changingPage(1, belowLimit)}
	p := NewPage(l.layouts, l, Options{SampleLimit: 500_000})
	var stop atomic.Bool
	waited := make(chan time.Duration)
	go func() { waited <- neighbour(l.layouts, &stop) }()
	var batch series.Batch
	round := 0
	for b.Loop() {
		batch.Reset(l.target, int64(round))
		if _, err := p.Read(strings.NewReader(pages[round%2]), plain, math.MaxInt64, &batch); err != nil {
			b.Fatal(err)
		}
		p.Commit(Shown{}).Release()
		round++
	}
	stop.Store(true)
	b.ReportMetric(float64((<-waited).Microseconds())/1000, "ms-longest-wait")
}
