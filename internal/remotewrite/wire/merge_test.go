package wire

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/value"

	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// TestMerge gives groups of scrapes, and says what each message of the result has.
func TestMerge(t *testing.T) {
	up, job := []string{"__name__", "up", "job", "envoy"}, []string{"__name__", "up", "job", "other"}
	integer := &series.Histogram{Integer: &histogram.Histogram{Schema: 1, Count: 3, Sum: 2}}
	stale := math.Float64frombits(value.StaleNaN)
	for name, tc := range map[string]struct {
		group [][]testRow
		most  Limits
		want  []string // series of each message
	}{
		"two scrapes": {
			group: [][]testRow{{{labels: up, value: 1, at: 1}}, {{labels: up, value: 0, at: 2}}},
			want:  []string{"up envoy: 1@1 0@2"},
		},
		"one scrape": {
			group: [][]testRow{{{labels: up, value: 1, at: 1}, {labels: job, value: 2, at: 1}}},
			want:  []string{"up envoy: 1@1; up other: 2@1"},
		},
		"a staleness marker": {
			group: [][]testRow{{{labels: up, value: 1, at: 1}}, {{labels: up, value: stale, at: 2}}},
			want:  []string{"up envoy: 1@1 stale@2"},
		},
		"a series is absent, another comes and is first": {
			group: [][]testRow{{{labels: up, value: 1, at: 1}}, {{labels: job, value: 2, at: 2}},
				{{labels: job, value: 3, at: 3}, {labels: up, value: 4, at: 3}}},
			want: []string{"up envoy: 1@1 4@3; up other: 2@2 3@3"},
		},
		"start timestamps stay with their sample": {
			group: [][]testRow{{{labels: up, value: 1, at: 5, start: 4}}, {{labels: up, value: 2, at: 6}},
				{{labels: up, value: 1, at: 9, start: 8}}},
			want: []string{"up envoy: 1@5 since 4 2@6 1@9 since 8"},
		},
		"exemplars of all scrapes, the newest metadata": {
			group: [][]testRow{{{labels: up, value: 1, at: 1, exemplar: "a", help: "old"}},
				{{labels: up, value: 2, at: 2, help: "new"}}, {{labels: up, value: 3, at: 3, exemplar: "c"}}},
			want: []string{"up envoy: 1@1 2@2 3@3 exemplar a@1 exemplar c@3 help new"},
		},
		"a float becomes a histogram, and a float again": {
			group: [][]testRow{{{labels: up, value: 1, at: 1}, {labels: job, value: 7, at: 1}},
				{{labels: up, histogram: integer, at: 2}, {labels: job, value: 8, at: 2}},
				{{labels: up, histogram: integer, at: 3}, {labels: job, value: 9, at: 3}},
				{{labels: up, value: 4, at: 4}}},
			want: []string{"up envoy: 1@1; up other: 7@1 8@2 9@3", "up envoy: histogram 3@2 histogram 3@3",
				"up envoy: 4@4"},
		},
		"at most three samples": {
			group: [][]testRow{{{labels: up, value: 1, at: 1}, {labels: job, value: 2, at: 1}},
				{{labels: up, value: 3, at: 2}, {labels: job, value: 4, at: 2}}},
			most: Limits{Samples: 3},
			want: []string{"up envoy: 1@1 3@2", "up other: 2@1 4@2"},
		},
		"a series has more samples than a message may have": {
			group: [][]testRow{{{labels: job, value: 1, at: 1}}, {{labels: up, value: 1, at: 2}},
				{{labels: up, value: 2, at: 3}}, {{labels: up, value: 3, at: 4}}},
			most: Limits{Samples: 2},
			want: []string{"up other: 1@1", "up envoy: 1@2 2@3 3@4"},
		},
		"at most some bytes": {
			group: [][]testRow{{{labels: up, value: 1, at: 1}, {labels: job, value: 2, at: 1}},
				{{labels: up, value: 3, at: 2}, {labels: job, value: 4, at: 2}}},
			most: Limits{Bytes: 1},
			want: []string{"up envoy: 1@1 3@2", "up other: 2@1 4@2"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var group []Message
			for _, rows := range tc.group {
				group = append(group, messageOfRows(rows, 0))
			}
			checkMerged(t, new(Pool), group, tc.most, tc.want)
		})
	}
}

// checkMerged merges a group twice, the second time in memory that is used already, and checks what the messages have.
func checkMerged(t *testing.T, p *Pool, group []Message, most Limits, want []string) {
	t.Helper()
	for range 2 {
		merged, err := p.Merge(group, most)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range merged {
			checkRequests(t, m)
			got = append(got, strings.Join(readV2(t, m).texts(), "; "))
		}
		if !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		p.ReleaseMerged(merged)
	}
}

// TestMergeOfSidecars merges three scrapes of sidecars, in both orders in which targets may come.
func TestMergeOfSidecars(t *testing.T) {
	scrapes := scrapesOf(t, 5, 3, 300)
	var byTarget, byScrape []Message
	for i := range 5 {
		byTarget = append(byTarget, scrapes[i]...)
	}
	for k := range 3 {
		for i := range 5 {
			byScrape = append(byScrape, scrapes[i][k])
		}
	}
	var p Pool
	for name, group := range map[string][]Message{"by target": byTarget, "by scrape": byScrape} {
		for _, most := range []Limits{{}, {Samples: 1000}, {Bytes: 20_000}} {
			checkMerge(t, fmt.Sprint(name, most), &p, group, most)
		}
	}
}

// TestMergeOfManyTargets: the scrapes of a target are far apart in the group.
func TestMergeOfManyTargets(t *testing.T) {
	const targets = 3 * comparedSets
	var group []Message
	for at := range int64(3) {
		for n := range targets {
			pod := fmt.Sprint("pod-", n)
			group = append(group, messageOfRows([]testRow{
				{labels: []string{"__name__", "up", "pod", pod}, value: 1, at: at},
				{labels: []string{"__name__", "requests", "pod", pod}, value: float64(at), at: at},
			}, 0))
		}
	}
	merged, err := new(Pool).Merge(group, Limits{})
	if err != nil || len(merged) != 1 {
		t.Fatalf("%d messages, %v", len(merged), err)
	}
	c, err := Parse(merged[0])
	if err != nil || c.Len() != 2*targets || c.Samples() != 3*c.Len() {
		t.Errorf("%d series, %d samples, %v; want %d series with 3 samples each", c.Len(), c.Samples(), err, 2*targets)
	}
	checkMerge(t, "many targets", new(Pool), group, Limits{})
}

// TestMergeFindsDamage: what Merge refuses is sent unmerged.
func TestMergeFindsDamage(t *testing.T) {
	good := messageOfRows([]testRow{{labels: []string{"__name__", "up"}, value: 1, at: 1}}, 0)
	symbols := []byte{tagSymbol, 0, tagSymbol, 1, 'a'}
	float := appendSample(nil, 1, 1)
	of := func(symbols []byte, fields ...[]byte) Message {
		return Message{Samples: 1, Fragments: [][]byte{appendPacked(nil, symbols,
			appendBytesField(nil, tagSeries, bytes.Join(fields, nil)))}}
	}
	undamaged := of(symbols, []byte{tagLabelRefs, 2, 1, 1}, float)
	if _, err := (*Pool)(nil).Merge([]Message{good, undamaged}, Limits{}); err != nil {
		t.Fatal("undamaged: ", err)
	}
	lies := good
	lies.Samples = 2
	for name, m := range map[string]Message{
		"no fragment":            {Samples: 1},
		"not packed":             {Samples: 1, Fragments: [][]byte{{1, 2, 3}}},
		"other number":           lies,
		"no symbols":             of(nil, []byte{tagLabelRefs, 2, 0, 0}, float),
		"first symbol not empty": of(symbols[2:], []byte{tagLabelRefs, 2, 0, 0}, float),
		"unknown symbol":         of(symbols, []byte{tagLabelRefs, 2, 1, 2}, float),
		"half a label":           of(symbols, []byte{tagLabelRefs, 1, 1}, float),
		"half a reference":       of(symbols, []byte{tagLabelRefs, 2, 1, 0x81}, float),
		"two lists of labels":    of(symbols, []byte{tagLabelRefs, 2, 1, 1}, float, []byte{tagLabelRefs, 2, 1, 1}),
		"no sample":              of(symbols, []byte{tagLabelRefs, 2, 1, 1}),
		"a float and a histogram": of(symbols, []byte{tagLabelRefs, 2, 1, 1}, float,
			[]byte{tagHistogram, 0}),
		"unknown HELP": of(symbols, []byte{tagLabelRefs, 2, 1, 1}, float,
			appendBytesField(nil, tagMetadata, []byte{tagMetaHelp, 9})),
	} {
		for _, group := range [][]Message{{good, m}, {m, good}} {
			if out, err := new(Pool).Merge(group, Limits{}); err == nil {
				t.Errorf("%s: merged to %d messages", name, len(out))
			}
		}
	}
}

// TestMergeKeepsMemory: a merge costs a handful of allocations, and what a large one needed is given back.
func TestMergeKeepsMemory(t *testing.T) {
	group := scrapesOf(t, 1, 3, 2000)[0]
	var p Pool
	n := testing.AllocsPerRun(20, func() {
		merged, err := p.Merge(group, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		p.ReleaseMerged(merged)
	})
	if n > 8 {
		t.Errorf("allocations for 6,000 samples = %v, want at most 8", n)
	}
	t.Logf("%v allocations, %d bytes kept", n, p.merger.size())
	small := scrapesOf(t, 1, 3, 100)[0]
	huge := slices.Repeat(scrapesOf(t, 1, 1, 2000)[0], 40)
	for i, group := range [][]Message{huge, small} {
		for range 100 * (i + 1) {
			merged, err := p.Merge(group, Limits{Samples: 2000})
			if err != nil {
				t.Fatal(err)
			}
			p.ReleaseMerged(merged)
			if i == 0 {
				break
			}
		}
	}
	if p.merger == nil || p.merger.size() > keptMerger {
		t.Error("kept more than the limit long after a large group")
	}
}

// TestMergeOfDrawnScrapes is FuzzMerge with drawings of its own.
func TestMergeOfDrawnScrapes(t *testing.T) {
	var p Pool
	for seed := range uint64(200) {
		data := noise(50 + int(seed)*3)
		data[0] ^= byte(seed)
		d := drawing{data: data}
		checkMerge(t, fmt.Sprint("seed ", seed), &p, d.scrapes(), Limits{Samples: int(seed % 40)})
		if t.Failed() {
			return
		}
	}
}

// FuzzMerge merges scrapes that the fuzzer draws. Read by Prometheus' types in both protocols, the result is the union
// of the scrapes, sample for sample.
func FuzzMerge(f *testing.F) {
	f.Add([]byte("\x02\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"), uint16(0), uint16(0))
	f.Add([]byte("abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz"), uint16(5), uint16(0))
	f.Add(bytes.Repeat([]byte("\x31\x42\x53\x64\x75\x86\x97\xa8\xb9\xca"), 30), uint16(0), uint16(77))
	f.Add(bytes.Repeat([]byte{0x07, 0x01, 0x81, 0x33, 0x70, 0xff, 0x12}, 50), uint16(17), uint16(300))
	f.Fuzz(func(t *testing.T, data []byte, samples, damaged uint16) {
		d := drawing{data: data}
		group := d.scrapes()
		most := Limits{Samples: int(samples % 32)}
		var p Pool
		checkMerge(t, "drawn", &p, group, most)
		if damaged > 0 && len(group) > 0 { // one byte: an error, or a result that has as many samples
			m := &group[int(damaged)%len(group)]
			fragments, err := new(unpacker).unpack(m.Fragments[:1])
			if err != nil {
				t.Fatal(err)
			}
			text := append(bytes.Clone(fragments[0].symbols), fragments[0].series...)
			text[int(damaged)%len(text)] ^= 1 << (damaged % 8)
			n := len(fragments[0].symbols)
			m.Fragments = append([][]byte{appendPacked(nil, text[:n], text[n:])}, m.Fragments[1:]...)
			checkDamagedMerge(t, &p, group, most)
		}
	})
}

// checkDamagedMerge checks that a group that may be damaged is refused, or merged to as many samples.
func checkDamagedMerge(t testing.TB, p *Pool, group []Message, most Limits) {
	t.Helper()
	merged, err := p.Merge(group, most)
	if err != nil {
		return
	}
	left, readable := 0, true
	for _, m := range group {
		left += m.Samples
		_, err := Parse(m)
		readable = readable && err == nil
	}
	for _, m := range merged {
		left -= m.Samples
		c, err := Parse(m)
		if readable && (err != nil || c.Samples() != m.Samples) {
			t.Errorf("%d samples, error %v; want %d", c.Samples(), err, m.Samples)
		}
	}
	if left != 0 {
		t.Errorf("%d samples too few", left)
	}
}

// checkMerge merges a group and compares the result with the group.
func checkMerge(t testing.TB, name string, p *Pool, group []Message, most Limits) {
	t.Helper()
	checkMergeOf(t, name, p, group, group, most)
}

// checkMergeOf merges columns and compares the result with the group, which has the same samples without layouts.
func checkMergeOf(t testing.TB, name string, p *Pool, columns, group []Message, most Limits) {
	t.Helper()
	merged, err := p.Merge(columns, most)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	defer p.ReleaseMerged(merged)
	mayHaveArrived, oldest, newest := false, int64(math.MaxInt64), int64(math.MinInt64)
	for _, m := range group {
		mayHaveArrived = mayHaveArrived || m.MayHaveArrived
		oldest, newest = min(oldest, m.Oldest), max(newest, m.Newest)
	}
	mayArrived := false
	for _, m := range merged {
		checkRequests(t, m)
		mayArrived = mayArrived || m.MayHaveArrived
		read := readV2(t, m)
		n := 0
		for _, s := range read.series {
			n += len(s.samples)
		}
		switch {
		case n != m.Samples || len(m.Fragments) != 1:
			t.Errorf("%s: %d samples in %d fragments, want %d in one", name, n, len(m.Fragments), m.Samples)
		case most.Samples > 0 && n > most.Samples && len(read.series) > 1:
			t.Errorf("%s: %d samples in a message, want at most %d", name, n, most.Samples)
		case len(read.series) != len(read.byLabels):
			t.Errorf("%s: %d series, %d label sets", name, len(read.series), len(read.byLabels))
		case read.unused > 0 || read.repeated > 0:
			t.Errorf("%s: %d symbols are not used, %d stand twice", name, read.unused, read.repeated)
		case m.Oldest > read.oldest || m.Newest < read.newest || m.Oldest < oldest || m.Newest > newest:
			t.Errorf("%s: %d to %d, samples from %d to %d", name, m.Oldest, m.Newest, read.oldest, read.newest)
		}
	}
	if mayArrived != mayHaveArrived {
		t.Errorf("%s: may have arrived: %v, want %v", name, mayArrived, mayHaveArrived)
	}
	for _, p := range []Protocol{V2, V1} {
		want, got := readAll(t, group, p), readAll(t, merged, p)
		if len(got) != len(want) {
			t.Errorf("%s, %s: %d series, want %d", name, p, len(got), len(want))
		}
		for key, w := range want {
			g := got[key]
			if g == nil {
				t.Fatalf("%s, %s: no %s", name, p, key)
			}
			if !slices.Equal(g.samples, w.samples) || !slices.Equal(g.exemplars, w.exemplars) {
				t.Errorf("%s, %s: %s\nhas   %v\nwants %v", name, p, key, g, w)
			}
			changes := 0
			for i := 1; i < len(w.samples); i++ {
				if strings.HasPrefix(w.samples[i], "h") != strings.HasPrefix(w.samples[i-1], "h") {
					changes++
				}
			}
			if changes == 0 && g.help != w.help {
				t.Errorf("%s, %s: HELP of %s is %q, want %q", name, p, key, g.help, w.help)
			}
			if p == V2 && g.parts != changes+1 {
				t.Errorf("%s, %s: %s is in %d TimeSeries, want %d", name, p, key, g.parts, changes+1)
			}
		}
	}
}

// scrapes draws scrapes of up to three targets with up to 16 series each.
func (d *drawing) scrapes() (group []Message) {
	group, _ = d.scrapesAndColumns()
	return group
}

// scrapesAndColumns also returns the same scrapes with columns of layouts in the place of some of them.
func (d *drawing) scrapesAndColumns() (group, columns []Message) {
	var last [3][]testRow // of a target that are a column
	for at := int64(1); len(d.data) > 0 && len(group) < 24; at++ {
		op := d.next()
		target, rows, seen := op%3, []testRow{}, map[int]bool{}
		if op&0x20 != 0 && len(last[target]) > 0 {
			for _, r := range last[target] {
				r.value, r.at = float64(d.next()>>4), at
				rows = append(rows, r)
			}
		} else {
			rows = d.rows(target, &at, seen)
		}
		if len(rows) == 0 {
			continue
		}
		m := messageOfRows(rows, op>>2&3)
		m.MayHaveArrived, m.Stream = op&0x80 != 0, uint64(target+1)
		group = append(group, m)
		if op&0x40 != 0 && isColumn(rows) {
			m = columnOfRows(rows, m)
			last[target] = rows
		}
		columns = append(columns, m)
	}
	return group, columns
}

// rows draws the rows of a scrape.
func (d *drawing) rows(target int, at *int64, seen map[int]bool) (rows []testRow) {
	began := *at
	for range d.next() % 16 {
		c := d.next()
		n, how := c%16, d.next()
		if seen[n] {
			continue
		}
		seen[n] = true
		r := testRow{at: began + int64(how&1), value: float64(how >> 4),
			labels: []string{"__name__", fmt.Sprint("metric_", n/2), "job", fmt.Sprint("target_", target),
				"n", strings.Repeat("long", n%2*(target+1)) + fmt.Sprint(n)}}
		switch how >> 1 & 7 {
		case 0:
			r.histogram = nativeHistogram(how)
		case 1:
			r.value = math.Float64frombits(value.StaleNaN)
		case 2:
			r.start = began
		case 3:
			r.exemplar = fmt.Sprint("trace ", c)
		case 4:
			r.help = fmt.Sprint("help ", c>>6)
		}
		rows = append(rows, r)
		*at = max(*at, r.at)
	}
	return rows
}
