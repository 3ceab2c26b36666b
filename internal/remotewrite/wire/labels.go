package wire

import (
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// seriesRefs are the references of the labels in which the series of a stem differ: __name__ and le. le is 0 if there
// is none.
type seriesRefs struct {
	nameKey, name uint32
	leKey, le     uint32
}

// size returns their size in bytes.
func (o *seriesRefs) size() int {
	n := refSize(o.nameKey) + refSize(o.name)
	if o.le != 0 {
		n += refSize(o.leKey) + refSize(o.le)
	}
	return n
}

func refSize(ref uint32) int {
	switch {
	case ref < 1<<7:
		return 1
	case ref < 1<<14:
		return 2
	}
	return uvarintSize(uint64(ref))
}

// stemForms are the stems of one batch in one request. Each is written once, into refs.
type stemForms struct {
	byStem refTable // index in all, by series.StemID
	all    []StemLabels
	refs   []byte        // of all stems
	pairs  []series.Pair // scratch
}

// StemLabels is the place of the labels of a stem in stemForms.refs, as offsets. The references of __name__ and le of
// a series are written between the three parts [from, name), [name, le) and [le, to). With symbols {0: "", 1: "job",
// 2: "envoy", 3: "zone", 4: "a"}, the stem {job="envoy", zone="a"} is the bytes 1 2 3 4 with name = 0 and le = 2: the
// series m_bucket{le="5"} of this stem is __name__, job, le, zone.
type StemLabels struct {
	from, name, le, to uint32
	nameKey            uint32 // reference of __name__
	bad                bool   // a receiver would refuse the labels, or silently drop them
}

func (f *stemForms) forget() {
	f.byStem.begin()
	f.all, f.refs = emptied(f.all), emptied(f.refs)
}

// of returns the labels of a stem in the present batch.
func (f *stemForms) of(
	n *numbering, v series.View, id series.StemID, target series.TargetID, external []labels.Label,
) *StemLabels {
	if at := f.byStem.at(uint64(id)); at.key == uint64(id) && at.round == f.byStem.round { // nearly always
		return &f.all[at.ref]
	}
	at, ok := f.byStem.find(uint64(id))
	if !ok {
		at = uint32(len(f.all))
		f.byStem.add(uint64(id), at)
		f.all = append(f.all, f.write(n, v, id, target, external))
	}
	return &f.all[at]
}

// write writes the labels of a stem and the external labels that it lacks.
func (f *stemForms) write(
	n *numbering, v series.View, id series.StemID, target series.TargetID, external []labels.Label,
) StemLabels {
	pairs, name, le := v.StemLabels(f.pairs[:0], id, target)
	f.pairs = pairs
	ext := n.externals(external)
	w := labelWriter{refs: f.refs}
	w.from = uint32(len(w.refs))
	for i := range len(pairs) + 1 {
		if len(ext) > 0 {
			next := ""
			if i < len(pairs) && pairs[i].Value != 0 {
				next = v.String(pairs[i].Name)
			} else if i < len(pairs) {
				continue
			}
			ext = w.externals(ext, next, i >= name, i >= le)
		}
		if i >= name {
			w.nameHere()
		}
		if i >= le {
			w.leHere()
		}
		if i < len(pairs) && pairs[i].Value != 0 { // an empty value means no label
			w.label(n.symbol(v, pairs[i].Name), n.symbol(v, pairs[i].Value))
		}
	}
	f.refs = w.refs
	w.to = uint32(len(w.refs))
	w.nameKey = n.symbol(v, series.SymbolName)
	return w.StemLabels
}

// labelWriter writes labels in order, and checks them.
type labelWriter struct {
	StemLabels
	refs          []byte
	last          uint32 // name of the last label
	named, bucket bool   // the places for __name__ and le are known
}

func (w *labelWriter) nameHere() {
	if !w.named {
		w.name, w.named = uint32(len(w.refs)), true
	}
}

func (w *labelWriter) leHere() {
	if !w.bucket {
		w.le, w.bucket = uint32(len(w.refs)), true
	}
}

// externals writes the external labels before the label next ("": to the end). A label of the same name is skipped.
// afterName and afterLe: next and all later labels sort after __name__ or le.
func (w *labelWriter) externals(ext []externalRef, next string, afterName, afterLe bool) (rest []externalRef) {
	for len(ext) > 0 && (next == "" || ext[0].text <= next) {
		x := ext[0]
		ext = ext[1:]
		if x.text == next || x.text == model.MetricNameLabel || x.text == model.BucketLabel {
			continue // __name__ and le belong to each series: see addExternal
		}
		if afterName && x.text > model.MetricNameLabel {
			w.nameHere()
		}
		if afterLe && x.text > model.BucketLabel {
			w.leHere()
		}
		w.label(x.name, x.value)
	}
	return ext
}

func (w *labelWriter) label(name, value uint32) {
	// Equal names have equal references, and are neighbours.
	w.bad = w.bad || name == 0 || name == badRef || value == badRef || name == w.last
	w.last = name
	w.refs = appendUvarint(appendUvarint(w.refs, uint64(name)), uint64(value))
}

// addExternal adds the external __name__ and le to a series without them.
func (o *seriesRefs) addExternal(external []externalRef) {
	for _, x := range external {
		switch {
		case x.text == model.MetricNameLabel && o.name == 0:
			o.nameKey, o.name = x.name, x.value
		case x.text == model.BucketLabel && o.le == 0:
			o.leKey, o.le = x.name, x.value
		}
	}
}

// appendTextRefs appends the references of labels that are not in the table. Not ok: the labels must not be sent.
func appendTextRefs(dst []byte, n *numbering, ls labels.Labels) (refs []byte, ok bool) {
	w := labelWriter{refs: dst}
	named := false
	ls.Range(func(l labels.Label) {
		name, value := n.text(l.Name), n.text(l.Value)
		if value == 0 {
			return
		}
		w.label(name, value)
		named = named || l.Name == model.MetricNameLabel
	})
	return w.refs, named && !w.bad
}
