package exposition

import (
	"math"
	"strings"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// A line has one mark. A repeated line is a duplicate too, an uncounted line is not.
func TestMarksOfALine(t *testing.T) {
	for _, kind := range []lineRef{refSeries, refDropped, refComment, refFamily} {
		for mark, duplicate := range map[lineRef]bool{
			0: false, markUncounted: false, markDuplicate: true, markRepeated: true,
		} {
			ref := kind | mark | numberMask
			if ref.kind() != kind || ref.mark() != mark || ref.number() != numberMask || ref.duplicate() != duplicate {
				t.Errorf("%#x: kind %#x, mark %#x, number %d, duplicate %v; want %#x, %#x, %d, %v", uint32(ref),
					ref.kind(), ref.mark(), ref.number(), ref.duplicate(), kind, mark, numberMask, duplicate)
			}
			if ref.bare() != kind|numberMask {
				t.Errorf("%#x without its mark is %#x", uint32(ref), uint32(ref.bare()))
			}
		}
	}
}

// Nothing of a page that was read reaches the next one, except by what Commit and Abandon keep.
func TestAReadingEndsWithItsPage(t *testing.T) {
	l := newLearner()
	p := NewPage(l.layouts, l, Options{SampleLimit: 2})
	for _, page := range []string{"# TYPE a counter\na 1\nb 2\n", "a 1\nb 2\nc 3\n", "a 1\n<html>\n", "a 1\na 1\n"} {
		var b series.Batch
		if _, err := p.Read(strings.NewReader(page), plain, math.MaxInt64, &b); err != nil {
			p.Abandon()
		} else {
			p.Commit(Shown{}).Release()
		}
		if p.reading != (reading{}) {
			t.Errorf("after %q: %+v is left", page, p.reading)
		}
	}
}
