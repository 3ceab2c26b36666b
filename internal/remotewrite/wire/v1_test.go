package wire

import (
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/textparse"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

func TestRequestsOfSidecars(t *testing.T) {
	for _, shape := range [][2]int{{4, 2000}, {20, 300}, {30, 60}} {
		ms := sidecarMessages(t, shape[0], shape[1])
		if len(ms) < 2 {
			t.Fatalf("requests = %d, want some", len(ms))
		}
		for _, m := range ms {
			checkRequests(t, m)
		}
	}
}

// TestBytesOnTheWire: the bytes of a request must not be more than what a search for repetitions would find.
func TestBytesOnTheWire(t *testing.T) {
	var samples, bytes int
	for _, m := range sidecarMessages(t, 4, 2000) {
		body, _, err := (&v1Writer{}).encode(m, true)
		if err != nil {
			t.Fatal(err)
		}
		samples += m.Samples
		bytes += len(body)
	}
	if mean := float64(bytes) / float64(samples); mean > 50 {
		t.Errorf("1.0: %.1f bytes a sample, want at most 50", mean)
	}
}

// TestBytesOfMergedRequests: so few are left if each series has its labels once.
func TestBytesOfMergedRequests(t *testing.T) {
	group := scrapesOf(t, 1, 3, 2000)[0]
	merged, err := (*Pool)(nil).Merge(group, Limits{Samples: 2000})
	if err != nil {
		t.Fatal(err)
	}
	for p, most := range map[Protocol]float64{V1: 20, V2: 7} {
		var samples, bytes int
		for _, m := range merged {
			body, _, err := (*Pool)(nil).Body(m, p, true)
			if err != nil {
				t.Fatal(err)
			}
			samples += m.Samples
			bytes += len(body)
		}
		if mean := float64(bytes) / float64(samples); samples != 6000 || mean > most {
			t.Errorf("%s: %.1f bytes for each of %d samples, want at most %v for 6,000", p, mean, samples, most)
		}
	}
}

// TestRequestsOfRealPages sends the pages of real proxies, two scrapes of two targets each.
func TestRequestsOfRealPages(t *testing.T) {
	files, _ := filepath.Glob("../../../shared/data/envoy/*.txt")
	if len(files) == 0 {
		t.Skip("SKIPPED: no real pages beside the checkout (../shared/data/envoy)")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			page, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			table := series.NewTable()
			var batches []*series.Batch
			for i := range 2 {
				public := labels.FromStrings("instance", fmt.Sprintf("10.0.0.%d:15090", i), "job", "envoy",
					"pod", fmt.Sprint("pod-", i))
				batches = append(batches, pageBatch(t, table, public, page))
			}
			for range 2 {
				for _, b := range batches {
					b.Time += 10_000
				}
				for _, m := range messagesOf(t, table, batches) {
					checkRequests(t, m)
				}
			}
		})
	}
}

// pageBatch is what Prometheus' parser finds on a page.
func pageBatch(t *testing.T, table *series.Table, public labels.Labels, page []byte) *series.Batch {
	t.Helper()
	p, err := textparse.New(page, "text/plain", labels.NewSymbolTable(),
		textparse.ParserOptions{FallbackContentType: "text/plain"})
	if err != nil {
		t.Fatal(err)
	}
	var b series.Batch
	id := table.AddTarget(public)
	b.Reset(id, 1_700_000_000_000)
	for {
		entry, err := p.Next()
		if err != nil {
			if err != io.EOF {
				t.Log(err) // pages of other formats end early
			}
			return &b
		}
		if entry != textparse.EntrySeries {
			continue
		}
		var ls labels.Labels
		p.Labels(&ls)
		lb := labels.NewBuilder(ls)
		public.Range(func(l labels.Label) { lb.Set(l.Name, l.Value) })
		_, _, v := p.Series()
		b.Add(table.Add(id, lb.Labels(), series.Meta{Type: model.MetricTypeUnknown}), v)
	}
}

// FuzzRequests holds the encoders against their twins over messages that the fuzzer draws, series by series.
func FuzzRequests(f *testing.F) {
	f.Add([]byte("\x03\x01\x02\x03\x04\x05\x06\x00\x03\x01\x02\x03\x04\x07\x08\x00"), uint64(1),
		int64(1_700_000_000_000))
	f.Add([]byte("abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz"), uint64(math.MaxUint64), int64(-1))
	f.Add([]byte("\x05\x11\x11\x11\x11\x11\x11\x11\x11\x11\x11\xf1\x05\x11\x11\x11\x11\x12\x11\x11\x11\x11\x11\xf1"),
		uint64(0x4059<<48), int64(0))
	f.Add([]byte("\x03\x01\x02\x03\x01\x03\x01\x02\x03\x80\x03\x01\x02\x03\x09\x03\x01\x02\x03\x11"), uint64(1),
		int64(1_700_000_000_000))
	// all in eight bytes
	f.Add([]byte("\x03\x01\x02\x03\x01\x03\x01\x02\x03\x80\x03\x01\x02\x03\x09\x03\x01\x02\x03\x11"), uint64(1),
		int64(200))
	// series with several samples
	f.Add([]byte("\x0b\x01\x02\x03\x13\x1c\x1c\x1c\x0b\x01\x02\x04\x13\x1c\x24\x1d\x0b\x01\x02\x03\x13\x04\x1c\x00"),
		uint64(0x4059<<48), int64(1_700_000_000_000))
	// and in seven
	f.Add([]byte("\x03\x01\x02\x03\x01\x03\x01\x02\x03\x91\x03\x01\x02\x03\x91"), uint64(0), int64(20_000))
	f.Fuzz(func(t *testing.T, data []byte, bits uint64, at int64) {
		d := drawing{data: data, bits: bits, at: at}
		m := d.message()
		checkRequests(t, m)
	})
}

// drawing makes a message of bytes. Few names and values, so that much is equal and much nearly so.
type drawing struct {
	data []byte
	bits uint64
	at   int64
}

func (d *drawing) next() int {
	if len(d.data) == 0 {
		return 0
	}
	c := d.data[0]
	d.data = d.data[1:]
	return int(c)
}

func (d *drawing) message() (m Message) {
	symbols := appendBytesField(nil, tagSymbol, "")
	for i := 1; i < 300; i++ { // references of one byte and of two
		text := fmt.Sprintf("text-%d", i%40)
		if i%16 == 15 {
			text = fmt.Sprint(text, string(noise(i))) // longer than a literal may be
		}
		symbols = appendBytesField(symbols, tagSymbol, text)
	}
	var series []byte
	for len(d.data) > 0 {
		op := d.next()
		body, samples := d.series(op)
		series = appendBytesField(series, tagSeries, body)
		m.Samples += samples
		if op&0xf0 == 0xf0 {
			m.Fragments = append(m.Fragments, appendPacked(nil, symbols, series))
			symbols, series = appendBytesField(nil, tagSymbol, fmt.Sprint("late ", m.Samples)), nil
		}
	}
	m.Fragments = append(m.Fragments, appendPacked(nil, symbols, series))
	return m
}

// series draws a series with one sample, or with up to four.
func (d *drawing) series(op int) (body []byte, samples int) {
	var refs []byte
	for range op % 8 {
		c := d.next()
		refs = appendUvarint(refs, uint64(c>>4))
		refs = appendUvarint(refs, uint64(c&15)*uint64(1+d.bits%19))
	}
	body = appendBytesField(body, tagLabelRefs, refs)
	c := d.next()
	at := d.at + int64(c>>4)
	start := int64(0)
	if at > 0 && c&0x81 != 0 {
		start = at - at*int64(c>>4)/16
	}
	switch c & 7 {
	case 0:
		body = appendHistogram(body, tagHistogram, nativeHistogram(c), at, start)
	case 1:
		body = appendStarted(body, math.Float64frombits(d.bits*uint64(c>>3)), at, start)
	default:
		body = appendSample(body, math.Float64frombits(d.bits*uint64(c>>3)), at)
	}
	for samples = 1; op&0x08 != 0 && samples < 4; samples++ {
		next := d.next()
		at += int64(1 + next>>5)
		switch next & 7 {
		case 0:
			return body, samples
		case 1:
			body = appendHistogram(body, tagHistogram, nativeHistogram(next), at, start)
		case 2:
			body = appendStarted(body, math.Float64frombits(d.bits*uint64(next>>3)), at, start)
		default:
			body = appendSample(body, math.Float64frombits(d.bits*uint64(next>>3)), at)
		}
	}
	if c&0x60 == 0x60 {
		x := appendBytesField(nil, tagExemplarLabels, refs)
		x = appendDoubleField(x, tagExemplarValue, 1.5)
		body = appendBytesField(body, tagExemplar, appendVarintField(x, tagExemplarTime, uint64(at)))
	}
	if c&0x10 != 0 {
		body = appendBytesField(body, tagMetadata, appendVarintField(nil, tagMetaType, 3))
	}
	return body, samples
}

func nativeHistogram(c int) *series.Histogram {
	h := &histogram.Histogram{Schema: 2, Count: uint64(c), Sum: 3.5,
		PositiveSpans: []histogram.Span{{Offset: -3, Length: 2}}, PositiveBuckets: []int64{3, -1}}
	if c&8 != 0 {
		h.Schema, h.CustomValues = histogram.CustomBucketsSchema, []float64{0.5, 1}
	}
	return &series.Histogram{Integer: h}
}
