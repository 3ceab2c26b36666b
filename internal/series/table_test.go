package series

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// allLabels reads the labels of a series back, as an encoder does.
func allLabels(t *testing.T, table *Table, id ID, target TargetID) labels.Labels {
	t.Helper()
	var b labels.ScratchBuilder
	table.Read(func(v View) {
		for _, p := range v.Labels(nil, id, target) {
			b.Add(v.String(p.Name), v.String(p.Value))
		}
	})
	return b.Labels() // not sorted here: View.Labels must return them sorted
}

func TestReplicasShareSeries(t *testing.T) {
	table := NewTable()
	a := table.AddTarget(labels.FromStrings("instance", "a", "job", "envoy"))
	b := table.AddTarget(labels.FromStrings("instance", "b", "job", "envoy"))
	inA := labels.FromStrings("__name__", "up", "instance", "a", "job", "envoy", "zone", "z")
	inB := labels.FromStrings("__name__", "up", "instance", "b", "job", "envoy", "zone", "z")
	idA, idB := table.Add(a, inA, Meta{}), table.Add(b, inB, Meta{})
	if idA != idB {
		t.Errorf("ids %d and %d, want one", idA, idB)
	}
	if got := allLabels(t, table, idA, a); !labels.Equal(got, inA) {
		t.Errorf("in a: got %v want %v", got, inA)
	}
	if got := allLabels(t, table, idB, b); !labels.Equal(got, inB) {
		t.Errorf("in b: got %v want %v", got, inB)
	}
}

func TestRulesMayChangeLabelsOfTheTarget(t *testing.T) {
	for name, final := range map[string]labels.Labels{
		"unchanged": labels.FromStrings("__name__", "x", "instance", "a", "job", "envoy"),
		"dropped":   labels.FromStrings("__name__", "x", "job", "envoy"),
		"rewritten": labels.FromStrings("__name__", "x", "instance", "other", "job", "envoy"),
		"all gone":  labels.FromStrings("__name__", "x"),
		"le and quantile": labels.FromStrings("__name__", "x", "instance", "a", "job", "envoy",
			"le", "0.5", "quantile", "1"),
		"no name": labels.FromStrings("A", "1", "instance", "a", "job", "envoy", "le", "0.5"),
		"around the name": labels.FromStrings("A", "1", "_A", "2", "__name__", "x", "_a", "3",
			"instance", "a", "job", "envoy", "le", "0.5"),
		"before and between": labels.FromStrings("__name__", "x", "a", "1", "instance", "a",
			"j", "2", "job", "envoy", "z", "3"),
	} {
		t.Run(name, func(t *testing.T) {
			table := NewTable()
			target := table.AddTarget(labels.FromStrings("instance", "a", "job", "envoy"))
			id := table.Add(target, final, Meta{Type: model.MetricTypeCounter, Help: "h"})
			if got := allLabels(t, table, id, target); !labels.Equal(got, final) {
				t.Errorf("got %v want %v", got, final)
			}
			table.Read(func(v View) {
				want := final.Get("instance") == "a" && final.Get("job") == "envoy"
				if got := v.Whole(v.Parts(id).Stem); got != want {
					t.Errorf("Whole %v, want %v", got, want)
				}
				if typ, help, _ := v.Meta(v.Parts(id).Meta); typ != model.MetricTypeCounter || v.String(help) != "h" {
					t.Errorf("metadata %v %q", typ, v.String(help))
				}
			})
		})
	}
}

func TestTargetWithMoreLabelsThanTheMaskHasBits(t *testing.T) {
	var b labels.ScratchBuilder
	for i := range 100 {
		b.Add(fmt.Sprintf("l%03d", i), "v")
	}
	table := NewTable()
	target := table.AddTarget(b.Labels())
	final := labels.NewBuilder(b.Labels()).Set("__name__", "x").Labels()
	id := table.Add(target, final, Meta{})
	if got := allLabels(t, table, id, target); !labels.Equal(got, final) {
		t.Errorf("got %v want %v", got, final)
	}
}

func TestEverythingIsGivenBack(t *testing.T) {
	table := NewTable()
	for round := range 3 {
		target := table.AddTarget(labels.FromStrings("instance", fmt.Sprint(round)))
		var ids []ID
		for i := range 1000 {
			final := labels.FromStrings("__name__", "m", "i", fmt.Sprint(i%500),
				"instance", fmt.Sprint(round), "round", fmt.Sprint(round))
			ids = append(ids, table.Add(target, final, Meta{Help: fmt.Sprint("help", i)}))
		}
		if got := table.Len(); got != 500 {
			t.Fatalf("round %d: %d series, want 500", round, got)
		}
		table.Release(slices.Values(ids))
		table.ReleaseTarget(target)
		if s, n := table.SymbolCount(), table.Len(); s != 0 || n != 0 {
			t.Fatalf("round %d: %d symbols and %d series left, want none", round, s, n)
		}
	}
	if got := table.entries.size(); got > 2*slabLen {
		t.Errorf("entries grew to %d: ids are not reused", got)
	}
	if got := table.strings.size(); got > 4*slabLen {
		t.Errorf("symbols grew to %d: numbers are not reused", got)
	}
}

func TestReuseChangesTheGeneration(t *testing.T) {
	table := NewTable()
	target := table.AddTarget(labels.EmptyLabels())
	gens := func(id ID) (idGen, symGen uint32) {
		table.Read(func(v View) {
			p := v.Labels(nil, id, target)
			idGen, symGen = v.Gen(id), v.SymbolGen(p[0].Value)
		})
		return idGen, symGen
	}
	first := table.Add(target, labels.FromStrings("__name__", "a"), Meta{})
	idGen, symGen := gens(first)
	table.Release(slices.Values([]ID{first}))
	second := table.Add(target, labels.FromStrings("__name__", "b"), Meta{})
	if second != first {
		t.Skip("the id was not reused")
	}
	if id2, sym2 := gens(second); id2 == idGen || sym2 == symGen {
		t.Errorf("generations unchanged: id %d, symbol %d", id2, sym2)
	}
}

// TestConcurrentTargetsThatShareSeries retains, reads and releases the same series from eight goroutines, a few at a
// time, so that the calls interrupt each other.
func TestConcurrentTargetsThatShareSeries(t *testing.T) {
	table := newTable(3, 2)
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for range 50 {
				target := table.AddTarget(labels.FromStrings("instance", fmt.Sprint(worker%3)))
				var ids []ID
				for i := range 20 {
					final := labels.FromStrings("__name__", "m", "i", fmt.Sprint(i), "instance", fmt.Sprint(worker%3))
					ids = append(ids, table.Add(target, final, Meta{}))
				}
				table.Retain(slices.Values(ids))
				table.Release(slices.Values(ids))
				table.Read(func(v View) {
					for i, id := range ids {
						v.Pause()
						for _, p := range v.Labels(nil, id, target) {
							if v.String(p.Name) == "i" && v.String(p.Value) != fmt.Sprint(i) {
								t.Errorf("series %d reads %s", i, v.String(p.Value))
							}
						}
					}
				})
				table.Release(slices.Values(ids))
				table.ReleaseTarget(target)
			}
		})
	}
	wg.Wait()
	if table.Len() != 0 || table.SymbolCount() != 0 {
		t.Errorf("%d series, %d symbols left", table.Len(), table.SymbolCount())
	}
}
