package pack

import (
	"fmt"
	"slices"
	"testing"

	"github.com/golang/snappy"
	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// packing is a packer of one lane with a queue in memory.
type packing struct {
	t      *testing.T
	table  *series.Table
	packer *Packer
	tally  Tally // of all batches
	bare   bool  // the series have no metadata
}

func newPacking(t *testing.T) *packing {
	rw := promconfig.DefaultRemoteWriteConfig
	rw.QueueConfig.MaxSamplesPerSend = 100_000
	return newPackingBy(t, NewSettings(&rw, labels.EmptyLabels()))
}

func newPackingBy(t *testing.T, s *Settings) *packing {
	table := series.NewTable()
	p := &packing{t: t, table: table, packer: New(table, s, 1, zap.NewNop())}
	p.packer.Use(queue.NewMemory(queue.DefaultConfig(), 1))
	return p
}

// page is a target and its series.
type page struct {
	id  series.TargetID
	ids []series.ID
}

func (p *packing) target(name string, n int) page {
	public := labels.FromStrings("instance", name, "job", "envoy")
	out := page{id: p.table.AddTarget(public)}
	for i := range n {
		out.ids = append(out.ids, p.series(out.id, public, fmt.Sprintf("metric_%d", i)))
	}
	return out
}

func (p *packing) series(id series.TargetID, public labels.Labels, name string) series.ID {
	ls := labels.NewBuilder(public).Set("__name__", name).Labels()
	return p.table.Add(id, ls, series.Meta{Type: model.MetricTypeCounter, Help: "help of " + name})
}

// scrape is a batch of all series of a page.
func (p *packing) scrape(of page, atMillis int64) *series.Batch {
	var b series.Batch
	b.Reset(of.id, atMillis)
	for i, id := range of.ids {
		b.Add(id, float64(i))
	}
	return &b
}

func (p *packing) append(b *series.Batch) {
	t := p.packer.Append(b)
	if t.QueueError != nil {
		p.t.Fatal(t.QueueError)
	}
	p.tally.NotNewer += t.NotNewer
}

// drain takes all requests out of the queue.
func (p *packing) drain() (out []writev2.Request) {
	p.t.Helper()
	for _, l := range p.packer.Lanes() {
		for {
			group, state, _ := l.Next(true)
			if state != queue.Ready {
				break
			}
			for _, r := range group {
				for _, m := range p.messages(r) {
					out = append(out, decode(p.t, m))
				}
			}
			l.Ack(group)
		}
	}
	return out
}

// messages returns what is sent of a request.
func (p *packing) messages(r queue.Request) []wire.Message {
	p.t.Helper()
	m := wire.Message{Samples: r.Samples, Oldest: r.Oldest, Newest: r.Newest}
	for _, rec := range r.Records {
		m.Fragments = append(m.Fragments, rec.Data)
		if rec.Layout != nil {
			m.Layout = &wire.Layout{Head: rec.Layout.Data, Tail: rec.Layout.Shared}
		}
	}
	merged, err := (*wire.Pool)(nil).Merge([]wire.Message{m}, wire.Limits{})
	if err != nil {
		p.t.Fatal(err)
	}
	return merged
}

func decode(t *testing.T, m wire.Message) (req writev2.Request) {
	t.Helper()
	body, _, err := (*wire.Pool)(nil).Body(m, wire.V2, true)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := snappy.Decode(nil, body)
	if err != nil {
		t.Fatal(err)
	}
	if err := req.Unmarshal(plain); err != nil {
		t.Fatal(err)
	}
	return req
}

// TestLargeScrapesAreSeveralRequests: the first scrape of a large page is divided where it is packed, so that a sender
// need not divide it.
func TestLargeScrapesAreSeveralRequests(t *testing.T) {
	p := newPacking(t)
	p.append(p.scrape(p.target("a", 2*maxRequestSamples+1), 1))
	var samples []int
	for _, r := range p.drain() {
		samples = append(samples, len(r.Timeseries))
	}
	if want := []int{maxRequestSamples, maxRequestSamples, 1}; !slices.Equal(samples, want) {
		t.Errorf("requests of %d samples, want %d", samples, want)
	}
}
