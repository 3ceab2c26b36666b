package exposition

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// A draft that a page made grow is not kept for the next page, and neither is a buffer that a long line made grow.
func TestALargeDraftIsNotKept(t *testing.T) {
	var families strings.Builder
	for i := range 1 << 18 {
		fmt.Fprintf(&families, "# TYPE a%d gauge\n", i)
	}
	for name, page := range map[string]string{
		"many series":   changingPage(0, 150_000),
		"many families": families.String(),
		"many labels":   "m{" + strings.Repeat("a=\"1\",", 1<<16) + "b=\"2\"} 1\n",
	} {
		t.Run(name, func(t *testing.T) {
			l := newLearner()
			pooled := &draft{}
			l.layouts.drafts.New = func() any { return pooled }
			p := NewPage(l.layouts, l, Options{})
			var b series.Batch
			_, _ = p.Read(strings.NewReader(page), plain, math.MaxInt64, &b)
			p.Abandon()
			if !pooled.tooLarge() {
				t.Errorf("a draft is kept after a page of %d bytes", len(page))
			}
			p.Forget()
		})
	}
	for range 3 {
		c := copierOf(strings.NewReader(strings.Repeat("x", 2*chunkBytes)))
		if len(c.buf) != chunkBytes {
			t.Fatalf("a buffer of %d bytes is kept", len(c.buf))
		}
		if _, err := c.More(0, chunkBytes); err != nil {
			t.Fatal(err)
		}
		if text, err := c.More(chunkBytes, 1); err != nil || len(text) <= chunkBytes {
			t.Fatalf("%d bytes, error %v", len(text), err)
		}
		c.close()
	}
}

// Settle gives the draft back before the samples of a page are handed on. The page expects other lines only after
// Commit, and holds the series all the time.
func TestSettleGivesTheDraftBack(t *testing.T) {
	l := newLearner()
	pooled := &draft{}
	l.layouts.drafts.New = func() any { return pooled }
	p, page := NewPage(l.layouts, l, Options{}), changingPage(0, 150_000)
	var b series.Batch
	if _, err := p.Read(strings.NewReader(page), plain, math.MaxInt64, &b); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		p.Settle()
		if p.reading.draft != nil || p.layout.len() != 0 || l.table.Len() != 150_000 {
			t.Fatalf("a draft: %t; %d lines expected, %d series", p.reading.draft != nil, p.layout.len(), l.table.Len())
		}
	}
	shown := p.Commit(Shown{})
	b.Reset(0, 0)
	c, err := p.Read(strings.NewReader(page), plain, math.MaxInt64, &b)
	if err != nil || !c.Unchanged || !p.Shows(shown) {
		t.Errorf("%v, %+v: want the page to be the one expected", err, c)
	}
	p.Commit(shown).Release()
	if p.Forget(); l.table.Len() != 0 {
		t.Errorf("%d series left", l.table.Len())
	}
}
