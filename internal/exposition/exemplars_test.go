package exposition

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/gogo/protobuf/types"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	dto "github.com/prometheus/prometheus/prompb/io/prometheus/client"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// TestRow62Exemplars reads pages one after another: an exemplar is sent when it is new, with its own time or that of
// its sample.
func TestRow62Exemplars(t *testing.T) {
	long := strings.Repeat("ä", 125)
	for name, pages := range map[string][]struct{ line, want string }{
		"of a bucket":        {{`a_bucket{le="1"} 1 # {id="1"} 0.5`, `{id="1"} 0.5 at 1000`}},
		"with a time":        {{`a_total 1 # {id="1"} 0.5 3.5`, `{id="1"} 0.5 at 3500`}},
		"of a sample's time": {{`a_total 1 7 # {id="1"} 0.5`, `{id="1"} 0.5 at 7000`}},
		"without labels":     {{`a_total 1 # {} 0.5`, `{} 0.5 at 1000`}},
		"once": {{`a_total 1 # {id="1"} 0.5`, `{id="1"} 0.5 at 1000`},
			{`a_total 2 # {id="1"} 0.5`, ""}, {`a_total 3 # {id="1"} 0.5`, ""}},
		"another value": {{`a_total 1 # {id="1"} 0.5`, `{id="1"} 0.5 at 1000`},
			{`a_total 2 # {id="1"} 0.6`, `{id="1"} 0.6 at 2000`}},
		"another label": {{`a_total 1 # {id="1"} 0.5`, `{id="1"} 0.5 at 1000`},
			{`a_total 2 # {id="2"} 0.5`, `{id="2"} 0.5 at 2000`}},
		"another time": {{`a_total 1 # {id="1"} 0.5 3`, `{id="1"} 0.5 at 3000`},
			{`a_total 2 # {id="1"} 0.5 4`, `{id="1"} 0.5 at 4000`}},
		"gone and back": {{`a_total 1 # {id="1"} 0.5`, `{id="1"} 0.5 at 1000`}, {`a_total 2`, ""},
			{`a_total 3 # {id="1"} 0.5`, ""}},
		"older": {{`a_total 1 # {id="2"} 0.5 4`, `{id="2"} 0.5 at 4000`},
			{`a_total 2 # {id="1"} 0.5 3`, `{id="1"} 0.5 at 3000`}},
		"after a failed page": {{`a_total 1 # {id="1"} 0.5 3` + "\n<", "fails"},
			{`a_total 1 # {id="1"} 0.5 3`, `{id="1"} 0.5 at 3000`}},
		"an empty label":        {{`a_total 1 # {id="1",no=""} 0.5`, `{id="1"} 0.5 at 1000`}},
		"as long as may be":     {{`a_total 1 # {abc="` + long + `"} 0.5`, `{abc="` + long + `"} 0.5 at 1000`}},
		"too long":              {{`a_total 1 # {abcd="` + long + `"} 0.5`, ""}},
		"a label twice":         {{`a_total 1 # {id="1",id="2"} 0.5`, ""}},
		"of a dropped series":   {{`drop_total 1 # {id="1"} 0.5`, ""}},
		"of a series and again": {{"a_total 1 # {id=\"1\"} 0.5\na_total 2 # {id=\"2\"} 0.5", `{id="1"} 0.5 at 1000`}},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLearner()
			p := NewPage(l.layouts, l, Options{HonorTimestamps: true})
			for i, page := range pages {
				var b series.Batch
				b.Reset(l.target, int64(1000*(i+1)))
				text := "# TYPE a counter\n" + page.line + "\n# EOF\n"
				_, err := p.Read(strings.NewReader(text), openMetrics, math.MaxInt64, &b)
				got := "fails"
				if err != nil {
					p.Abandon()
				} else {
					got = ""
					for _, e := range b.Exemplars {
						got += fmt.Sprintf("%v %v at %d", e.Exemplar.Labels, e.Exemplar.Value, e.Exemplar.Ts)
					}
					p.Commit(Shown{}).Release()
				}
				if got != page.want {
					t.Errorf("page %d: %q, want %q (error %v)", i, got, page.want, err)
				}
			}
		})
	}
}

func TestExemplarsOfLinesThatAreGoneAreForgotten(t *testing.T) {
	var x sentExemplars
	for page := range 100 {
		for i := range 100 {
			if !x.add(uint64(100*page+i), exemplar.Exemplar{Labels: labels.FromStrings("id", "1"), Value: 1}, false) {
				t.Fatal("an exemplar counts as that of another line")
			}
		}
		x.commit()
		if n := len(x.kept); n > 300+maxOldExemplars {
			t.Fatalf("%d are kept after pages of 100", n)
		}
	}
}

func TestMaxSchema(t *testing.T) {
	for _, factor := range []float64{
		0, 1, 1.0027, 1.0028, 1.1, 1.5, 2, 3, 4, 16, 256, 65535, 65536, 65537, 1e9, math.Inf(1),
	} {
		finest := int32(-4)
		for schema := int32(8); schema >= -4; schema-- {
			if math.Pow(2, math.Pow(2, -float64(schema))) >= factor {
				finest = schema
				break
			}
		}
		if got := MaxSchema(factor); got != finest {
			t.Errorf("factor %v: schema %d, want %d", factor, got, finest)
		}
	}
}

// An exemplar that is not kept counts as new each time, one that is kept does not. None is kept when a page shows none.
func TestExemplarsBeyondTheBoundAreNotKept(t *testing.T) {
	var x sentExemplars
	const lines = maxExemplars + 100
	for round, want := range []int{lines, 100, 100} {
		x.begin()
		fresh := 0
		for line := range uint64(lines) {
			if x.add(line, exemplar.Exemplar{Value: 1}, false) {
				fresh++
			}
		}
		x.commit()
		if fresh != want || len(x.kept) > maxExemplars {
			t.Errorf("round %d: %d new, want %d; %d kept", round, fresh, want, len(x.kept))
		}
	}
	x.begin()
	x.commit()
	if len(x.kept) > 0 {
		t.Errorf("%d kept after a page without exemplars", len(x.kept))
	}
}

// TestExemplarsThatStayAreSentOnce reads pages with 5,000 exemplars. One of them is new on each page.
func TestExemplarsThatStayAreSentOnce(t *testing.T) {
	var x sentExemplars
	for round, want := range []int{5000, 1, 1, 1} {
		x.begin()
		fresh := 0
		for line := range uint64(5000) {
			e := exemplar.Exemplar{Value: 1}
			if line == 7 {
				e.Value = float64(round)
			}
			if x.add(line, e, false) {
				fresh++
			}
		}
		x.commit()
		if fresh != want {
			t.Errorf("round %d: %d new, want %d", round, fresh, want)
		}
	}
}

// nativeHistogramPage is a protobuf page with one native histogram, whose exemplars have the given times, in seconds.
func nativeHistogramPage(t *testing.T, exemplars []int64) []byte {
	t.Helper()
	h := &dto.Histogram{
		SampleCount: 3, SampleSum: 1, Schema: 3, ZeroThreshold: 0.001, ZeroCount: 1,
		PositiveSpan: []dto.BucketSpan{{Length: 1}}, PositiveDelta: []int64{2},
	}
	for _, at := range exemplars {
		h.Exemplars = append(h.Exemplars, &dto.Exemplar{
			Label: []dto.LabelPair{{Name: "id", Value: fmt.Sprint(at)}},
			Value: 1, Timestamp: &types.Timestamp{Seconds: at},
		})
	}
	f := dto.MetricFamily{Name: "h", Type: dto.MetricType_HISTOGRAM, Metric: []dto.Metric{{Histogram: h}}}
	b, err := f.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.AppendUvarint(nil, uint64(len(b))), b...)
}

// A native histogram prints several exemplars, and prints those again that it has not replaced yet. As in Prometheus'
// storage, an exemplar is sent if it is newer than the newest one sent for this series.
func TestExemplarsOfANativeHistogramAreSentOnce(t *testing.T) {
	l := newLearner()
	p := NewPage(l.layouts, l, Options{NativeHistograms: true, MaxHistogramSchema: 8})
	for i, page := range []struct {
		exemplars []int64
		fails     bool
		sent      []int64
	}{
		{exemplars: []int64{20, 10}, sent: []int64{10, 20}},
		{exemplars: []int64{20, 10}},
		{exemplars: []int64{20, 30, 10}, sent: []int64{30}},
		{exemplars: []int64{20, 15, 30}},
		{exemplars: []int64{30, 40, 50}, fails: true},
		{exemplars: []int64{30, 40, 50}, sent: []int64{40, 50}},
		{exemplars: []int64{50, 40}},
	} {
		text := nativeHistogramPage(t, page.exemplars)
		if page.fails {
			text = append(text, "not protobuf"...)
		}
		var b series.Batch
		b.Reset(l.target, int64(i))
		if _, err := p.Read(bytes.NewReader(text), protobuf, math.MaxInt64, &b); err != nil {
			if !page.fails {
				t.Fatal(err)
			}
			p.Abandon()
			continue
		}
		var sent []int64
		for _, e := range b.Exemplars {
			sent = append(sent, e.Exemplar.Ts/1000)
		}
		if page.fails || !slices.Equal(sent, page.sent) {
			t.Errorf("page %d: sent %v, want %v", i, sent, page.sent)
		}
		p.Commit(Shown{}).Release()
	}
}
