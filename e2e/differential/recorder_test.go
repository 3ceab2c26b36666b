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

// protocol is a version of remote write. Its value is the path of that version's endpoint.
type protocol string

// Both agents write both versions.
const (
	write1 protocol = "/v1"
	write2 protocol = "/v2"
)

var protocols = []protocol{write1, write2}

// what is one received value of a series: a sample, a histogram or an exemplar, as text.
type what struct {
	time int64 // Unix milliseconds
	text string
}

// source is the agent and the protocol of a request.
type source struct {
	agent    agentName
	protocol protocol
}

// recorder is a receiver that accepts and records everything.
type recorder struct {
	url string

	mu       sync.Mutex // guards the fields below
	series   map[source]map[string][]what
	metadata map[agentName]map[string]bool // 1.0 only, which sends metadata separately
}

// newRecorder starts a receiver that runs until the end of the test.
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

// number formats a value. A NaN is formatted with its bits, because a NaN is not equal to itself.
func number(v float64) string {
	switch {
	case value.IsStaleNaN(v):
		return "stale"
	case math.IsNaN(v):
		return fmt.Sprintf("NaN %x", math.Float64bits(v))
	}
	return fmt.Sprint(v)
}

// times returns the timestamps of the selected series' samples in order, without staleness markers.
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

// clockOf selects a report series of a case, which has one sample per scrape and is never on a page.
func clockOf(name string) func(string) bool {
	return func(series string) bool {
		return strings.Contains(series, `__name__="scrape_duration_seconds"`) && ofCase(series, name)
	}
}

func ofCase(series, name string) bool { return strings.Contains(series, fmt.Sprintf("case=%q", name)) }
