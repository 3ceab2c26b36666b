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
