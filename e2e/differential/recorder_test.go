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

// what is one received value of a series: a sample, a histogram or an exemplar, as text.
type what struct {
	time int64 // Unix milliseconds
	text string
}

func (w what) isExemplar() bool { return strings.HasPrefix(w.text, "exemplar") }

// source is the agent and the endpoint of a request.
type source struct {
	agent    agentName
	endpoint endpoint
}

// recorder is a receiver that accepts and records everything.
type recorder struct {
	url string

	mu       sync.Mutex                   // guards the fields below
	series   map[source]map[string][]what // in the order of arrival
	metadata map[source]map[string]bool   // 1.0: of families; 2.0: of series, all that they had
	current  map[source]map[string]string // 2.0: the newest metadata of each series
	posts    map[source]int
	most     map[source]int      // the most samples of a series in one request
	repeated map[source][]string // series that a request had twice
}

// newRecorder starts a receiver that runs until the end of the test.
func newRecorder(t *testing.T) *recorder {
	t.Helper()
	r := &recorder{series: map[source]map[string][]what{}, metadata: map[source]map[string]bool{},
		current: map[source]map[string]string{}, posts: map[source]int{}, most: map[source]int{},
		repeated: map[source][]string{}}
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
	to, err := endpointOf(req.URL.Path)
	if err != nil {
		return 0, 0, 0, err
	}
	from := source{agentOf(req), to}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.series[from] == nil {
		r.series[from], r.metadata[from] = map[string][]what{}, map[string]bool{}
		r.current[from] = map[string]string{}
	}
	r.posts[from]++
	all, seen := r.series[from], map[string]bool{}
	begin := func(ls labels.Labels, samples int) {
		if seen[ls.String()] {
			r.repeated[from] = append(r.repeated[from], ls.String())
		}
		seen[ls.String()] = true
		r.most[from] = max(r.most[from], samples)
	}
	add := func(ls labels.Labels, count *int, time int64, text string) {
		all[ls.String()] = append(all[ls.String()], what{time, text})
		*count++
	}
	if to.version == 1 {
		var m prompb.WriteRequest
		if err := m.Unmarshal(plain); err != nil {
			return 0, 0, 0, err
		}
		for _, md := range m.Metadata {
			r.metadata[from][fmt.Sprintf("%s %s %q %q", md.MetricFamilyName, md.Type, md.Help, md.Unit)] = true
		}
		b := labels.NewScratchBuilder(0)
		for _, ts := range m.Timeseries {
			ls := ts.ToLabels(&b, nil)
			begin(ls, len(ts.Samples)+len(ts.Histograms))
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
		begin(ls, len(ts.Samples)+len(ts.Histograms))
		md, err := ts.ToMetadata(m.Symbols)
		if err != nil {
			return 0, 0, 0, err
		}
		text := fmt.Sprintf("%s %q %q", md.Type, md.Help, md.Unit)
		r.metadata[from][ls.String()+" "+text] = true
		if text != `unknown "" ""` { // there is none
			r.current[from][ls.String()] = text
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
