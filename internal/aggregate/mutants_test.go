package aggregate

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/internal/mutants"
)

// mistakes are mistakes that the model test must find.
func mistakes() []mutants.Mutant {
	one, change := mutants.One, mutants.Change
	return []mutants.Mutant{
		one("the first scrape is counted", "carry.go", "v, b := math.NaN(),", "v, b := 0.0,"),
		one("state is kept over a reload that changes the block", "carry.go",
			"case n >= 0 && f.blocks[n] == b:", "case n >= 0 && f.blocks[n] != nil:"),
		one("a failed scrape is taken for an empty page", "aggregates.go",
			"a.takePage(s, b, now)\n\t}\n\ts.rest",
			"a.takePage(s, b, now)\n\t} else if left != nil {\n\t\ts.layout, s.last = &layout{users: 1}, nil\n\t}\n"+
				"\ts.rest"),
		one("a restart is ignored", "source.go", "return had > 0 &&", "return false && had > 0 &&"),
		one("a birth is ignored", "carry.go", "if s.feed.blocks[ref.group()-1].SkipFirst {", "if true {"),
		one("a birth is counted although the block leaves it out", "carry.go",
			"if s.feed.blocks[ref.group()-1].SkipFirst {", "if false {"),
		one("a page is counted before it is complete", "aggregates.go",
			"a.metrics.resets.Add(float64(s.count(values)))",
			`first, second := slices.Clone(values), slices.Clone(values)
			for i := range values {
				if i < len(values)/2 {
					second[i] = -1
				} else {
					first[i] = -1
				}
			}
			s.count(first)
			for _, g := range s.feed.locks {
				a.write(g, now.UnixMilli())
			}
			s.count(second)`),
		mutants.Of("all of a page is counted after a failed scrape",
			change("aggregates.go", "if s.good = b.Origin.Good; s.good {",
				"was := s.good\n\tif s.good = b.Origin.Good; s.good {"),
			change("aggregates.go", "\t\ta.takePage(s, b, now)\n",
				"\t\tif !was {\n\t\t\tclear(s.last)\n\t\t}\n\t\ta.takePage(s, b, now)\n"),
		),
		mutants.Of("totals are loaded after a restart",
			change("learn.go", "if !added {\n\t\t\tl.table.Release", `if added {
			key := slotName{g, slot}
			slotNames.Store(key, to.String())
			if v, ok := savedTotals.Load(to.String()); ok {
				g.slots[slot].total = v.(float64)
			}
		}
		if !added {
			l.table.Release`),
			change("group.go", "case s.kind == counter:\n\t\t\tb.Add(s.id, s.total)", `case s.kind == counter:
			if name, ok := slotNames.Load(slotName{g, uint32(n)}); ok {
				savedTotals.Store(name, s.total)
			}
			b.Add(s.id, s.total)`),
			change("group.go", "type slotState uint8", `type slotName struct {
	group *group
	slot  uint32
}

var slotNames, savedTotals sync.Map

type slotState uint8`),
		),
		one("the first sample is not 0", "group.go", "b.Add(s.id, 0)", "b.Add(s.id, s.total)"),
		mutants.Of("what was known of a target that moves away is kept",
			change("aggregates.go", "s := a.sources[id]\n\tdelete(a.sources, id)\n\ta.mu.Unlock()",
				"a.mu.Unlock()\n\tvar s *source"),
			change("feeds.go", "s := &source{", `var labelsOf labels.Labels
	a.table.Read(func(v series.View) { labelsOf = v.TargetLabels(b.Target) })
	again := a.table.AddTarget(labelsOf)
	defer a.table.ReleaseTarget(again)
	for _, old := range a.sources {
		if old.target == again && old.feed != nil {
			a.sources[b.Origin.Source] = old
			return old
		}
	}
	s := &source{`),
		),
		one("pages under other rules are compared", "aggregates.go", "if b.Origin.Gap {", "if false {"),
		one("the lines of a histogram begin again one by one", "aggregates.go",
			"if s.mayHaveReset(values) {", "if false {"),
		one("a bucket may grow by more than the next one", "resets.go",
			"above = min(above, v-*last)", "above = v - *last"),
		one("series that are missing are forgotten", "aggregates.go", "s.lose(l, b.Origin.Partial, a.table, now)",
			"_ = now"),
		one("series that are missing are forgotten if the blocks change", "lost.go",
			"s.loseFormer(&find, gone)", "_ = gone"),
		one("series that no block summed are new when they return", "lost.go",
			"b, last := notSummed, math.NaN()", "b, last := (*block)(nil), math.NaN()"),
		one("series that return in another process are compared", "source.go",
			"return uptime >= 0 && uptime < s.uptime &&", "return false &&"),
		one("series that come with the first uptime are new", "source.go",
			"return s.uptime < 0 && (", "return false && ("),
		one("series that have returned are still missing", "lost.go",
			"if f.blocks[row] = nil; was != b {", "if was != b {"),
		one("series that return say whether the process is another", "carry.go",
			"\ts.layout, s.last = to, last\n", `	s.layout, s.last = to, last
	s.countReturned()
`),
		one("new lines of a page that leaves out lines are counted", "aggregates.go",
			"s.partial || b.Origin.Partial || s.lacked", "s.lacked"),
		one("lines that a page leaves out are gone", "lost.go", "&& !partial:", ":"),
		mutants.Of("a source without a block is dropped at once",
			change("apply.go", "for _, s := range a.sources {", "for id, s := range a.sources {"),
			change("apply.go", "\t\t\ta.retire(s)\n", `			a.retire(s)
			if len(a.blocks.byJob[s.job]) == 0 {
				delete(a.sources, id)
				a.drop(s)
			}
`),
		),
		one("a young process is counted although another instance may have counted it", "source.go",
			"min(2*interval, inForce)", "inForce"),
		one("a young process is counted again when its pod is found again", "feeds.go",
			"s.wasYoung = a.clock().Before(a.young[target.Hash()])", ""),
		one("a fall is taken for nothing", "source.go", "slot.total += counted(v)", "slot.total += 0"),
		one("a fall is counted as it is", "source.go", "slot.total += counted(v)", "slot.total += grown"),
		one("aggregates end too early", "group.go",
			">= blocks.idleSeconds(s.block)", ">= blocks.idleSeconds(s.block)/2"),
		one("aggregates end too late", "group.go",
			">= blocks.idleSeconds(s.block)", ">= blocks.idleSeconds(s.block)*2"),
		one("aggregates end without a marker", "group.go",
			"if s.state == shown {\n\t\t\t\tb.Add(s.id, series.StaleMarker())\n\t\t\t}\n\t\t\tfreed", "freed"),
		one("samples after the clock was set back are out of order", "ticks.go", "if at <= g.ticked {", "if false {"),
		one("series that were never sent get markers", "rest.go", "return past{marked: !s.again}", "return past{}"),
		one("series that are summed now get no markers", "rest.go",
			"if b.Origin.Good && !before.marked {", "if false {"),
		one("the share of a target that is gone is taken away", "aggregates.go", "s.layout, s.last = nil, nil", `k := 0
		for _, ref := range s.layout.refs {
			if ref != 0 {
				s.feed.slot(ref).total -= s.last[k]
				k++
			}
		}
		s.layout, s.last = nil, nil`),
	}
}

// TestMutantsFit: the texts that mutants change are there.
func TestMutantsFit(t *testing.T) {
	for _, m := range mistakes() {
		t.Run(m.Name, func(t *testing.T) { m.Texts(t) })
	}
}

// TestModelFindsMutants: with each mistake the model test fails. It compiles the package for each, so it runs only with
// MODEL_MUTANTS=1, as many at a time as there are processors.
func TestModelFindsMutants(t *testing.T) {
	if os.Getenv("MODEL_MUTANTS") != "1" {
		t.Skip("MODEL_MUTANTS=1 runs it; it takes minutes")
	}
	for _, m := range mistakes() {
		t.Run(m.Name, func(t *testing.T) {
			t.Parallel()
			output, passed := mutants.Run(t, m.Build(t), "TestModel", "MODEL_MUTANTS=", "MODEL_FIRST=0",
				"MODEL_SEEDS=1000")
			switch {
			case passed:
				t.Error("the model test passes")
			case !strings.Contains(output, "--- FAIL: TestModel"):
				t.Errorf("the model test does not end:\n%s", output)
			default:
				t.Logf("%s finds it: %s", regexp.MustCompile(`MODEL_FIRST=\d+`).FindString(output),
					mutants.FirstProblem(output))
			}
		})
	}
}
