package remotewrite

import (
	"math/rand/v2"
	"testing"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// TestLabelsStayInOrder writes series whose own, target's and external labels stand before, between and after
// __name__ and le in every way, and compares what a receiver reads with labels.Builder.
func TestLabelsStayInOrder(t *testing.T) {
	names := []string{"A", "Z", "_a", "__name", "__name__x", "__namf", "a", "b", "k", "ld", "lea", "lf", "y", "z", "le"}
	r := rand.New(rand.NewPCG(3, 4))
	some := func(value string) labels.Labels {
		b := labels.NewBuilder(labels.EmptyLabels())
		for range r.IntN(8) {
			b.Set(names[r.IntN(len(names))], value)
		}
		return b.Labels()
	}
	for range 2000 {
		w := newWorld(t, endpointConfig("a"))
		w.cfg.ExternalLabels = some("external")
		w.apply()
		public := some("target")
		id := w.table.AddTarget(public)
		lb := labels.NewBuilder(public)
		some("own").Range(func(l labels.Label) { lb.Set(l.Name, l.Value) })
		if !public.IsEmpty() && r.IntN(4) == 0 { // a rule may have dropped one of the target's
			lb.Del(names[r.IntN(len(names))])
		}
		final := lb.Set("__name__", "m").Labels()
		var b series.Batch
		b.Reset(id, 1000)
		b.Add(w.table.Add(id, final, series.Meta{}), 1)
		w.append(&b)

		want := labels.NewBuilder(final)
		w.cfg.ExternalLabels.Range(func(l labels.Label) {
			if final.Get(l.Name) == "" {
				want.Set(l.Name, l.Value)
			}
		})
		for _, m := range w.messages() {
			req := decodeV2(t, m)
			var got []string
			for _, ref := range req.Timeseries[0].LabelsRefs {
				got = append(got, req.Symbols[ref])
			}
			if have := labels.FromStrings(got...); !labels.Equal(have, want.Labels()) {
				t.Fatalf("%v of target %v with external %v: got %v", final, public, w.cfg.ExternalLabels, got)
			}
			for i := 2; i < len(got); i += 2 {
				if got[i-2] >= got[i] {
					t.Fatalf("%v of target %v with external %v is out of order: %v", final, public,
						w.cfg.ExternalLabels, got)
				}
			}
		}
	}
}
