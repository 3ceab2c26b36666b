package series

import (
	"hash/maphash"

	"github.com/prometheus/common/model"
)

// plan says where in a stem's own labels those of its target belong, so that merging the two compares no text. It
// holds for all targets whose labels have the same names: those of a job.
type plan struct {
	names    uint64 // hash of the names it is for; 0: none, or more labels than it has room for
	at       [maxPlanned]uint8
	name, le uint8 // where __name__ and le belong in the stem's own labels
}

// maxPlanned is how many labels of a target a plan covers.
const maxPlanned = 14

// leaning is what a plan needs to know of a target's labels.
type leaning struct {
	names    uint64 // hash of their names, never 0
	name, le int    // how many of them stand before __name__ and le
}

func (t *Table) leaning(pairs []Pair) (l leaning) {
	var h maphash.Hash
	h.SetSeed(t.seed)
	for _, p := range pairs {
		text := t.text(p.Name)
		_, _ = h.WriteString(text)
		_ = h.WriteByte(0xff)
		if text < model.MetricNameLabel {
			l.name++
		}
		if text < model.BucketLabel {
			l.le++
		}
	}
	l.names = h.Sum64() | 1
	return l
}

// plan makes the plan of a stem for one of its targets.
func (t *Table) plan(own []Pair, e *targetEntry) (p plan) {
	if len(own) > 255 || len(e.pairs) > maxPlanned {
		return plan{}
	}
	p.names = e.leaning.names
	p.name, p.le = t.before(own, model.MetricNameLabel), t.before(own, model.BucketLabel)
	for i, lean := range e.pairs {
		p.at[i] = t.before(own, t.text(lean.Name))
	}
	return p
}

// before counts the labels whose names are less than text.
func (t *Table) before(own []Pair, text string) (n uint8) {
	for _, p := range own {
		if t.text(p.Name) < text {
			n++
		}
	}
	return n
}
