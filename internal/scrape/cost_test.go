package scrape

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// nowhere is a sink that only counts samples.
type nowhere struct{ samples int }

func (n *nowhere) Flush() {}

func (n *nowhere) Append(b *series.Batch) error {
	n.samples += b.Len()
	return nil
}

// samePage is a transport that answers every request with the same page.
type samePage string

func (p samePage) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: 200, Status: "200 OK", Header: http.Header{"Content-Type": {"text/plain; charset=UTF-8"}},
		Body: io.NopCloser(strings.NewReader(string(p))),
	}, nil
}

func pageOf(lines int) samePage {
	var b strings.Builder
	b.WriteString("# TYPE istio_requests_total counter\n")
	for i := range lines {
		const line = `istio_requests_total{reporter="destination",source_workload="%0100d",response_code="%d"} %d`
		fmt.Fprintf(&b, line+"\n", 0, i, i)
	}
	return samePage(b.String())
}

// TestARepeatedScrapeAllocatesNothingALine: a scrape of a page that did not change allocates for the request only,
// however long the page is.
func TestARepeatedScrapeAllocatesNothingALine(t *testing.T) {
	perScrape := func(lines int) float64 {
		var sink nowhere
		ps := New(series.NewTable(), &sink, Options{transport: pageOf(lines)}, zap.NewNop(), nil)
		always := &series.Batch{} // with the race detector, sync.Pool drops objects at random
		ps.env.batches.New = func() any { return always }
		r := &rig{Pools: ps}
		r.apply(t, job(t, "  metric_relabel_configs: [{source_labels: [response_code], regex: '.*7', action: drop}]\n"))
		r.Update(map[string][]*targetgroup.Group{"envoy": {{Source: "test", Targets: []model.LabelSet{at("a:1")}}}})
		var n float64
		for _, l := range r.jobs["envoy"].loops {
			l.scrape(t.Context(), nil)
			l.scrape(t.Context(), nil)
			sink.samples = 0
			n = testing.AllocsPerRun(10, func() { l.scrape(t.Context(), nil) })
		}
		if want := 11 * (lines - lines/10 + 5); sink.samples != want {
			t.Fatalf("%d samples in 11 scrapes of %d lines, want %d", sink.samples, lines, want)
		}
		return n
	}
	small, large := perScrape(10), perScrape(10_000)
	if large > small+3 { // a garbage collection may empty pools
		t.Errorf("a scrape of 10 lines allocates %v times, one of 10,000 lines %v times", small, large)
	}
	t.Logf("%v allocations a scrape", small)
}

// TestANewLineAllocatesNothingOfItsOwn: a new line makes tables grow and adds strings, but to read it, merge its
// labels and look it up allocates nothing.
func TestANewLineAllocatesNothingOfItsOwn(t *testing.T) {
	const lines = 1000
	p := newPair(t, newFuzzJobs(t), 0, 0)
	always := newScratch()
	p.env.scratch.New = func() any { return always }
	l := p.loops[0]
	page, body := string(pageOf(lines)), strings.NewReader("")
	var b series.Batch
	round := 0
	read := func() {
		round++
		body.Reset(strings.ReplaceAll(page, `source_workload="0`, fmt.Sprintf(`source_workload="%d-`, round)))
		b.Reset(l.id, 1)
		c, err := l.page.Read(body, p.mimeType, 1, &b)
		if err != nil || c.Added != lines {
			t.Fatalf("%+v, %v", c, err)
		}
		l.commit(&b, true, exposition.Shown{}, nil)
	}
	read()
	if n := testing.AllocsPerRun(10, read); n > lines/10 {
		t.Errorf("%v allocations for %d new lines", n, lines)
	}
}
