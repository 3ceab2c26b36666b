package exposition

import (
	"iter"
	"sync"

	"github.com/envoy-scraper/envoy-scraper/internal/hashindex"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// Line is a line of a page that was shown, for reports on what pages consist of.
type Line struct {
	Kind     LineKind
	Repeated bool      // of LineSeries: an earlier line of the page has the same series
	Length   int       // bytes without the value, the blank before it and the newline; 0: more than 65,535
	Series   series.ID // of LineSeries
	Family   uint64    // of LineFamily: the argument of Shown.FamilyName
}

// LineKind says what a line is.
type LineKind uint8

// The kinds of lines.
const (
	LineSeries  LineKind = iota
	LineDropped          // a sample that metric relabeling left out
	LineFamily           // TYPE or HELP
	LineComment
)

// Lines yields the lines of the page in their order. The caller has called Hold, or owns s.
func (s Shown) Lines() iter.Seq[Line] {
	return func(yield func(Line) bool) {
		if s.layout == nil {
			return
		}
		// Where no line is expected, the mark of a duplicate is also on series that staleness does not follow.
		marked := s.layout.expected > 0
		var earlier hashindex.Set
		for i, ref := range s.layout.refs[:s.layout.shown] {
			line := Line{}
			if i < len(s.layout.lengths) { // Layouts.Show keeps no lengths
				line.Length = int(s.layout.lengths[i])
			}
			switch ref.kind() {
			case refSeries:
				line.Series, line.Repeated = ref.id(), ref.duplicate()
				if !marked {
					line.Repeated = !earlier.Add(uint32(line.Series))
				}
			case refDropped:
				line.Kind = LineDropped
			case refFamily:
				line.Kind, line.Family = LineFamily, s.layout.families[ref.number()].hash
			default:
				line.Kind = LineComment
			}
			if !yield(line) {
				return
			}
		}
	}
}

// Hold takes a reference of what s shows, so that the series stay what they are until Release. Any goroutine may call
// it. It returns false if nobody holds s any more.
func (s Shown) Hold() bool {
	if s.layout == nil {
		return true
	}
	s.from.mu.Lock()
	defer s.from.mu.Unlock()
	if s.layout.users == 0 {
		return false
	}
	s.layout.users++
	return true
}

// Same reports whether two pages have the same lines, values apart.
func (s Shown) Same(other Shown) bool { return s.layout == other.layout }

// Order returns a number that is the same for pages with the same lines, and rarely for others. Sorting by it brings
// pages with the same lines together.
func (s Shown) Order() uint64 {
	if s.layout == nil {
		return 0
	}
	return s.layout.key
}

// FamilyName returns the name of a family by Line.Family; "" if it is not known.
func (s Shown) FamilyName(family uint64) string {
	if s.from == nil {
		return ""
	}
	return s.from.names.of(family)
}

const (
	maxFamilyNames     = 1 << 11 // a mesh has some hundreds
	maxFamilyNameBytes = 256
)

// familyNames are the names of families by their hash, as TYPE lines of any target gave them. Layouts hold only the
// hash; the name says to people to which family a line belongs that metric relabeling left out.
//
// Names are noted when a TYPE line is learned, never when it is read again. They stay until the process ends: at most
// 700 KiB, and some 30 KiB for a mesh.
type familyNames struct {
	mu     sync.Mutex // guards the following
	byHash map[uint64]string
}

// note keeps the name of a family, unless there are too many or it is too long.
func (f *familyNames) note(hash uint64, name []byte) {
	if len(name) > maxFamilyNameBytes {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.byHash[hash]; known || len(f.byHash) >= maxFamilyNames {
		return
	}
	if f.byHash == nil {
		f.byHash = map[uint64]string{}
	}
	f.byHash[hash] = string(name)
}

func (f *familyNames) of(hash uint64) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.byHash[hash]
}
