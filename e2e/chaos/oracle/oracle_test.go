package oracle

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

func numbered(instance string, series, number int, at int64) Sample {
	return Sample{Labels: Labels{
		{"__name__", Metric}, {"instance", instance}, {"series", fmt.Sprintf("%03d", series)},
	}, Time: at, Value: float64(number)}
}

func TestLedgerKeepsOrderAndDuplicates(t *testing.T) {
	type book struct{ outOfOrder, duplicates, old int }
	again := func(numbers ...int) (samples []Sample) {
		for _, n := range numbers {
			samples = append(samples, numbered("a", 0, n, int64(n)*1000))
		}
		return samples
	}
	for name, tc := range map[string]struct {
		next []Sample
		want book
	}{
		"newer":                      {again(3), book{}},
		"the newest again":           {again(2), book{duplicates: 1}},
		"the newest, another value":  {[]Sample{numbered("a", 0, 7, 2000)}, book{outOfOrder: 1}},
		"an older one again":         {again(1), book{duplicates: 1, old: 1}},
		"both again":                 {again(1, 2), book{duplicates: 2}},
		"both again, and a newer":    {again(1, 2, 3), book{duplicates: 2}},
		"older than the newest":      {[]Sample{numbered("a", 0, 9, 1500)}, book{outOfOrder: 1}},
		"old, but of another series": {[]Sample{numbered("b", 0, 1, 10)}, book{}},
		"a staleness marker": {
			[]Sample{{numbered("a", 0, 0, 0).Labels, 3000, math.Float64frombits(value.StaleNaN)}}, book{},
		},
	} {
		first := newLedger()
		first.take([]Sample{numbered("a", 0, 1, 1000), numbered("a", 0, 2, 2000)})
		l := first.Clone()
		l.NextEpoch()
		l.take(tc.next)
		if got := (book{l.outOfOrder, l.duplicates, l.old}); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
		if got, want := l.repeats[1], min(1, tc.want.duplicates); got != want || l.repeats[0] != 0 {
			t.Errorf("%s: repeated requests %v, want %d in the second epoch", name, l.repeats, want)
		}
	}
}

// scraped returns a fleet of two targets with two series each, after the given number of scrapes of each target.
func scraped(t *testing.T, times int) *Fleet {
	t.Helper()
	addresses, err := NewAddressRange()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(addresses.Close)
	f, err := NewFleet(addresses, 2, 2, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	for range times {
		for _, target := range f.Targets {
			page(t, target)
		}
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for f.Served() < 2*times { // a client may have read a page before the target records it
		select {
		case <-deadline:
			t.Fatalf("%d scrapes served, want %d", f.Served(), 2*times)
		case <-tick.C:
		}
	}
	return f
}

func page(t *testing.T, target *Target) string {
	t.Helper()
	resp, err := http.Get("http://" + target.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestFleetNumbersItsScrapes(t *testing.T) {
	f := scraped(t, 2)
	text := page(t, f.Targets[0])
	if want := Metric + `{series="001"} 3`; !strings.Contains(text, want) {
		t.Errorf("the third page is %q, want %q in it", text, want)
	}
	f.Freeze()
	if text := page(t, f.Targets[0]); text != "" || len(f.Targets[0].Served()) > 3 {
		t.Errorf("a frozen target serves %q", text)
	}
}

func TestJudge(t *testing.T) {
	all := func(f *Fleet) []Sample {
		var samples []Sample
		for _, target := range f.Targets {
			for n := 1; n <= 3; n++ {
				samples = append(samples, numbered(target.Address, 0, n, int64(n)),
					numbered(target.Address, 1, n, int64(n)))
			}
		}
		return samples
	}
	for name, tc := range map[string]struct {
		take func(*Fleet) []Sample
		ends []time.Time
		want Verdict
	}{
		"everything": {take: all, want: Verdict{Served: 6, Arrived: 6}},
		"nothing": {take: func(*Fleet) []Sample { return nil },
			want: Verdict{Served: 6, Lost: 6, Samples: 12, Worst: 3}},
		"a part": {take: func(f *Fleet) []Sample { return all(f)[1:] },
			want: Verdict{Served: 6, Arrived: 5, Lost: 1, Partial: 1, Samples: 1, Worst: 1}},
		"in flight": {take: func(f *Fleet) []Sample { return all(f)[2:] },
			ends: []time.Time{time.Now().Add(time.Hour), time.Now()},
			want: Verdict{Served: 6, Arrived: 5, Lost: 1, InFlight: 1, Samples: 2, Worst: 1}},
		"never served": {
			take: func(f *Fleet) []Sample { return append(all(f), numbered(f.Targets[0].Address, 0, 4, 4)) },
			want: Verdict{Served: 6, Arrived: 6, Invented: 1},
		},
		"twice": {take: func(f *Fleet) []Sample { return append(all(f), all(f)[4:6]...) },
			want: Verdict{Served: 6, Arrived: 6, Duplicates: 2, Repeats: 1, MostRepeats: 1}},
	} {
		f := scraped(t, 3)
		l := newLedger()
		l.take(tc.take(f))
		got := Judge(f, l, tc.ends)
		if tc.ends == nil && got.InFlight > 0 {
			t.Errorf("%s: in flight without an end", name)
		}
		tc.want.Targets = 2
		got.Gaps, got.Example = nil, ""
		if got.String() != tc.want.String() || got.Worst != tc.want.Worst {
			t.Errorf("%s:\n got %v, worst %d\nwant %v, worst %d", name, got, got.Worst, tc.want, tc.want.Worst)
		}
	}
}

func newTestReceiver(t *testing.T) *Receiver {
	t.Helper()
	addresses, err := NewAddressRange()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(addresses.Close)
	r, err := NewReceiver(addresses, 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// post sends one sample as the protocol requires.
func post(t *testing.T, r *Receiver, v2 bool, number int) (*http.Response, error) {
	t.Helper()
	sample := numbered("a", 0, number, int64(number))
	contentType := "application/x-protobuf"
	var body []byte
	var err error
	if v2 {
		contentType += ";proto=" + messageV2
		m := writev2.Request{Symbols: []string{""}, Timeseries: []writev2.TimeSeries{{
			Samples: []writev2.Sample{{Value: sample.Value, Timestamp: sample.Time}}}}}
		for _, l := range sample.Labels {
			n := uint32(len(m.Symbols))
			m.Symbols = append(m.Symbols, l.Name, l.Value)
			m.Timeseries[0].LabelsRefs = append(m.Timeseries[0].LabelsRefs, n, n+1)
		}
		body, err = m.Marshal()
	} else {
		m := prompb.WriteRequest{Timeseries: []prompb.TimeSeries{{
			Samples: []prompb.Sample{{Value: sample.Value, Timestamp: sample.Time}}}}}
		for _, l := range sample.Labels {
			m.Timeseries[0].Labels = append(m.Timeseries[0].Labels, prompb.Label{Name: l.Name, Value: l.Value})
		}
		body, err = m.Marshal()
	}
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(r.URL, contentType, strings.NewReader(string(snappy.Encode(nil, body))))
	if err == nil {
		_ = resp.Body.Close()
	}
	return resp, err
}

func TestReceiverRecordsOnlyAcceptedSamples(t *testing.T) {
	const samplesWritten = "X-Prometheus-Remote-Write-Samples-Written"
	for name, tc := range map[string]struct {
		mode    Mode
		v2      bool
		status  int
		taken   bool
		written string
	}{
		"1.0":                     {mode: Up(), status: 204, taken: true},
		"2.0":                     {mode: Up(), v2: true, status: 204, taken: true, written: "1"},
		"2.0, no Written headers": {mode: Up().Silent(), v2: true, status: 204, taken: true},
		"2.0 where only 1.0":      {mode: Up().Only1(), v2: true, status: 415},
		"1.0 where only 1.0":      {mode: Up().Only1(), status: 204, taken: true},
		"refused":                 {mode: Status(400, "no"), v2: true, status: 400},
		"judged":                  {mode: Judged(func(Message, []Sample) int { return 418 }), status: 418},
	} {
		r := newTestReceiver(t)
		if err := r.Set(tc.mode); err != nil {
			t.Fatal(err)
		}
		resp, err := post(t, r, tc.v2, 1)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		taken := len(r.Ledger.arrived()["a"]) == 1
		if resp.StatusCode != tc.status || taken != tc.taken || resp.Header.Get(samplesWritten) != tc.written {
			t.Errorf("%s: status %d, taken %v, written %q; want %d, %v, %q", name, resp.StatusCode, taken,
				resp.Header.Get(samplesWritten), tc.status, tc.taken, tc.written)
		}
	}
}

func TestReceiverStopsAndRestarts(t *testing.T) {
	r := newTestReceiver(t)
	for range 2 {
		if err := r.Set(Refuse()); err != nil {
			t.Fatal(err)
		}
		if _, err := post(t, r, false, 1); err == nil {
			t.Error("a receiver with a closed port answered")
		}
		if err := r.Set(Up()); err != nil {
			t.Fatal(err)
		}
		if _, err := post(t, r, false, 1); err != nil {
			t.Errorf("a receiver that is up again: %v", err)
		}
	}
	answer := make(chan error)
	if err := r.Set(BlackHole()); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := post(t, r, false, 2)
		answer <- err
	}()
	if err := r.Set(Up()); err != nil {
		t.Fatal(err)
	}
	<-answer // connection cut, or answered if the request came late
}

func TestReceiverCountsEarlyRetries(t *testing.T) {
	for name, tc := range map[string]struct {
		mode Mode
		want int
	}{
		"seconds":       {Status(503, "").RetryAfter(60), 1},
		"a date":        {Status(503, "").RetryAfterDate(60), 1},
		"already over":  {Status(503, "").RetryAfter(-1), 0},
		"nothing asked": {Status(503, ""), 0},
	} {
		r := newTestReceiver(t)
		if err := r.Set(tc.mode); err != nil {
			t.Fatal(err)
		}
		for _, number := range []int{1, 2, 1} { // a different request is not a retry
			if _, err := post(t, r, true, number); err != nil {
				t.Fatal(err)
			}
		}
		if got := r.Early(); got != tc.want {
			t.Errorf("%s: %d early requests, want %d", name, got, tc.want)
		}
	}
}
