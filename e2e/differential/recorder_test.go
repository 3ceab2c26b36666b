package differential

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// protocol is a version of remote write, and the path of its endpoint.
type protocol string

// Both versions are written by both agents.
const (
	write1 protocol = "/v1"
	write2 protocol = "/v2"
)

var protocols = []protocol{write1, write2}

// what is one thing received for a series: a sample, a histogram or an exemplar, in words.
type what struct {
	time int64 // Unix milliseconds
	text string
}

// source is who sent something, and how.
type source struct {
	agent    agentName
	protocol protocol
}

// recorder is the receiver: it takes and keeps everything.
type recorder struct {
	url string

	mu       sync.Mutex // guards the following
	series   map[source]map[string][]what
	metadata map[agentName]map[string]bool // of 1.0: it sends metadata apart
}

// newRecorder starts the receiver, which ends with the test.
func newRecorder(t *testing.T) *recorder {
	t.Helper()
	r := &recorder{series: map[source]map[string][]what{}, metadata: map[agentName]map[string]bool{}}
	for _, a := range both {
		r.metadata[a] = map[string]bool{}
		for _, p := range protocols {
			r.series[source{a, p}] = map[string][]what{}
		}
	}
	r.url = "http://" + serve(t, r)
	return r
}

// ServeHTTP implements http.Handler.
func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	samples, histograms, exemplars, err := r.take(req)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	const written = "X-Prometheus-Remote-Write-"
	w.Header().Set(written+"Samples-Written", fmt.Sprint(samples))
	w.Header().Set(written+"Histograms-Written", fmt.Sprint(histograms))
	w.Header().Set(written+"Exemplars-Written", fmt.Sprint(exemplars))
	w.WriteHeader(http.StatusNoContent)
}

func (r *recorder) take(req *http.Request) (samples, histograms, exemplars int, err error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return 0, 0, 0, err
	}
	plain, err := snappy.Decode(nil, body)
	if err != nil {
		return 0, 0, 0, err
	}
	from := source{agentOf(req), protocol(req.URL.Path)}
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.series[from]
	add := func(ls labels.Labels, count *int, time int64, text string) {
		all[ls.String()] = append(all[ls.String()], what{time, text})
		*count++
	}
	if from.protocol == write1 {
		var m prompb.WriteRequest
		if err := m.Unmarshal(plain); err != nil {
			return 0, 0, 0, err
		}
		for _, md := range m.Metadata {
			r.metadata[from.agent][fmt.Sprintf("%s %s %q %q", md.MetricFamilyName, md.Type, md.Help, md.Unit)] = true
		}
		b := labels.NewScratchBuilder(0)
		for _, ts := range m.Timeseries {
			ls := ts.ToLabels(&b, nil)
			for _, s := range ts.Samples {
				add(ls, &samples, s.Timestamp, number(s.Value))
			}
			for _, h := range ts.Histograms {
				at := h.Timestamp
				h.Timestamp = 0
				add(ls, &histograms, at, h.String())
			}
			for _, e := range ts.Exemplars {
				x := e.ToExemplar(&b, nil)
				add(ls, &exemplars, x.Ts, "exemplar "+number(x.Value)+x.Labels.String())
			}
		}
		return samples, histograms, exemplars, nil
	}
	var m writev2.Request
	if err := m.Unmarshal(plain); err != nil {
		return 0, 0, 0, err
	}
	b := labels.NewScratchBuilder(0)
	for _, ts := range m.Timeseries {
		ls, err := ts.ToLabels(&b, m.Symbols)
		if err != nil {
			return 0, 0, 0, err
		}
		for _, s := range ts.Samples {
			add(ls, &samples, s.Timestamp, number(s.Value))
		}
		for _, h := range ts.Histograms {
			at := h.Timestamp
			h.Timestamp, h.StartTimestamp = 0, 0
			add(ls, &histograms, at, h.String())
		}
		for _, e := range ts.Exemplars {
			x, err := e.ToExemplar(&b, m.Symbols)
			if err != nil {
				return 0, 0, 0, err
			}
			add(ls, &exemplars, x.Ts, "exemplar "+number(x.Value)+x.Labels.String())
		}
	}
	return samples, histograms, exemplars, nil
}

// number tells NaNs apart, which are not equal to themselves.
func number(v float64) string {
	switch {
	case value.IsStaleNaN(v):
		return "stale"
	case math.IsNaN(v):
		return fmt.Sprintf("NaN %x", math.Float64bits(v))
	}
	return fmt.Sprint(v)
}

// times are those of the samples of a series that are no markers, in order.
func (r *recorder) times(from source, selects func(series string) bool) []int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	var times []int64
	for series, items := range r.series[from] {
		if !selects(series) {
			continue
		}
		for _, w := range items {
			if w.text != "stale" {
				times = append(times, w.time)
			}
		}
	}
	slices.Sort(times)
	return slices.Compact(times)
}

// clockOf selects the series of a case that has one sample a scrape and that no page shows.
func clockOf(name string) func(string) bool {
	return func(series string) bool {
		return strings.Contains(series, `__name__="scrape_duration_seconds"`) && ofCase(series, name)
	}
}

func ofCase(series, name string) bool { return strings.Contains(series, fmt.Sprintf("case=%q", name)) }
