package wire

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire/wiretest"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// testRow is one sample of a message that messageOfRows makes.
type testRow struct {
	labels    []string // names and values
	value     float64
	at, start int64
	histogram *series.Histogram
	exemplar  string // its trace; "": none
	help      string
}

// messageOfRows writes a message the simple way. unused symbols come before the others, so that the same text has
// different references in different messages. The message has a fragment for each eight series.
func messageOfRows(rows []testRow, unused int) (m Message) {
	refs := map[string]uint64{"": 0}
	symbols, all := []byte{tagSymbol, 0}, []byte(nil)
	ref := func(text string) uint64 {
		if _, known := refs[text]; !known {
			refs[text] = uint64(len(refs))
			symbols = appendBytesField(symbols, tagSymbol, text)
		}
		return refs[text]
	}
	for i := range unused {
		ref(fmt.Sprint("unused ", i))
	}
	cut := func() {
		m.Fragments = append(m.Fragments, appendPacked(nil, symbols, all))
		symbols, all = nil, nil
	}
	for i, r := range rows {
		var packed []byte
		for _, text := range r.labels {
			packed = appendUvarint(packed, ref(text))
		}
		body := appendBytesField(nil, tagLabelRefs, packed)
		if r.histogram != nil {
			body = appendHistogram(body, tagHistogram, r.histogram, r.at, r.start)
		} else {
			body = appendStarted(body, r.value, r.at, r.start)
		}
		if r.exemplar != "" {
			trace := appendUvarint(appendUvarint(nil, ref("trace")), ref(r.exemplar))
			x := appendBytesField(nil, tagExemplarLabels, trace)
			body = appendBytesField(body, tagExemplar, appendVarintField(x, tagExemplarTime, uint64(r.at)))
		}
		if r.help != "" {
			meta := appendVarintField([]byte{tagMetaType, 1}, tagMetaHelp, ref(r.help))
			body = appendBytesField(body, tagMetadata, meta)
		}
		all = appendBytesField(all, tagSeries, body)
		if m.Samples++; i == 0 {
			m.Oldest, m.Newest = r.at, r.at
		}
		m.Oldest, m.Newest = min(m.Oldest, r.at), max(m.Newest, r.at)
		if i%8 == 7 {
			cut()
		}
	}
	cut()
	return m
}

// readMessage is what a receiver reads of a message.
type readMessage struct {
	series           []*readSeries
	byLabels         map[string]*readSeries
	unused, repeated int // symbols
	oldest, newest   int64
}

type readSeries struct {
	labels    labels.Labels
	samples   []string
	exemplars []string
	help      string
	parts     int // TimeSeries that it was in
}

// texts describes each series, for example: up envoy: 1@1 0@2.
func (r readMessage) texts() (out []string) {
	for _, s := range r.series {
		var values []string
		s.labels.Range(func(l labels.Label) { values = append(values, l.Value) })
		text := strings.Join(values, " ") + ": " + strings.Join(append(s.samples, s.exemplars...), " ")
		if s.help != "" {
			text += " help " + s.help
		}
		out = append(out, text)
	}
	return out
}

func sampleText(v float64, at, start int64) string {
	text := fmt.Sprint(v)
	if math.IsNaN(v) {
		text = "NaN"
	}
	if value.IsStaleNaN(v) {
		text = "stale"
	}
	return timeText(text, at, start)
}

func timeText(text string, at, start int64) string {
	text = fmt.Sprintf("%s@%d", text, at)
	if start != 0 {
		text += fmt.Sprint(" since ", start)
	}
	return text
}

func (r *readMessage) add(s *readSeries) {
	r.series = append(r.series, s)
	if r.byLabels == nil {
		r.byLabels = map[string]*readSeries{}
	}
	r.byLabels[s.labels.String()] = s
}

// readV2 reads a message as a 2.0 receiver does.
func readV2(t testing.TB, m Message) (r readMessage) {
	t.Helper()
	block, err := appendRequestV2(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	var req writev2.Request
	if err := req.Unmarshal(decompress(t, block)); err != nil {
		t.Fatal(err)
	}
	used := map[uint32]bool{0: true}
	sorted := slices.Sorted(slices.Values(req.Symbols))
	r.repeated = len(sorted) - len(slices.Compact(sorted))
	r.oldest, r.newest = math.MaxInt64, math.MinInt64
	var b labels.ScratchBuilder
	for _, ts := range req.Timeseries {
		ls, err := ts.ToLabels(&b, req.Symbols)
		if err != nil {
			t.Fatal(err)
		}
		s := &readSeries{labels: ls.Copy(), help: req.Symbols[ts.Metadata.HelpRef], parts: 1}
		for _, ref := range append(ts.LabelsRefs, ts.Metadata.HelpRef, ts.Metadata.UnitRef) {
			used[ref] = true
		}
		for _, x := range ts.Samples {
			s.samples = append(s.samples, sampleText(x.Value, x.Timestamp, x.StartTimestamp))
			r.oldest, r.newest = min(r.oldest, x.Timestamp), max(r.newest, x.Timestamp)
		}
		for _, h := range ts.Histograms {
			text := fmt.Sprint("histogram ", h.GetCountInt())
			s.samples = append(s.samples, timeText(text, h.Timestamp, h.StartTimestamp))
			r.oldest, r.newest = min(r.oldest, h.Timestamp), max(r.newest, h.Timestamp)
		}
		for _, x := range ts.Exemplars {
			for _, ref := range x.LabelsRefs {
				used[ref] = true
			}
			s.exemplars = append(s.exemplars, fmt.Sprintf("exemplar %s@%d", req.Symbols[x.LabelsRefs[1]], x.Timestamp))
		}
		r.add(s)
	}
	r.unused = len(req.Symbols) - len(used)
	return r
}

// readV1 reads a message as a 1.0 receiver does.
func readV1(t testing.TB, m Message) (r readMessage) {
	t.Helper()
	block, _, err := (&v1Writer{}).encode(m, true)
	if err != nil {
		t.Fatal(err)
	}
	var req prompb.WriteRequest
	if err := req.Unmarshal(decompress(t, block)); err != nil {
		t.Fatal(err)
	}
	var b labels.ScratchBuilder
	for _, ts := range req.Timeseries {
		s := &readSeries{labels: ts.ToLabels(&b, nil).Copy(), parts: 1}
		for _, x := range ts.Samples {
			s.samples = append(s.samples, sampleText(x.Value, x.Timestamp, 0))
		}
		for _, h := range ts.Histograms {
			s.samples = append(s.samples, timeText(fmt.Sprint("histogram ", h.GetCountInt()), h.Timestamp, 0))
		}
		for _, x := range ts.Exemplars {
			s.exemplars = append(s.exemplars, fmt.Sprintf("exemplar %s@%d", x.Labels[0].Value, x.Timestamp))
		}
		r.add(s)
	}
	return r
}

// readAll reads messages, one after the other, as one receiver does.
func readAll(t testing.TB, ms []Message, p Protocol) map[string]*readSeries {
	t.Helper()
	all := map[string]*readSeries{}
	for _, m := range ms {
		read := readV2
		if p == V1 {
			read = readV1
		}
		for _, s := range read(t, m).series {
			key := s.labels.String()
			known := all[key]
			if known == nil {
				all[key] = s
				continue
			}
			known.samples = append(known.samples, s.samples...)
			known.exemplars = append(known.exemplars, s.exemplars...)
			known.parts++
			if s.help != "" {
				known.help = s.help
			}
		}
	}
	return all
}

// scrapesOf packs scrapes of sidecars, 15 s apart, each into a message of its own. Counters above 1,000 grow, all other
// values stay.
func scrapesOf(t testing.TB, targets, scrapes, size int) (out [][]Message) {
	t.Helper()
	table := series.NewTable()
	random := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // the same scrapes at each run
	for i := range targets {
		b := wiretest.Mesh(table, i/10, i, size)
		var of []Message
		for range scrapes {
			for _, m := range messagesOf(t, table, []*series.Batch{b}) {
				for k, f := range m.Fragments {
					m.Fragments[k] = bytes.Clone(f)
				}
				of = append(of, m)
			}
			b.Time += 15_000
			for k, v := range b.Values {
				if v >= 1000 {
					b.Values[k] = v + float64(random.IntN(1000))
				}
			}
		}
		out = append(out, of)
	}
	return out
}
