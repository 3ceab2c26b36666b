package receiver

import (
	"bytes"
	"cmp"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// sample is a sample of a series that has only a name.
type sample struct {
	name  string
	at    int64
	value float64
}

// bench is a receiver, and what it has stored.
type bench struct {
	*Receiver
	from    string // address of the sender; empty: that of httptest
	stored  []sample
	late    int
	refused int // because of a fault
	besides []string
}

func newBench() *bench {
	b := &bench{}
	b.Receiver = New("r", b, nil)
	return b
}

func (b *bench) Accept(_ string, s *Series, x Sample) {
	b.stored = append(b.stored, sample{s.Labels.Get("__name__"), x.Time, x.Value()})
}

func (b *bench) Late(string, *Series, Sample) { b.late++ }

func (b *bench) Refuse(string, *Series, Sample) { b.refused++ }

func (b *bench) Besides(_ string, s *Series, _ Sample, late bool) {
	if !late {
		return
	}
	b.besides = append(b.besides, s.Labels.Get("__name__"))
}

// post sends samples, each as a series of its own unless the one before has the same name.
func (b *bench) post(t *testing.T, p Protocol, samples ...sample) *http.Response {
	t.Helper()
	var plain []byte
	var err error
	contentType := "application/x-protobuf"
	if p == V1 {
		var req prompb.WriteRequest
		for i, s := range samples {
			if i == 0 || samples[i-1].name != s.name {
				req.Timeseries = append(req.Timeseries, prompb.TimeSeries{
					Labels: []prompb.Label{{Name: "__name__", Value: s.name}},
				})
			}
			ts := &req.Timeseries[len(req.Timeseries)-1]
			ts.Samples = append(ts.Samples, prompb.Sample{Timestamp: s.at, Value: s.value})
		}
		plain, err = req.Marshal()
	} else {
		contentType += ";proto=io.prometheus.write.v2.Request"
		req := writev2.Request{Symbols: []string{"", "__name__"}}
		for i, s := range samples {
			if i == 0 || samples[i-1].name != s.name {
				ref := slices.Index(req.Symbols, s.name)
				if ref < 0 {
					ref = len(req.Symbols)
					req.Symbols = append(req.Symbols, s.name)
				}
				req.Timeseries = append(req.Timeseries, writev2.TimeSeries{LabelsRefs: []uint32{1, uint32(ref)}})
			}
			ts := &req.Timeseries[len(req.Timeseries)-1]
			ts.Samples = append(ts.Samples, writev2.Sample{Timestamp: s.at, Value: s.value})
		}
		plain, err = req.Marshal()
	}
	if err != nil {
		t.Fatal(err)
	}
	req := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(snappy.Encode(nil, plain)))
	req.Header.Set("Content-Type", contentType)
	req.RemoteAddr = cmp.Or(b.from, req.RemoteAddr)
	w := httptest.NewRecorder()
	b.ServeHTTP(w, req)
	return w.Result()
}

// TestJudgesAsPrometheus: what Prometheus 3.x answers and stores, for each version of remote write.
func TestJudgesAsPrometheus(t *testing.T) {
	for name, tc := range map[string]struct {
		sent           []sample
		v1, v2         []sample // stored of it
		status1        int
		status2        int
		written        string
		wrong          int // problems that the receiver noted
		again, ooOrder int
	}{
		"newer": {
			sent: []sample{{"a", 11, 2}}, v1: []sample{{"a", 11, 2}}, v2: []sample{{"a", 11, 2}},
			status1: 204, status2: 204, written: "1",
		},
		"the last one again": {sent: []sample{{"a", 10, 1}}, status1: 204, status2: 204, written: "1", again: 1},
		"another value":      {sent: []sample{{"a", 10, 2}}, status1: 400, status2: 400, written: "0", ooOrder: 1},
		"older, beside a good one": {
			sent: []sample{{"b", 11, 2}, {"a", 9, 1}, {"c", 11, 3}},
			v2:   []sample{{"b", 11, 2}, {"c", 11, 3}}, status1: 400, status2: 400, written: "2", ooOrder: 1,
		},
		"several of one series": {
			sent: []sample{{"a", 11, 2}, {"a", 12, 3}}, v1: []sample{{"a", 11, 2}, {"a", 12, 3}},
			v2: []sample{{"a", 11, 2}, {"a", 12, 3}}, status1: 204, status2: 204, written: "2",
		},
		"one series twice": {
			sent: []sample{{"a", 11, 2}, {"b", 11, 1}, {"a", 12, 3}}, status1: 400, status2: 400, wrong: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, p := range []Protocol{V1, V2} {
				b := newBench()
				if got := b.post(t, p, sample{"a", 10, 1}); got.StatusCode != 204 {
					t.Fatalf("status %d, want 204", got.StatusCode)
				}
				b.stored = nil
				got := b.post(t, p, tc.sent...)
				stored, status := tc.v1, tc.status1
				if p == V2 {
					stored, status = tc.v2, tc.status2
					h := got.Header.Get("X-Prometheus-Remote-Write-Samples-Written")
					if h != tc.written {
						t.Errorf("2.0: %q samples written, want %q", h, tc.written)
					}
				}
				if got.StatusCode != status || !slices.Equal(b.stored, stored) {
					t.Errorf("%d.0: status %d, stored %v, want %d, %v", p, got.StatusCode, b.stored, status, stored)
				}
				if n := len(b.Problems()); n != tc.wrong {
					t.Errorf("%d.0: problems %q, want %d", p, b.Problems(), tc.wrong)
				}
				refused := 0
				if status == 400 && name != "one series twice" { // that is no valid request
					refused = len(tc.sent) - len(stored)
				}
				if n := b.Counts().Refused; n != refused {
					t.Errorf("%d.0: %d samples refused, want %d", p, n, refused)
				}
				if c := b.Counts(); c.Again != tc.again || c.OutOfOrder != tc.ooOrder || b.late != tc.ooOrder {
					t.Errorf("%d.0: %+v, want %d again, %d out of order", p, c, tc.again, tc.ooOrder)
				}
			}
		})
	}
}

// TestRolledBack: the last sample of a series, once more in a 1.0 request that is rolled back, is late as the sample is
// for which it is rolled back. A new one is not: it is besides.
func TestRolledBack(t *testing.T) {
	b := newBench()
	b.post(t, V1, sample{"a", 5, 1}, sample{"b", 5, 1})
	b.post(t, V1, sample{"a", 5, 1}, sample{"b", 4, 1}, sample{"c", 5, 1})
	if len(b.stored) != 2 || b.late != 2 {
		t.Errorf("stored %v, late %d, want the first two and 2", b.stored, b.late)
	}
	if !slices.Equal(b.besides, []string{"c"}) {
		t.Errorf("besides late samples were %q, want c", b.besides)
	}
}

func TestMarkersAreValues(t *testing.T) {
	stale := math.Float64frombits(0x7ff0000000000002)
	b := newBench()
	b.post(t, V2, sample{"a", 10, stale})
	if got := b.post(t, V2, sample{"a", 10, math.NaN()}); got.StatusCode != 400 {
		t.Errorf("status %d for another NaN at the time of a marker, want 400", got.StatusCode)
	}
	if got := b.post(t, V2, sample{"a", 10, stale}); got.StatusCode != 204 || b.Counts().Again != 1 {
		t.Errorf("status %d for the marker again, want 204", got.StatusCode)
	}
}

func TestFaults(t *testing.T) {
	for name, tc := range map[string]struct {
		fault  Fault
		v1, v2 int // status; 0: the connection is cut
		stored bool
	}{
		"healthy":         {Fault{}, 204, 204, true},
		"503":             {Fault{Status: 503}, 503, 503, false},
		"only 1.0":        {Fault{Only: V1}, 204, 415, true},
		"large":           {Fault{MaxBody: 3}, 413, 413, false},
		"below the limit": {Fault{MaxBody: 3000}, 204, 204, true},
		"lost answer":     {Fault{LoseAnswer: true}, 0, 0, true},
		"cut":             {Fault{CutBody: true}, 0, 0, false},
		"poisoned":        {Fault{Poisoned: 1}, 400, 400, false},
	} {
		t.Run(name, func(t *testing.T) {
			for p, want := range map[Protocol]int{V1: tc.v1, V2: tc.v2} {
				b := newBench()
				b.Begin("f", tc.fault)
				got := 0
				func() {
					defer func() {
						if p := recover(); p != nil && p != http.ErrAbortHandler {
							panic(p)
						}
					}()
					got = b.post(t, p, sample{"a", 10, 1}).StatusCode
				}()
				if got != want {
					t.Errorf("%d.0: status %d, want %d", p, got, want)
				}
				if stored := len(b.stored) == 1; stored != (tc.stored && want != 415) {
					t.Errorf("%d.0: stored %v", p, b.stored)
				}
			}
		})
	}
}

// TestPausesAreWatched: a request before the end of a pause is a problem, unless it was under way, comes from another
// sender, or the sender was forgiven.
func TestPausesAreWatched(t *testing.T) {
	for name, tc := range map[string]struct {
		after   time.Duration
		from    string // address of the second sender; empty: that of the first one
		forgive bool
		doubt   int
		doubted bool // a fault of the network has just ended
		early   int
	}{
		"under way":              {after: 100 * time.Millisecond},
		"in it":                  {after: 5 * time.Second, early: 1},
		"after it":               {after: 11 * time.Second},
		"from another sender":    {after: 5 * time.Second, from: "192.0.2.2:1234"},
		"of a new process":       {after: 5 * time.Second, forgive: true},
		"the answer may be lost": {after: 5 * time.Second, doubt: 1},
		"it was sent before":     {after: 5 * time.Second, doubted: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench()
				b.Doubt(tc.doubt)
				if tc.doubted {
					b.Doubt(1)
					b.Doubt(-1)
				}
				b.Begin("f", Fault{Status: 429, RetryAfter: 10 * time.Second})
				if got := b.post(t, V2, sample{"a", 10, 1}); got.Header.Get("Retry-After") != "10" {
					t.Errorf("Retry-After %q, want 10", got.Header.Get("Retry-After"))
				}
				b.End("f")
				if tc.forgive {
					b.Forgive("192.0.2.1") // the address of httptest
				}
				time.Sleep(tc.after)
				b.from = tc.from
				b.post(t, V2, sample{"a", 10, 1})
				if n := b.Counts().Early; n != tc.early || len(b.Problems()) != tc.early {
					t.Errorf("%d early requests, problems %q, want %d", n, b.Problems(), tc.early)
				}
			})
		})
	}
}

// TestCutBodyIsNotAnswered: a request whose sender ends in the middle of the body gets no status.
func TestCutBodyIsNotAnswered(t *testing.T) {
	server := httptest.NewServer(newBench())
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: r\r\nContent-Length: 10\r\n\r\nhalf")
	_ = conn.(*net.TCPConn).CloseWrite()
	if answer, _ := io.ReadAll(conn); len(answer) > 0 {
		t.Errorf("answered %q", answer)
	}
}

func TestMalformedBodiesAreProblems(t *testing.T) {
	for name, body := range map[string]string{
		"no snappy": "x", "no message": string(snappy.Encode(nil, []byte("xyz"))),
	} {
		b := newBench()
		req := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		req.Header.Set("Content-Type", "application/x-protobuf")
		w := httptest.NewRecorder()
		b.ServeHTTP(w, req)
		if w.Code != 400 || len(b.Problems()) != 1 {
			t.Errorf("%s: status %d, problems %q, want 400 and one", name, w.Code, b.Problems())
		}
	}
}
