package scrape

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/exposition"
	"github.com/envoy-scraper/envoy-scraper/internal/pushdown"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
	"github.com/envoy-scraper/envoy-scraper/internal/via"
)

// Once is one scrape of one page, for a person who asks what a scrape would read. It uses the same fetcher, page reader
// and learner as the scrapes of a job, and sends nothing. Set the first fields, then Run; it fills in the others.
type Once struct {
	Job     *promconfig.ScrapeConfig
	URL     *url.URL
	Timeout time.Duration

	Pod *via.Pod   // whose page the URL is; nil: not known
	Via *via.Proxy // reads the page of Pod; nil: the page is read directly
	// RefuseLoopback refuses a loopback address, as the scrapes of a job do with a discovered one.
	RefuseLoopback bool
	// ByPlace asks for zstd or gzip, as a job without enable_compression asks targets elsewhere. A loopback address is
	// elsewhere, too: for a person it is often the end of a tunnel.
	ByPlace bool
	// OwnAddressOnly refuses redirects to another host, as the scrapes of such a job do.
	OwnAddressOnly bool
	Filter         string // asks for the page with this filter, see FilterOf; empty: for the whole page

	// Series is called for each series when the page shows it for the first time. kept is false if metric relabeling
	// drops it. printed is valid until Series returns. nil: nobody wants to know.
	Series func(printed labels.Labels, typ model.MetricType, kept bool)

	Response  *http.Response // the last one, of which the body is closed; nil: nothing answered
	WireBytes int64          // of the page, compressed
	Body      bytes.Buffer   // the page, uncompressed
	Took      time.Duration
	Counts    exposition.Counts
	Read      bool // the page was read to its end
	// the page is well formed, but Run's error is a limit of the job, or a series that Prometheus forbids
	Limited bool
}

// ErrBodyLimit is the error of a page that is larger than body_size_limit.
var ErrBodyLimit = errBodyLimit

// Run scrapes the page. The error is the one for which a scrape fails.
func (o *Once) Run(ctx context.Context) error {
	cfg := *o.Job
	cfg.ScrapeFailureLogFile = "" // the log is of real scrapes
	job, err := newJobState(&cfg, Options{AllowLoopback: !o.RefuseLoopback,
		OwnAddressOnly: func(string) bool { return o.OwnAddressOnly },
		Encoding:       EncodingOptions{ByPlace: func(string) bool { return o.ByPlace }}})
	if err != nil {
		return err
	}
	defer job.close()
	job.fetcher.plain = nil // net/http shows the response
	job.fetcher.client.Transport = &onceTransport{job.fetcher.client.Transport, o}
	if o.Via != nil {
		if err := checkPodScheme(o.URL.Scheme, &cfg); err != nil {
			return err
		}
		job.fetcher.readPodsThrough(o.Via)
		job.fetcher.pods.http.Transport = &onceTransport{o.Via, o}
	}

	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	began := time.Now()
	t, param := o.target(), ""
	if o.Filter != "" {
		param = pushdown.Param(o.Filter)
	}
	p, err := job.fetcher.get(ctx, t, param)
	if err != nil {
		return err
	}
	defer p.close()

	table := series.NewTable()
	id := table.AddTarget(t.labels)
	l := &onceLearner{once: o, learner: learner{
		table: table, target: id, labels: t.labels, cfg: &cfg, scratch: &sync.Pool{New: newScratch},
		exceed: func() {}, late: func(series.ID, int64) bool { return false }, onLearn: func(series.ID) {},
		notice: func(uint64, marks, series.ID, bool) {},
	}}
	reader := exposition.NewPage(exposition.NewLayouts(table), l, job.pageOptionsOf(t))
	batch := new(series.Batch)
	batch.Reset(id, began.UnixMilli())
	o.Counts, err = reader.Read(io.TeeReader(p.body, &o.Body), p.contentType, began.Add(maxAhead).UnixMilli(), batch)
	o.Took, o.Read = time.Since(began), p.body.err == nil
	if o.Read {
		err = p.explain(err)
	}
	for _, limit := range []error{exposition.ErrSampleLimit, exposition.ErrBucketLimit, exposition.ErrGrowthLimit} {
		o.Limited = o.Limited || errors.Is(err, limit)
	}
	return err
}

// target returns the target whose page the URL is, with the labels that its series get.
func (o *Once) target() *target {
	t := &target{
		url: o.URL.String(), shown: MaskURL(o.URL.String()),
		hostPort: hostPort(o.URL.Scheme, o.URL.Hostname(), o.URL.Port()),
		labels:   labels.FromStrings(model.InstanceLabel, o.URL.Host, model.JobLabel, o.Job.JobName),
		timeout:  o.Timeout, named: !o.RefuseLoopback,
		nativeHistograms: o.Job.ScrapeNativeHistogramsEnabled(),
		classicToo:       o.Job.AlwaysScrapeClassicHistogramsEnabled(),
		toCustomBuckets:  o.Job.ConvertClassicHistogramsToNHCBEnabled(),
	}
	if o.Via != nil {
		t.pod = o.Pod
	}
	return t
}

// onceLearner is a learner that shows what it learns.
type onceLearner struct {
	learner
	once *Once
}

// Learn implements exposition.Learner.
func (l *onceLearner) Learn(text uint64, lset labels.Labels, m series.Meta) (id series.ID, keep bool, err error) {
	id, keep, err = l.learner.Learn(text, lset, m)
	l.once.Limited = l.once.Limited || err != nil
	if l.once.Series != nil {
		l.once.Series(lset, m.Type, keep)
	}
	return id, keep, err
}

// onceTransport notes the response, and how many bytes its body has.
type onceTransport struct {
	http.RoundTripper
	once *Once
}

// RoundTrip implements http.RoundTripper.
func (t *onceTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(req)
	if err == nil {
		t.once.Response, t.once.WireBytes = resp, 0
		resp.Body = &countedBody{resp.Body, &t.once.WireBytes}
	}
	return resp, err
}

// CloseIdleConnections passes on what http.Client asks for.
func (t *onceTransport) CloseIdleConnections() {
	(&http.Client{Transport: t.RoundTripper}).CloseIdleConnections()
}

// countedBody counts the bytes of a body.
type countedBody struct {
	io.ReadCloser
	n *int64
}

// Read implements io.Reader.
func (b *countedBody) Read(to []byte) (int, error) {
	n, err := b.ReadCloser.Read(to)
	*b.n += int64(n)
	return n, err
}
