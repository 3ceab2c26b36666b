package wire

import (
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// ownRefs are the references of what the series of a stem differ in: the labels __name__ and le, the latter 0
// where there is none.
type ownRefs struct {
	nameKey, name uint32
	leKey, le     uint32
}

// size is how many bytes they take.
func (o *ownRefs) size() int {
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

// forms are the stems of one batch in one request, written once each.
type forms struct {
	byStem recent // index of a stem's form in all
	all    []LabelForm
	refs   []byte        // of all forms
	pairs  []series.Pair // scratch
}

// form is where the labels of a stem stand in refs: [from, name), [name, le), [le, to).
type LabelForm struct {
	from, name, le, to uint32
	nameKey            uint32 // reference of __name__
	bad                bool   // no receiver would take them, or one would drop them silently
}

func (f *forms) forget() {
	f.byStem.begin()
	f.all, f.refs = emptied(f.all), emptied(f.refs)
}

// of returns the form of a stem in the present batch.
func (f *forms) of(
	n *numbering, v series.View, id series.StemID, target series.TargetID, external []labels.Label,
) *LabelForm {
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
func (f *forms) write(
	n *numbering, v series.View, id series.StemID, target series.TargetID, external []labels.Label,
) LabelForm {
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
	return w.LabelForm
}

// labelWriter takes labels in order and checks them as they go by.
type labelWriter struct {
	LabelForm
	refs          []byte
	last          uint32 // name
	named, bucket bool   // the places of __name__ and le are known
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

// externals writes the external labels before the next one ("": to the end), and passes over one of its name.
// afterName and afterLe tell that every label from there on stands behind __name__ or le.
func (w *labelWriter) externals(ext []externalRef, next string, afterName, afterLe bool) (rest []externalRef) {
	for len(ext) > 0 && (next == "" || ext[0].text <= next) {
		x := ext[0]
		ext = ext[1:]
		if x.text == next || x.text == model.MetricNameLabel || x.text == model.BucketLabel {
			continue // the latter are each series' own affair
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
	// Equal names have equal references, and stand side by side.
	w.bad = w.bad || name == 0 || name == badRef || value == badRef || name == w.last
	w.last = name
	w.refs = appendUvarint(appendUvarint(w.refs, uint64(name)), uint64(value))
}

// addExternal gives a series that has no __name__ or le the external one.
func (o *ownRefs) addExternal(external []externalRef) {
	for _, x := range external {
		switch {
		case x.text == model.MetricNameLabel && o.name == 0:
			o.nameKey, o.name = x.name, x.value
		case x.text == model.BucketLabel && o.le == 0:
			o.leKey, o.le = x.name, x.value
		}
	}
}

// appendTextRefs appends the references of labels that write_relabel_configs made. False: they must not be sent.
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
