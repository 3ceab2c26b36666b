package exposition

import (
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// counting is a learner that counts the calls of Learn.
type counting struct {
	*learner
	asked int
}

func (*counting) Late(series.ID, int64) bool { return false }

func (c *counting) Learn(text uint64, l labels.Labels, m series.Meta) (series.ID, bool, error) {
	c.asked++
	return c.learner.Learn(text, l, m)
}

// A process that is short of CPU may not learn a page within the time of a scrape. Each scrape must come further than
// the one before, or no scrape ever succeeds. Series learned from pages that were cut off count as added later.
func TestAPageCutOffIsNotLearnedTwice(t *testing.T) {
	l := &counting{learner: newLearner()}
	p := NewPage(l.layouts, l, Options{})
	page := "a 1\nb 2\nc 3\nd 4\n"
	cut := errors.New("deadline exceeded")
	for _, n := range []int{4, 8, 4, 12} {
		var b series.Batch
		c, err := p.Read(io.MultiReader(strings.NewReader(page[:n]), iotest.ErrReader(cut)), plain, math.MaxInt64, &b)
		if !errors.Is(err, cut) || c != (Counts{}) {
			t.Fatalf("cut at %d: %+v, %v", n, c, err)
		}
		p.Abandon()
	}
	var b series.Batch
	c, err := p.Read(strings.NewReader(page), plain, math.MaxInt64, &b)
	if want := (Counts{Scraped: 4, Kept: 4, Added: 4}); err != nil || c != want {
		t.Errorf("got %+v, %v; want %+v", c, err, want)
	}
	if l.asked != 4 {
		t.Errorf("learned %d lines, want each of the 4 once", l.asked)
	}
	p.Commit(Shown{}).Release()
	p.Forget()
	if n := l.table.Len(); n != 0 {
		t.Errorf("%d series left", n)
	}
}
