package remotewrite

import (
	"fmt"
	"math"
	"testing"
	"unicode/utf8"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// FuzzDecodeEncode holds decode(encode(batch)) == batch, for 2.0 and for the 1.0 that is made of it, over
// batches that the fuzzer draws: label texts, values, times.
func FuzzDecodeEncode(f *testing.F) {
	f.Add("requests_total", "pod", "a", "b", uint64(0x7ff0000000000002), int64(1_700_000_000_000), uint8(3))
	f.Add("m", "", "", "", uint64(0), int64(0), uint8(1))
	f.Add("m", "instance", "", "x", uint64(1<<63), int64(-1), uint8(9))
	f.Add("__name__", "__name__", "__name__", "__name__", uint64(0x3ff0000000000000), int64(1), uint8(2))
	f.Add("ünï", "l\x00", "v\n\"", "x", uint64(math.MaxUint64), int64(math.MaxInt64), uint8(200))
	f.Add("bad\xff", "ok", "ok", "ok", uint64(1), int64(math.MinInt64+1), uint8(4))
	f.Fuzz(checkLaw)
}

func checkLaw(t *testing.T, metric, name, value, help string, bits uint64, at int64, n uint8) {
	ec := endpointConfig("a")
	ec.QueueConfig.MaxSamplesPerSend = int(n%7) + 1
	w := newWorld(t, ec)
	public := labels.FromStrings("instance", "pod-1", "job", "envoy")
	id := w.table.AddTarget(public)
	var b series.Batch
	b.Reset(id, at)
	want := map[string]string{}
	for i := range int(n%20) + 1 {
		lb := labels.NewBuilder(public)
		lb.Set("__name__", metric)
		lb.Set(name, value)
		lb.Set("i", fmt.Sprint(i)) // a batch holds a series once
		ls := lb.Labels()
		index := b.Add(w.table.Add(id, ls, series.Meta{Type: model.MetricTypeGauge, Help: help}),
			math.Float64frombits(bits+uint64(i)))
		started := ""
		if start := at/2 + int64(i); i%3 == 1 && start > 0 {
			b.Starts = append(b.Starts, series.Start{Index: index, Time: start})
			if start <= at {
				started = fmt.Sprintf(" since %d", start)
			}
		}
		if !valid(ls) {
			continue
		}
		if !ls.IsValid(model.UTF8Validation) {
			t.Fatalf("the test thinks that %s is valid", ls)
		}
		key := ls.String()
		if utf8.ValidString(help) {
			want[key] += fmt.Sprintf("gauge %q %q %x@%d%s", help, "", bits+uint64(i), at, started)
		} else {
			want[key] += fmt.Sprintf("gauge %q %q %x@%d%s", "", "", bits+uint64(i), at, started)
		}
	}
	if at == math.MinInt64 {
		return // not newer than nothing
	}
	w.append(&b)
	ms := w.messages()
	compare(t, describeV2(t, ms), want)

	arrived := map[string]int{}
	var sb labels.ScratchBuilder
	for _, m := range ms {
		req, lost := decodeV1(t, m, true)
		if lost != 0 || len(req.Timeseries) != m.Samples {
			t.Errorf("1.0: lost %d, series %d, want 0, %d", lost, len(req.Timeseries), m.Samples)
		}
		for _, ts := range req.Timeseries {
			key := ts.ToLabels(&sb, nil).String()
			if _, ok := want[key]; !ok || len(ts.Samples) != 1 || ts.Samples[0].Timestamp != at {
				t.Errorf("1.0: unexpected %s %v", key, ts.Samples)
			}
			arrived[key]++
		}
	}
	if len(arrived) != len(want) {
		t.Errorf("1.0: series %d, want %d", len(arrived), len(want))
	}
}

// valid reports whether a receiver would take the labels. It is written in another way than the encoder.
func valid(ls labels.Labels) bool {
	ok := ls.Get("__name__") != ""
	ls.Range(func(l labels.Label) {
		ok = ok && l.Name != "" && utf8.ValidString(l.Name) && utf8.ValidString(l.Value)
	})
	return ok
}
