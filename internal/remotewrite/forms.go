package remotewrite

import (
	"math"

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
	epoch  uint32 // counts forget
	byStem []stemRef
	all    []form
	refs   []byte // of all forms
}

// stemRef leads from a stem to its form, if the epoch is the current one.
type stemRef struct{ epoch, form uint32 }

// form is where the labels of a stem stand in refs: [from, name), [name, le), [le, to).
type form struct {
	from, name, le, to uint32
	nameKey            uint32 // reference of __name__
	bad                bool   // no receiver would take them, or one would drop them silently
}

func (f *forms) forget() {
	if f.epoch++; f.epoch == 0 { // after 2^32 old entries would count again
		clear(f.byStem)
		f.epoch = 1
	}
	f.all, f.refs = f.all[:0], f.refs[:0]
}

// form returns the form of a stem in the present batch.
func (e *encoder) form(v series.View, id series.StemID, target series.TargetID, external []labels.Label) *form {
	f := &e.forms
	if int(id) < len(f.byStem) {
		if r := f.byStem[id]; r.epoch == f.epoch {
			return &f.all[r.form]
		}
	} else {
		f.byStem = grown(f.byStem, v.Stems())
	}
	f.byStem[id] = stemRef{f.epoch, uint32(len(f.all))}
	f.all = append(f.all, e.writeForm(v, id, target, external))
	return &f.all[len(f.all)-1]
}

// writeForm writes the labels of a stem and the external ones that it lacks.
func (e *encoder) writeForm(v series.View, id series.StemID, target series.TargetID, external []labels.Label) form {
	w := labelWriter{refs: e.forms.refs, nameAt: math.MaxInt, leAt: math.MaxInt}
	w.from = uint32(len(w.refs))
	e.pairs = v.StemLabels(e.pairs[:0], id, target)
	ext := e.numbers.externals(external)
	for _, p := range e.pairs {
		if p.Value == 0 { // an empty value means no label
			continue
		}
		text := v.String(p.Name)
		for len(ext) > 0 && ext[0].text < text {
			w.external(ext[0])
			ext = ext[1:]
		}
		if len(ext) > 0 && ext[0].text == text {
			ext = ext[1:]
		}
		w.label(text, e.numbers.symbol(v, p.Name), e.numbers.symbol(v, p.Value))
	}
	for _, x := range ext {
		w.external(x)
	}
	e.forms.refs = w.refs
	w.nameKey = e.numbers.symbol(v, series.SymbolName)
	return w.finish()
}

// labelWriter takes labels in order and checks them as they go by.
type labelWriter struct {
	form
	refs         []byte
	last         uint32 // name
	nameAt, leAt int    // where __name__ and le belong in refs; MaxInt: behind every label so far
}

func (w *labelWriter) external(x externalRef) {
	if x.text != model.MetricNameLabel && x.text != model.BucketLabel { // those are each series' own affair
		w.label(x.text, x.name, x.value)
	}
}

func (w *labelWriter) label(text string, name, value uint32) {
	if text > model.MetricNameLabel {
		w.nameAt = min(w.nameAt, len(w.refs))
	}
	if text > model.BucketLabel {
		w.leAt = min(w.leAt, len(w.refs))
	}
	// Equal names have equal references, and stand side by side.
	w.bad = w.bad || name == 0 || name == badRef || value == badRef || name == w.last
	w.last = name
	w.refs = appendUvarint(appendUvarint(w.refs, uint64(name)), uint64(value))
}

func (w *labelWriter) finish() form {
	end := len(w.refs)
	w.name, w.le, w.to = uint32(min(w.nameAt, end)), uint32(min(w.leAt, end)), uint32(end)
	return w.form
}

// addExternal gives a series that has no __name__ or le the external one.
func (e *encoder) addExternal(l *ownRefs, external []labels.Label) {
	for _, x := range e.numbers.externals(external) {
		switch {
		case x.text == model.MetricNameLabel && l.name == 0:
			l.nameKey, l.name = x.name, x.value
		case x.text == model.BucketLabel && l.le == 0:
			l.leKey, l.le = x.name, x.value
		}
	}
}

// textLabels puts the references of labels that write_relabel_configs made into e.refs. False: they must not be
// sent.
func (e *encoder) textLabels(ls labels.Labels) bool {
	var last uint32 // name
	named, bad := false, false
	refs := e.refs[:0]
	ls.Range(func(l labels.Label) {
		name, value := e.numbers.text(l.Name), e.numbers.text(l.Value)
		if value == 0 {
			return
		}
		bad = bad || name == 0 || name == badRef || value == badRef || name == last
		named = named || l.Name == model.MetricNameLabel
		last = name
		refs = appendUvarint(appendUvarint(refs, uint64(name)), uint64(value))
	})
	e.refs = refs
	return named && !bad
}
