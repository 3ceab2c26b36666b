package pack

import (
	"github.com/cespare/xxhash/v2"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// labelMaker makes the label set of a series as rules see it: external labels included. It keeps its memory for the
// next one.
type labelMaker struct {
	builder *labels.Builder
	scratch labels.ScratchBuilder
	pairs   []series.Pair
}

func (w *labelMaker) make(v series.View, id series.ID, target series.TargetID, external []labels.Label) labels.Labels {
	if w.builder == nil {
		w.builder = labels.NewBuilder(labels.EmptyLabels())
	}
	w.pairs = v.Labels(w.pairs[:0], id, target)
	w.scratch.Reset()
	for _, p := range w.pairs {
		if p.Value != 0 {
			w.scratch.Add(v.String(p.Name), v.String(p.Value))
		}
	}
	w.builder.Reset(w.scratch.Labels())
	for _, l := range external {
		if w.builder.Get(l.Name) == "" {
			w.builder.Set(l.Name, l.Value)
		}
	}
	return w.builder.Labels()
}

// hashLabels returns a hash that is the same in every process. It must agree with hashSeries.
func hashLabels(ls labels.Labels) uint64 {
	var buf [1024]byte
	b := buf[:0]
	ls.Range(func(l labels.Label) { b = appendHashed(b, l.Name, l.Value) })
	return xxhash.Sum64(b)
}

// hashSeries hashes the labels of a series as the table has them.
func hashSeries(v series.View, pairs []series.Pair) uint64 {
	var buf [1024]byte
	b := buf[:0]
	for _, p := range pairs {
		if p.Value != 0 {
			b = appendHashed(b, v.String(p.Name), v.String(p.Value))
		}
	}
	return xxhash.Sum64(b)
}

func appendHashed(b []byte, name, value string) []byte {
	b = append(append(b, name...), 0xff)
	return append(append(b, value...), 0xff)
}
