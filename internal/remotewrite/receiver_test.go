package remotewrite

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/golang/snappy"
	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/client_golang/prometheus/testutil"
	promhttp "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"go.uber.org/zap"

	"github.com/envoy-scraper/envoy-scraper/internal/queue"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/deliver"
	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// point is one sample as a receiver sees it.
type point struct {
	at   int64
	bits uint64
}

// receiver is a client that decodes requests with Prometheus' own types, and takes of a series what Prometheus'
// storage takes: what is newer than its newest sample, and that sample again. A 1.0 request with anything else in it is
// refused whole, of a 2.0 request the rest is written.
type receiver struct {
	t     *testing.T
	delay time.Duration // before it looks at a request

	mu       sync.Mutex // guards the following
	reply    func(r *receiver, p wire.Protocol, samples int) deliver.Answer
	arrived  map[string][]point // by labels, in order of arrival
	requests int                // all, refused ones included
	accepted int
	sizes    []int // samples of each accepted request
	series   int   // TimeSeries of the accepted requests
	disorder int   // samples that were not newer than the one before of their series, refused or not
}

func newReceiver(t *testing.T) *receiver { return &receiver{t: t, arrived: map[string][]point{}} }

func fine(p wire.Protocol, samples int) deliver.Answer {
	h := http.Header{}
	if p == wire.V2 {
		h.Set("X-Prometheus-Remote-Write-Samples-Written", strconv.Itoa(samples))
	}
	return deliver.Answer{Status: 204, Header: h}
}

func status(code int) deliver.Answer { return deliver.Answer{Status: code, Header: http.Header{}} }

func (r *receiver) Post(ctx context.Context, body []byte, p wire.Protocol, _ int) deliver.Answer {
	if r.delay > 0 {
		select {
		case <-time.After(r.delay):
		case <-ctx.Done():
			return deliver.Answer{Err: ctx.Err()}
		}
	}
	if p == wire.V1 && isMetadata(body) {
		return fine(p, 0) // tested in fields_test.go
	}
	got := r.decode(body, p)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests++
	a := fine(p, len(got))
	if r.reply != nil {
		a = r.reply(r, p, len(got))
	}
	if a.Err != nil || a.Status/100 != 2 {
		return a
	}
	if _, confirmed := deliver.Written(a.Header); p == wire.V2 && !confirmed {
		return a // took the body for a message without known fields
	}
	good := make([]arrival, 0, len(got))
	words := ""
	for _, s := range got {
		if against := refusal(r.newest(s.labels), s.point); against != "" {
			words = cmp.Or(words, against)
			r.disorder++
			continue
		}
		good = append(good, s)
	}
	if words != "" {
		a = fine(p, len(good))
		a.Status, a.Message = http.StatusBadRequest, words
		if p == wire.V1 {
			return a
		}
	}
	r.accepted++
	r.sizes = append(r.sizes, len(good))
	for i, s := range good {
		if i == 0 || good[i-1].labels != s.labels {
			r.series++
		}
		if newest := r.newest(s.labels); newest != nil && newest.at == s.at {
			r.disorder++
		}
		r.arrived[s.labels] = append(r.arrived[s.labels], s.point)
	}
	return a
}

// newest is the last sample of a series that arrived, or nil.
func (r *receiver) newest(series string) *point {
	if ps := r.arrived[series]; len(ps) > 0 {
		return &ps[len(ps)-1]
	}
	return nil
}

// refusal is what Prometheus' storage says to a sample of a series with this newest sample; "": it takes it.
func refusal(newest *point, p point) string {
	switch {
	case newest == nil || p.at > newest.at || p == *newest:
		return ""
	case p.at == newest.at:
		return "duplicate sample for timestamp"
	}
	return "out of order sample"
}

// isMetadata reports whether a 1.0 request has only metadata.
func isMetadata(body []byte) bool {
	plain, err := snappy.Decode(nil, body)
	var req prompb.WriteRequest
	return err == nil && req.Unmarshal(plain) == nil && len(req.Metadata) > 0
}

func (r *receiver) Close() {}

type arrival struct {
	labels string
	point
}

// decode also checks what the specification demands of every request.
func (r *receiver) decode(body []byte, p wire.Protocol) (out []arrival) {
	plain, err := snappy.Decode(nil, body)
	if err != nil {
		r.t.Errorf("snappy: %v", err)
		return nil
	}
	seen := map[string]bool{}
	add := func(ls labels.Labels, samples []point) {
		key := ls.String()
		if seen[key] {
			r.t.Errorf("two TimeSeries of %s in one request", key)
		}
		seen[key] = true
		for i, p := range samples {
			if i > 0 && p.at <= samples[i-1].at {
				r.t.Errorf("%s: %d after %d in one request", key, p.at, samples[i-1].at)
			}
			out = append(out, arrival{key, p})
		}
	}
	var samples []point
	var b labels.ScratchBuilder
	if p == wire.V1 {
		var req prompb.WriteRequest
		if err := req.Unmarshal(plain); err != nil {
			r.t.Errorf("1.0: %v", err)
		}
		for _, ts := range req.Timeseries {
			samples = samples[:0]
			for _, s := range ts.Samples {
				samples = append(samples, point{s.Timestamp, math.Float64bits(s.Value)})
			}
			add(ts.ToLabels(&b, nil), samples)
		}
		return out
	}
	var req writev2.Request
	if err := req.Unmarshal(plain); err != nil {
		r.t.Errorf("2.0: %v", err)
	}
	checkSymbols(r.t, req.Symbols)
	for _, ts := range req.Timeseries {
		ls, err := ts.ToLabels(&b, req.Symbols)
		if err != nil {
			r.t.Errorf("labels: %v", err)
		}
		samples = samples[:0]
		for _, s := range ts.Samples {
			samples = append(samples, point{s.Timestamp, math.Float64bits(s.Value)})
		}
		add(ls, samples)
	}
	return out
}

func checkSymbols(t testing.TB, symbols []string) {
	t.Helper()
	if len(symbols) == 0 || symbols[0] != "" {
		t.Errorf("symbols do not begin with the empty string: %q", symbols)
	}
	sorted := slices.Sorted(slices.Values(symbols))
	if n := len(slices.Compact(slices.Clone(sorted))); n != len(symbols) {
		t.Errorf("%d of %d symbols are distinct", n, len(symbols))
	}
}

func (r *receiver) set(reply func(r *receiver, p wire.Protocol, samples int) deliver.Answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reply = reply
}

func (r *receiver) total() (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ps := range r.arrived {
		n += len(ps)
	}
	return n
}

// taken returns the number of TimeSeries that were accepted.
func (r *receiver) taken() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.series
}

func (r *receiver) tried() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.requests
}

// world is a small world: a table, writers, and one receiver for each endpoint.
type world struct {
	t         *testing.T
	table     *series.Table
	writers   *Writers
	cfg       Config
	receivers map[string]*receiver // by endpoint name, or host
	logs      *zap.Logger
	cancel    context.CancelFunc
	done      chan struct{}
}

// endpointConfig is what a file with nothing but a url gives.
func endpointConfig(name string) EndpointConfig {
	rw := promconfig.DefaultRemoteWriteConfig
	rw.URL = &promhttp.URL{URL: &url.URL{Scheme: "http", Host: name + ".test", Path: "/api/v1/write"}}
	rw.Name = name
	rw.QueueConfig.RetryOnRateLimit = true
	return EndpointConfig{RemoteWriteConfig: &rw, Negotiate: true}
}

func explicit(ec EndpointConfig, p wire.Protocol) EndpointConfig {
	ec.Negotiate = false
	ec.ProtobufMessage = remoteapi.WriteV1MessageType
	if p == wire.V2 {
		ec.ProtobufMessage = remoteapi.WriteV2MessageType
	}
	return ec
}

func newWorld(t *testing.T, endpoints ...EndpointConfig) *world {
	return newStoredWorld(t, nil, endpoints...)
}

// newStoredWorld keeps what is to be delivered in a store.
func newStoredWorld(t *testing.T, store *queue.Store, endpoints ...EndpointConfig) *world {
	w := &world{t: t, table: series.NewTable(), receivers: map[string]*receiver{}, logs: zap.NewNop()}
	w.writers = New(w.table, store, Options{}, w.logs, nil)
	w.writers.newClient = func(ec EndpointConfig) (deliver.Client, error) {
		name := cmp.Or(ec.Name, ec.URL.Host)
		if w.receivers[name] == nil {
			w.receivers[name] = newReceiver(t)
		}
		return w.receivers[name], nil
	}
	w.cfg = Config{Endpoints: endpoints, FlushDeadline: 5 * time.Second}
	w.apply()
	return w
}

func (w *world) apply() {
	w.t.Helper()
	if err := w.writers.Apply(w.cfg); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) run() {
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel, w.done = cancel, make(chan struct{})
	go func() {
		defer close(w.done)
		if err := w.writers.Run(ctx); err != nil {
			w.t.Error(err)
		}
	}()
}

func (w *world) stop() {
	w.cancel()
	<-w.done
}

func (w *world) dropped(endpoint string, r deliver.Reason) int {
	return int(testutil.ToFloat64(w.writers.metrics.dropped.WithLabelValues(endpoint, string(r))))
}

func (w *world) acceptedCount(endpoint string) int {
	return int(testutil.ToFloat64(w.writers.metrics.accepted.WithLabelValues(endpoint)))
}

// conserved checks that every sample handed over has arrived or was counted under a reason.
func (w *world) conserved(endpoint string, appended int) {
	w.t.Helper()
	sum := w.acceptedCount(endpoint) + int(testutil.ToFloat64(w.writers.metrics.delivered.WithLabelValues(endpoint)))
	for _, r := range reasons {
		sum += w.dropped(endpoint, r)
	}
	if sum != appended {
		w.t.Errorf("%s: accepted and dropped = %d, want %d", endpoint, sum, appended)
	}
}

// target is a target and its series, which have all its labels.
type target struct {
	id  series.TargetID
	ids []series.ID
}

func (w *world) target(name string, n int) target {
	public := labels.FromStrings("instance", name, "job", "envoy")
	t := target{id: w.table.AddTarget(public)}
	for i := range n {
		t.ids = append(t.ids, w.series(t.id, public, fmt.Sprintf("metric_%d", i)))
	}
	return t
}

func (w *world) series(id series.TargetID, public labels.Labels, name string) series.ID {
	b := labels.NewBuilder(public)
	b.Set("__name__", name)
	return w.table.Add(id, b.Labels(), series.Meta{Type: model.MetricTypeCounter, Help: "help of " + name})
}

// scrape is a batch of all series of a target, each with the value of its number.
func (w *world) scrape(t target, atMillis int64) *series.Batch {
	var b series.Batch
	b.Reset(t.id, atMillis)
	for i, id := range t.ids {
		b.Add(id, float64(i))
	}
	return &b
}

func (w *world) append(b *series.Batch) {
	w.t.Helper()
	if err := w.writers.Append(b); err != nil {
		w.t.Fatal(err)
	}
}
