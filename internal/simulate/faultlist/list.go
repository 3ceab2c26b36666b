// Package faultlist is the faults that are in force at a part of a simulation.
package faultlist

import (
	"iter"
	"slices"
)

// List is faults with names, in the order in which they began. The zero value is empty. Not safe for concurrent use.
type List[F any] struct{ entries []entry[F] }

type entry[F any] struct {
	name  string
	fault F
}

// Begin begins a fault. An earlier one of the same name ends.
func (l *List[F]) Begin(name string, f F) {
	l.End(name)
	l.entries = append(l.entries, entry[F]{name, f})
}

// End ends the fault with a name. It does nothing if there is none.
func (l *List[F]) End(name string) {
	l.entries = slices.DeleteFunc(l.entries, func(e entry[F]) bool { return e.name == name })
}

// All returns the faults, the first one first.
func (l *List[F]) All() iter.Seq[F] {
	return func(yield func(F) bool) {
		for _, e := range l.entries {
			if !yield(e.fault) {
				return
			}
		}
	}
}

// Last returns the fault that began last; the zero value: there is none.
func (l *List[F]) Last() (last F) {
	if n := len(l.entries); n > 0 {
		last = l.entries[n-1].fault
	}
	return last
}

// Clone returns a copy.
func (l *List[F]) Clone() List[F] { return List[F]{slices.Clone(l.entries)} }
