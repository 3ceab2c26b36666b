package receiver

import (
	"bytes"
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

const (
	type1 = "application/x-protobuf"
	type2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
)

type marshaler interface{ Marshal() ([]byte, error) }

func post(t *testing.T, r *Receiver, contentType string, m marshaler) *httptest.ResponseRecorder {
	t.Helper()
	raw, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return postRaw(r, contentType, snappy.Encode(nil, raw))
}

func postRaw(r *Receiver, contentType string, body []byte) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodPost, WritePath, bytes.NewReader(body))
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Content-Encoding", "snappy")
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, req)
	return w
}

// given is a series to send; labels in the order given, right or wrong.
type given struct {
	labels []string
	millis []int64
	value  float64
}

func request1(series ...given) *prompb.WriteRequest {
	req := &prompb.WriteRequest{}
	for _, g := range series {
		ts := prompb.TimeSeries{}
		for i := 0; i < len(g.labels); i += 2 {
			ts.Labels = append(ts.Labels, prompb.Label{Name: g.labels[i], Value: g.labels[i+1]})
		}
		for _, ms := range g.millis {
			ts.Samples = append(ts.Samples, prompb.Sample{Timestamp: ms, Value: g.value})
		}
		req.Timeseries = append(req.Timeseries, ts)
	}
	return req
}

func request2(series ...given) *writev2.Request {
	st := writev2.NewSymbolTable()
	req := &writev2.Request{}
	for _, g := range series {
		ts := writev2.TimeSeries{Metadata: writev2.Metadata{Type: writev2.Metadata_METRIC_TYPE_COUNTER}}
		for _, l := range g.labels {
			ts.LabelsRefs = append(ts.LabelsRefs, st.Symbolize(l))
		}
		for _, ms := range g.millis {
			ts.Samples = append(ts.Samples, writev2.Sample{Timestamp: ms, Value: g.value})
		}
		req.Timeseries = append(req.Timeseries, ts)
	}
	req.Symbols = st.Symbols()
	return req
}

var stale = math.Float64frombits(staleBits)

func TestChecks(t *testing.T) {
	good := []string{"__name__", "a_total", "job", "x"}
	tests := []struct {
		name   string
		series []given
		want   counts
	}{
		{"good", []given{{good, []int64{1, 2}, 7}}, counts{Series: 1, Samples: 2}},
		{"stale marker", []given{{good, []int64{1}, stale}}, counts{Series: 1, Samples: 1, Stale: 1}},
		{"synthetic", []given{{[]string{"__name__", "up", "job", "x"}, []int64{1}, 0}},
			counts{Series: 1, Samples: 1, Synthetic: 1, Down: 1}},
		{"unsorted", []given{{[]string{"__name__", "a", "job", "x", "code", "1"}, []int64{1}, 7}},
			counts{Series: 1, Samples: 1, Violations: Violations{UnsortedLabels: 1}}},
		{"label twice", []given{{[]string{"__name__", "a", "job", "x", "job", "y"}, []int64{1}, 7}},
			counts{Series: 1, Samples: 1, Violations: Violations{DuplicateLabels: 1}}},
		{"empty value", []given{{[]string{"__name__", "a", "job", ""}, []int64{1}, 7}},
			counts{Series: 1, Samples: 1, Violations: Violations{EmptyLabels: 1}}},
		{"no name", []given{{[]string{"job", "x"}, []int64{1}, 7}},
			counts{Series: 1, Samples: 1, Violations: Violations{NoName: 1}}},
		{"no sample", []given{{good, nil, 7}}, counts{Series: 1, Violations: Violations{EmptySeries: 1}}},
		{"same time twice", []given{{good, []int64{5}, 7}, {good, []int64{5}, 8}},
			counts{Series: 2, Samples: 2, Violations: Violations{Duplicates: 1}}},
		{"backwards", []given{{good, []int64{5, 4}, 7}},
			counts{Series: 1, Samples: 2, Violations: Violations{OutOfOrder: 1}}},
		{"other series at the same time", []given{{good, []int64{5}, 7},
			{[]string{"__name__", "a_total", "job", "y"}, []int64{5}, 7}},
			counts{Series: 2, Samples: 2}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			one := New(Config{Accept: AcceptBoth, Checks: true})
			if w := post(t, one, type1, request1(tt.series...)); w.Code != http.StatusNoContent {
				t.Fatalf("1.0: status %d: %s", w.Code, w.Body)
			}
			if got := one.Stats().counts; got != tt.want {
				t.Errorf("1.0: got %+v, want %+v", got, tt.want)
			}
			two := New(Config{Accept: AcceptBoth, Checks: true})
			if w := post(t, two, type2, request2(tt.series...)); w.Code != http.StatusNoContent {
				t.Fatalf("2.0: status %d: %s", w.Code, w.Body)
			}
			want := tt.want
			want.Metadata = want.Series
			if got := two.Stats().counts; got != want {
				t.Errorf("2.0: got %+v, want %+v", got, want)
			}
		})
	}
}

func TestOrderHoldsAcrossRequestsAndProtocols(t *testing.T) {
	r := New(Config{Accept: AcceptBoth, Checks: true})
	g := given{labels: []string{"__name__", "a_total", "job", "x"}, millis: []int64{10}}
	post(t, r, type2, request2(g))
	post(t, r, type1, request1(g))
	g.millis[0] = 9
	post(t, r, type1, request1(g))
	s := r.Stats()
	if s.Duplicates != 1 || s.OutOfOrder != 1 || s.DistinctSeries != 1 || s.ViolationsTotal != 2 {
		t.Errorf("stats = %+v, want one duplicate and one out of order of one series", s)
	}
}

func TestFragmentsInAnyOrder(t *testing.T) {
	// Messages concatenate: symbols may follow series, and references need not be packed.
	a, err := request2(given{labels: []string{"__name__", "a_total"}, millis: []int64{1}, value: 1}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	// A second fragment: series first (refs 3 and 4, unpacked), then its symbols.
	b := []byte{5<<3 | 2, 8, 1 << 3, 1, 1 << 3, 3, 2<<3 | 2, 2, 2 << 3, 1, 4<<3 | 2, 1, 'b'}
	r := New(Config{Accept: AcceptBoth, Checks: true})
	if w := postRaw(r, type2, snappy.Encode(nil, append(a, b...))); w.Code != http.StatusNoContent {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	if s := r.Stats(); s.DistinctSeries != 2 || s.ViolationsTotal != 0 || s.Samples != 2 {
		t.Errorf("stats = %+v, want two good series", s)
	}
}

func TestAccept(t *testing.T) {
	g := given{labels: []string{"__name__", "a_total"}, millis: []int64{1}}
	tests := []struct {
		accept   Accept
		one, two int
		written  string // by a 2.0 request
	}{
		{AcceptBoth, 204, 204, "1"},
		{Accept1, 204, 415, ""},
		{Accept2, 415, 204, "1"},
		{AcceptOld, 204, 204, ""},
	}
	for _, tt := range tests {
		r := New(Config{Accept: tt.accept, Checks: true})
		if got := post(t, r, type1, request1(g)).Code; got != tt.one {
			t.Errorf("%s: 1.0 answered %d, want %d", tt.accept, got, tt.one)
		}
		g.millis[0]++
		w := post(t, r, type2, request2(g))
		if got := w.Header().Get("X-Prometheus-Remote-Write-Samples-Written"); w.Code != tt.two || got != tt.written {
			t.Errorf("%s: 2.0 answered %d, written %q; want %d, %q", tt.accept, w.Code, got, tt.two, tt.written)
		}
	}
}

func TestNullModeCountsTheSame(t *testing.T) {
	series := []given{
		{[]string{"__name__", "a_total", "job", "x"}, []int64{1, 2}, 7},
		{[]string{"__name__", "b_total"}, []int64{2}, stale},
	}
	r := New(Config{Accept: AcceptBoth})
	post(t, r, type1, request1(series...))
	post(t, r, type2, request2(series...))
	if s := r.Stats(); s.Samples != 6 || s.Stale != 2 || s.Series != 4 || s.ViolationsTotal != 0 {
		t.Errorf("stats = %+v, want 6 samples, 2 of them markers", s)
	}
}

func TestConcurrentSenders(t *testing.T) {
	r := New(Config{Accept: AcceptBoth, Checks: true})
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			for ms := range int64(25) {
				g := given{labels: []string{"__name__", "a_total", "job", string(rune('a' + n))},
					millis: []int64{ms + 1}}
				post(t, r, type2, request2(g))
			}
		})
	}
	wg.Wait()
	if s := r.Stats(); s.Samples != 100 || s.ViolationsTotal != 0 || s.DistinctSeries != 4 {
		t.Errorf("stats = %+v, want 100 samples of 4 series", s)
	}
}

func TestStatsJSONRoundTrip(t *testing.T) {
	r := New(Config{Accept: AcceptBoth, Checks: true})
	post(t, r, type1, request1(given{labels: []string{"__name__", "a"}, millis: []int64{1}}))
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/stats", nil))
	var s Stats
	if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil {
		t.Fatal(err)
	}
	if s.Samples != 1 || s.Page() != 1 || s.Requests1 != 1 {
		t.Errorf("stats = %+v, want one sample in one request", s)
	}
}

// FuzzDecode: any bytes end without a panic, and what prompb accepts is counted as prompb counts it.
func FuzzDecode(f *testing.F) {
	g := given{labels: []string{"__name__", "a_total", "job", "x"}, millis: []int64{1, 2}, value: 3}
	one, err := request1(g).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	two, err := request2(g).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(one)
	f.Add(two)
	f.Add([]byte{0x2a, 0xff, 0xff, 0xff, 0xff, 0x0f})
	d := newDecoder(true, New(Config{}).seed)
	f.Fuzz(func(t *testing.T, b []byte) {
		var ref2 writev2.Request
		if ours, theirs := d.decode2(b), ref2.Unmarshal(b); ours == nil && theirs == nil {
			samples := 0
			for _, ts := range ref2.Timeseries {
				samples += len(ts.Samples)
			}
			if d.counts.Samples != uint64(samples) {
				t.Errorf("2.0: %d samples, prompb reads %d", d.counts.Samples, samples)
			}
		}
		var ref1 prompb.WriteRequest
		if ours, theirs := d.decode1(b), ref1.Unmarshal(b); ours == nil && theirs == nil {
			samples := 0
			for _, ts := range ref1.Timeseries {
				samples += len(ts.Samples)
			}
			if d.counts.Samples != uint64(samples) {
				t.Errorf("1.0: %d samples, prompb reads %d", d.counts.Samples, samples)
			}
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	var series []given
	for n := range 2000 {
		l := []string{"__name__", "istio_requests_total"}
		for k := range 24 {
			l = append(l, string([]byte{'a' + byte(k)})+"_label_name",
				"value-of-this-label-"+string(rune('a'+(n+k)%26)))
		}
		l[3] = "series-" + string(rune('0'+n%10)) + string(rune('0'+n/10%10)) +
			string(rune('0'+n/100%10)) + string(rune('0'+n/1000))
		series = append(series, given{labels: l, millis: []int64{1}, value: float64(n)})
	}
	for _, checks := range []bool{true, false} {
		for name, req := range map[string]marshaler{type1: request1(series...), type2: request2(series...)} {
			raw, err := req.Marshal()
			if err != nil {
				b.Fatal(err)
			}
			body := snappy.Encode(nil, raw)
			title := map[string]string{type1: "1.0", type2: "2.0"}[name]
			if !checks {
				title += "/null"
			}
			b.Run(title, func(b *testing.B) {
				r := New(Config{Accept: AcceptBoth, Checks: checks})
				for b.Loop() {
					postRaw(r, name, body)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/2000, "ns/sample")
			})
		}
	}
}
