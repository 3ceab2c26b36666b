package exposition

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// TestReplicasAtOnce reads the changing pages of many targets at once, replicas and others, with one Layouts and one
// Table. Targets go and come back. The race detector looks for races, the test for series left behind.
func TestReplicasAtOnce(t *testing.T) {
	table := series.NewTable()
	layouts := NewLayouts(table)
	var wg sync.WaitGroup
	for replica := range 4 {
		for workload := range 3 {
			wg.Go(func() {
				v := newVisitor(t, layouts, workload, replica)
				for round := range 80 {
					v.visit(round)
				}
				v.leave()
			})
		}
	}
	wg.Go(func() { // metrics, read meanwhile
		for range 200 {
			_ = layouts.Len() + table.Len() + table.SymbolCount()
		}
	})
	wg.Wait()
	if s, n, l := table.Len(), table.SymbolCount(), layouts.Len(); s+n+l != 0 {
		t.Errorf("%d series, %d strings, %d layouts left", s, n, l)
	}
}

// visitor reads the pages of one target of a workload. It is its page's Learner.
type visitor struct {
	t        *testing.T
	layouts  *Layouts
	workload int
	random   *rand.Rand
	target   series.TargetID
	labels   labels.Labels
	page     *Page
	live     Shown
	shown    []string // by the last good page: labels as text
	batch    series.Batch
}

func newVisitor(t *testing.T, layouts *Layouts, workload, replica int) *visitor {
	v := &visitor{
		t: t, layouts: layouts, workload: workload, random: rand.New(rand.NewPCG(uint64(workload), uint64(replica))),
		labels: labels.FromStrings(
			"instance", fmt.Sprintf("%d:%d", workload, replica), "workload", fmt.Sprint(workload)),
	}
	v.target = layouts.table.AddTarget(v.labels)
	v.page = NewPage(layouts, v, Options{})
	return v
}

func (*visitor) Late(series.ID, int64) bool { return false }

func (*visitor) Recall(uint64, series.Meta) (series.ID, bool, bool) { return 0, false, false }

func (v *visitor) Learn(_ uint64, printed labels.Labels, m series.Meta) (series.ID, bool, error) {
	return v.layouts.table.Add(v.target, v.final(printed), m), true, nil
}

// final gives a series the labels of the target. Some series lose the label in which replicas differ.
func (v *visitor) final(printed labels.Labels) labels.Labels {
	b := labels.NewBuilder(printed)
	v.labels.Range(func(l labels.Label) { b.Set(l.Name, l.Value) })
	if strings.HasSuffix(printed.Get("n"), "3") {
		b.Del("instance")
	}
	return b.Labels()
}

// lines returns a page of a workload: most lines stay, a few change every few rounds, and one is new in the round. The
// order changes too.
func (v *visitor) lines(round int) (page string, series []string) {
	var b strings.Builder
	b.WriteString("# TYPE m counter\n")
	add := func(n string) {
		fmt.Fprintf(&b, "m{n=%q,w=\"%d\"} %d\n", n, v.workload%2, round)
		printed := labels.FromStrings("__name__", "m", "n", n, "w", fmt.Sprint(v.workload%2))
		series = append(series, v.final(printed).String())
	}
	ns := []string{fmt.Sprint("round", round/2)}
	for i := range 40 {
		if (i+round/4)%7 != 0 {
			ns = append(ns, fmt.Sprint(i))
		}
	}
	if round%5 == 4 {
		slices.Reverse(ns)
	}
	for _, n := range ns {
		add(n)
	}
	return b.String(), series
}

func (v *visitor) visit(round int) {
	page, want := v.lines(round)
	fails := v.random.IntN(6) == 0
	if fails {
		page += "<html>\n"
	}
	v.batch.Reset(v.target, int64(round))
	_, err := v.page.Read(strings.NewReader(page), plain, math.MaxInt64, &v.batch)
	if (err != nil) != fails {
		v.t.Errorf("error %v", err)
	}
	v.readBack(slices.Values(v.batch.Series), want)
	v.readBack(v.live.Series(), v.shown)
	if err != nil {
		v.page.Abandon()
		v.live.Release()
		v.live, v.shown = Shown{}, nil
	} else {
		v.live, v.shown = v.page.Commit(v.live), want
	}
	if v.random.IntN(20) == 0 {
		v.page.Forget()
	}
	if v.random.IntN(20) == 0 {
		v.leave()
		v.target = v.layouts.table.AddTarget(v.labels)
		v.page = NewPage(v.layouts, v, Options{})
		v.live, v.shown = Shown{}, nil
	}
}

// readBack checks the labels of ids as a writer reads them.
func (v *visitor) readBack(ids func(func(series.ID) bool), want []string) {
	v.layouts.table.Read(func(view series.View) {
		i := 0
		for id := range ids {
			var b labels.ScratchBuilder
			for _, p := range view.Labels(nil, id, v.target) {
				b.Add(view.String(p.Name), view.String(p.Value))
			}
			if got := b.Labels().String(); i >= len(want) || got != want[i] {
				v.t.Errorf("series %d is %s", i, got)
			}
			i++
		}
		if i != len(want) {
			v.t.Errorf("%d series, want %d", i, len(want))
		}
	})
}

func (v *visitor) leave() {
	v.page.Forget()
	v.live.Release()
	v.layouts.table.ReleaseTarget(v.target)
}
