package pack

import (
	"maps"
	"slices"
	"testing"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// TestOtherRowsWithoutMetadataAreNoColumn: a rule drops the first series of a page, and the others have no metadata.
func TestOtherRowsWithoutMetadataAreNoColumn(t *testing.T) {
	p := newPackingBy(t, streamSettings(func(rw *promconfig.RemoteWriteConfig) {
		rw.WriteRelabelConfigs = []*relabel.Config{{SourceLabels: model.LabelNames{"__name__"}, Separator: ";",
			Regex: relabel.MustNewRegexp("dropped"), Action: relabel.Drop, NameValidationScheme: model.UTF8Validation}}
	}))
	public := labels.FromStrings("instance", "pod", "job", "envoy")
	pod := page{id: p.table.AddTarget(public)}
	add := func(name string) series.ID {
		return p.table.Add(pod.id, labels.NewBuilder(public).Set("__name__", name).Labels(), series.Meta{})
	}
	dropped, a, b, c := add("dropped"), add("a"), add("b"), add("c")
	for n, ids := range [][]series.ID{{a, b}, {a, b}, {b, a}, {b, c}, {a, b, c}} {
		pod.ids = append([]series.ID{dropped}, ids...)
		batch := p.scrape(pod, int64(n+1)*1000)
		want := map[string][]float64{}
		for i, id := range ids {
			batch.Values[i+1] = float64(id)
			want[map[series.ID]string{a: "a", b: "b", c: "c"}[id]] = []float64{float64(id)}
		}
		kinds, got := p.takeBare(batch)
		if !maps.EqualFunc(got, want, slices.Equal) {
			t.Errorf("scrape %d: %v %v, want %v", n+1, kinds, got, want)
		}
	}
}
