package wire

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/model/value"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire/wiretest"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// isColumn reports whether rows can be a column of a layout.
func isColumn(rows []testRow) bool {
	return !slices.ContainsFunc(rows, func(r testRow) bool {
		return r.histogram != nil || r.exemplar != "" || r.start != 0 || r.at != rows[0].at
	})
}

// columnOfRows writes rows, whose plain message is m, as a column of a layout.
func columnOfRows(rows []testRow, m Message) Message {
	bare := slices.Clone(rows)
	var values []float64
	for i := range bare {
		values = append(values, bare[i].value)
		bare[i].value, bare[i].at = 0, 0
	}
	fragments, err := new(unpacker).unpack(messageOfRows(bare, 0).Fragments)
	if err != nil {
		panic(err)
	}
	var symbols, all []byte
	empty := appendSample(nil, 0, 0)
	for _, f := range fragments {
		symbols = append(symbols, f.symbols...)
		for s := f.series; len(s) > 0; {
			var body []byte
			body, s, _ = cutBytes(s[1:])
			all = appendBytesField(all, tagSeries, bytes.Replace(body, empty, nil, 1))
		}
	}
	m.Layout = newLayout(symbols, all)
	m.Fragments = [][]byte{AppendColumn(nil, rows[0].at, values)}
	return m
}

// newLayout returns the layout of series without samples.
func newLayout(symbols, series []byte) *Layout {
	n := uint32(0)
	for s := symbols; len(s) > 0; n++ {
		_, s, _ = cutBytes(s[1:])
	}
	return &Layout{Head: packedSymbols(symbols), Tail: string(appendRows(nil, series, n))}
}

// packedSymbols returns the head of a layout.
func packedSymbols(symbols []byte) []byte {
	block := snappy.Encode(nil, symbols)
	return append(appendUvarint(nil, uint64(len(block))), block...)
}

// packedLayout returns a layout as a version of before wrote it.
func packedLayout(symbols, series []byte) *Layout {
	return &Layout{Head: appendPacked(nil, symbols, series), Packed: true}
}

// unpackLayout returns the symbols and the series of a layout.
func unpackLayout(t testing.TB, l *Layout) plainFragment {
	t.Helper()
	var u unpacker
	p, err := l.parse()
	if err != nil || !u.add(p) {
		t.Fatal(err)
	}
	all, err := u.all()
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

// checkMergeOfColumns merges a group in all ways: as streams, without streams, and with layouts of a version of before.
// The plain messages are the same scrapes.
func checkMergeOfColumns(t testing.TB, name string, p *Pool, columns, plain []Message, most Limits) {
	t.Helper()
	unbound, before := slices.Clone(columns), slices.Clone(columns)
	for i := range unbound {
		unbound[i].Stream = 0
		if l := columns[i].Layout; l != nil {
			f := unpackLayout(t, l)
			before[i].Layout = packedLayout(f.symbols, f.series)
		}
	}
	checkMergeOf(t, name, p, columns, plain, most)
	checkMergeV1(t, name, p, columns, most)
	checkMergeOf(t, name+", without streams", p, unbound, plain, most)
	checkMergeOf(t, name+", of a version of before", p, before, plain, most)
}

// TestMergeOfColumns gives groups in which scrapes of one time are columns, and says what the messages of the result
// have. "plain" in front of a time: a plain message.
func TestMergeOfColumns(t *testing.T) {
	up, job := []string{"__name__", "up", "job", "envoy"}, []string{"__name__", "up", "job", "other"}
	third, fourth := []string{"__name__", "up", "job", "third"}, []string{"__name__", "up", "job", "fourth"}
	stale := math.Float64frombits(value.StaleNaN)
	row := func(labels []string, at int64, value float64) testRow {
		return testRow{labels: labels, value: value, at: at}
	}
	help := func(r testRow, help string) testRow {
		r.help = help
		return r
	}
	for name, tc := range map[string]struct {
		group [][]testRow
		plain []int // messages that are not columns
		most  Limits
		want  []string
	}{
		"one column": {
			group: [][]testRow{{row(up, 1, 1), row(job, 1, 2)}},
			want:  []string{"up envoy: 1@1; up other: 2@1"},
		},
		"three columns of a layout": {
			group: [][]testRow{{row(up, 1, 1), row(job, 1, 0)}, {row(up, 2, 0), row(job, 2, 5)},
				{row(up, 3, 4), row(job, 3, 4)}},
			want: []string{"up envoy: 1@1 0@2 4@3; up other: 0@1 5@2 4@3"},
		},
		"two targets in turns": {
			group: [][]testRow{{row(up, 1, 1)}, {row(job, 2, 2)}, {row(up, 3, 3)}, {row(job, 4, 4)}},
			want:  []string{"up envoy: 1@1 3@3; up other: 2@2 4@4"},
		},
		"a series comes, and is first": {
			group: [][]testRow{{row(up, 1, 1)}, {row(up, 2, 2)}, {row(job, 3, 3), row(up, 3, 4)}, {row(up, 4, 5)}},
			want:  []string{"up envoy: 1@1 2@2 4@3 5@4; up other: 3@3"},
		},
		"plain, then columns": {
			group: [][]testRow{{row(up, 1, 1), row(job, 1, 1)}, {row(up, 2, 2), row(job, 2, 3)},
				{row(up, 3, 2), row(job, 3, 3)}},
			plain: []int{0},
			want:  []string{"up envoy: 1@1 2@2 2@3; up other: 1@1 3@2 3@3"},
		},
		"plain between columns": {
			group: [][]testRow{{row(up, 1, 1), row(job, 1, 1)}, {row(job, 2, 3)}, {row(up, 3, 2), row(job, 3, 3)}},
			plain: []int{1},
			want:  []string{"up envoy: 1@1 2@3; up other: 1@1 3@2 3@3"},
		},
		"a staleness marker": {
			group: [][]testRow{{row(up, 1, 1)}, {row(up, 2, stale)}},
			want:  []string{"up envoy: 1@1 stale@2"},
		},
		"the newest metadata": {
			group: [][]testRow{{help(row(up, 1, 1), "old")}, {help(row(up, 2, 1), "new")}, {row(up, 3, 1)}},
			plain: []int{2},
			want:  []string{"up envoy: 1@1 1@2 1@3 help new"},
		},
		"two targets whose series have their own metadata": {
			group: [][]testRow{
				{help(row(up, 1, 1), "a"), help(row(job, 1, 2), "b")},
				{help(row(third, 1, 3), "c"), help(row(fourth, 1, 4), "d")},
			},
			want: []string{"up envoy: 1@1 help a; up other: 2@1 help b; up third: 3@1 help c; up fourth: 4@1 help d"},
		},
		"at most three samples": {
			group: [][]testRow{{row(up, 1, 1), row(job, 1, 2)}, {row(up, 2, 3), row(job, 2, 4)}},
			most:  Limits{Samples: 3},
			want:  []string{"up envoy: 1@1 3@2", "up other: 2@1 4@2"},
		},
		"at most some bytes": {
			group: [][]testRow{{row(up, 1, 1), row(job, 1, 2)}, {row(up, 2, 3), row(job, 2, 4)}},
			most:  Limits{Bytes: 1},
			want:  []string{"up envoy: 1@1 3@2", "up other: 2@1 4@2"},
		},
		"times that no clock gives": {
			group: [][]testRow{{row(up, math.MinInt64, 1)}, {row(up, -1, 3)}, {row(up, 0, 4)},
				{row(up, math.MaxInt64, 5)}},
			want: []string{"up envoy: 1@-9223372036854775808 3@-1 4@0 5@9223372036854775807"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var group, plain []Message
			for i, rows := range tc.group {
				m := messageOfRows(rows, 0)
				plain = append(plain, m)
				if !slices.Contains(tc.plain, i) {
					m = columnOfRows(rows, m)
				}
				group = append(group, m)
			}
			var p Pool
			checkMerged(t, &p, group, tc.most, tc.want)
			checkMergeOfColumns(t, "checked", &p, group, plain, tc.most)
			for i := range group {
				group[i].Stream = 1
			}
			for range 2 {
				checkMergeOfColumns(t, "one stream", &p, group, plain, tc.most)
			}
		})
	}
}

// columnsOf packs scrapes as scrapesOf does, and as columns of a layout for each target.
func columnsOf(t testing.TB, targets, scrapes, size int) (columns, plain [][]Message) {
	t.Helper()
	table := series.NewTable()
	for i, of := range scrapesOf(t, targets, scrapes, size) {
		b := wiretest.Mesh(table, i/10, i, size)
		layout := layoutOf(t, table, b)
		var cs []Message
		for k := range of {
			of[k].Stream = uint64(i + 1)
			m := of[k]
			c, err := Parse(m)
			if err != nil || len(of) != scrapes {
				t.Fatalf("%d messages: %v", len(of), err)
			}
			var values []float64
			for _, body := range c.series {
				_, s, _, ok := cutPlainSeries(body, nil)
				if !ok {
					t.Fatal("not plain")
				}
				values = append(values, math.Float64frombits(s.value))
			}
			m.Layout, m.Fragments = layout, [][]byte{AppendColumn(nil, m.Oldest, values)}
			cs = append(cs, m)
		}
		columns, plain = append(columns, cs), append(plain, of)
	}
	return columns, plain
}

// layoutOf writes the layout of a batch.
func layoutOf(t testing.TB, table *series.Table, b *series.Batch) *Layout {
	t.Helper()
	var e FragmentWriter
	e.Begin(false)
	e.BeginBatch()
	table.Read(func(v series.View) {
		for i, id := range b.Series {
			r := Row{Parts: v.Parts(id)}
			if !e.AddLabels(v, e.Stem(v, r.Parts.Stem, b.Target, nil), &r, Options{Metadata: true}) {
				t.Fatalf("series %d of a batch cannot be sent", i)
			}
		}
	})
	head, rows := e.CutLayout(new(Buffers))
	return &Layout{Head: head, Tail: string(rows)}
}

// TestMergeOfColumnsOfSidecars merges three scrapes of sidecars as columns, in both orders in which targets may come,
// and with plain messages among them.
func TestMergeOfColumnsOfSidecars(t *testing.T) {
	const targets, scrapes = 5, 3
	columns, plain := columnsOf(t, targets, scrapes, 300)
	orders := map[string]func(n int) (target, scrape int){
		"by target": func(n int) (target, scrape int) { return n / scrapes, n % scrapes },
		"by scrape": func(n int) (target, scrape int) { return n % targets, n / targets },
	}
	var p Pool
	for name, of := range orders {
		for _, first := range []int{0, 1, 2} { // columns of a target from this scrape on
			var group, same []Message
			for n := range targets * scrapes {
				i, k := of(n)
				same = append(same, plain[i][k])
				if m := plain[i][k]; k < first {
					group = append(group, m)
				} else {
					group = append(group, columns[i][k])
				}
			}
			for _, most := range []Limits{{Samples: 1000}, {Bytes: 20_000}} {
				checkMergeOf(t, fmt.Sprint(name, " from ", first, most), &p, group, same, most)
			}
			checkMergeOfColumns(t, fmt.Sprint(name, " from ", first), &p, group, same, Limits{})
		}
	}
	checkMergeOfColumns(t, "alone", &p, columns[0][1:2], plain[0][1:2], Limits{})
	checkMergeOfColumns(t, "one target", &p, columns[0], plain[0], Limits{})
	checkMergeOfColumns(t, "one target, in parts", &p, columns[0], plain[0], Limits{Samples: 400})
	checkMergeOfColumns(t, "columns, then plain", &p, append(columns[0][:2:2], plain[0][2]), plain[0], Limits{})
}

// TestMergeOfDrawnColumns is FuzzMergeColumns with drawings of its own.
func TestMergeOfDrawnColumns(t *testing.T) {
	var p Pool
	for seed := range uint64(300) {
		data := noise(50 + int(seed)*3)
		data[0] ^= byte(seed)
		d := drawing{data: data}
		plain, columns := d.scrapesAndColumns()
		checkMergeOfColumns(t, fmt.Sprint("seed ", seed), &p, columns, plain, Limits{Samples: int(seed % 40)})
		if t.Failed() {
			return
		}
	}
}

// FuzzMergeColumns merges scrapes that the fuzzer draws, some of them as columns. Read by Prometheus' types in both
// protocols, the result is the union of the scrapes. With a damaged layout or column, it is an error, or has as many
// samples.
func FuzzMergeColumns(f *testing.F) {
	f.Add([]byte("\x40\x03\x01\x0a\x02\x1b\x03\x0a\x60\x11\x22\x33\x60\x44\x55\x66"), uint16(0), uint16(0))
	f.Add([]byte("\x00\x03\x01\x0a\x02\x1a\x03\x0a\x40\x03\x01\x0a\x02\x1a\x03\x0a\x60\x11\x22\x33\x61\x44"), uint16(5),
		uint16(3))
	f.Add(bytes.Repeat([]byte("\x42\x04\x53\x6a\x75\x8a\x97\xaa\xb9\xca\x62\x10\x20\x30\x40"), 6), uint16(0),
		uint16(77))
	f.Add(bytes.Repeat([]byte{0x40, 0x02, 0x81, 0x3a, 0x70, 0xfa, 0x61, 0x51, 0x01, 0x0b}, 9), uint16(17), uint16(300))
	f.Fuzz(func(t *testing.T, data []byte, samples, damaged uint16) {
		d := drawing{data: data}
		plain, columns := d.scrapesAndColumns()
		most := Limits{Samples: int(samples % 32)}
		var p Pool
		checkMergeOfColumns(t, "drawn", &p, columns, plain, most)
		if damaged == 0 || len(columns) == 0 {
			return
		}
		m := &columns[int(damaged)%len(columns)]
		if m.Layout == nil {
			return
		}
		switch damaged >> 3 % 3 {
		case 0:
			column := bytes.Clone(m.Fragments[0])
			column[int(damaged)%len(column)] ^= 1 << (damaged % 8)
			m.Fragments = [][]byte{column}
		case 1:
			m.Layout = damagedAt(m.Layout, int(damaged))
		case 2:
			f := unpackLayout(t, m.Layout)
			symbols := bytes.Clone(f.symbols)
			symbols[int(damaged)%len(symbols)] ^= 1 << (damaged % 8)
			m.Layout = &Layout{Head: packedSymbols(symbols), Tail: m.Layout.Tail}
		}
		checkDamagedMergeOf(t, &p, columns, most)
		for i := range columns {
			columns[i].Stream = 0
		}
		checkDamagedMergeOf(t, &p, columns, most)
	})
}

// checkDamagedMergeOf merges a group with a damaged layout or column. The result is an error, or has as many samples.
func checkDamagedMergeOf(t testing.TB, p *Pool, columns []Message, most Limits) {
	t.Helper()
	merged, err := p.Merge(columns, most)
	if err != nil {
		return
	}
	left := 0
	for _, m := range columns {
		left += m.Samples
	}
	for _, m := range merged {
		left -= m.Samples
		if c, err := Parse(m); err != nil || c.Samples() != m.Samples {
			t.Errorf("%d samples, error %v; want %d", c.Samples(), err, m.Samples)
		}
	}
	if left != 0 {
		t.Errorf("%d samples too few", left)
	}
}

// damagedAt returns a layout with one bit of it changed.
func damagedAt(l *Layout, n int) *Layout {
	data := append(bytes.Clone(l.Head), l.Tail...)
	data[n%len(data)] ^= 1 << (n % 8)
	return &Layout{Head: data[:len(l.Head)], Tail: string(data[len(l.Head):]), Packed: l.Packed}
}

// TestMergeFindsDamagedColumns: a layout or a column that is damaged is refused, alone and after a good one.
func TestMergeFindsDamagedColumns(t *testing.T) {
	rows := []testRow{{labels: []string{"__name__", "up"}, value: 1, at: 1},
		{labels: []string{"__name__", "up", "x", "y"}, value: 1, at: 1}}
	good := columnOfRows(rows, messageOfRows(rows, 0))
	symbols := []byte{tagSymbol, 0, tagSymbol, 1, 'a'}
	refs := []byte{tagLabelRefs, 2, 1, 1}
	of := func(symbols []byte, series ...[]byte) Message {
		var all []byte
		for _, fields := range series {
			all = appendBytesField(all, tagSeries, fields)
		}
		return Message{Layout: packedLayout(symbols, all), Samples: len(series),
			Fragments: [][]byte{AppendColumn(nil, 2, make([]float64, len(series)))}}
	}
	with := func(change func(m *Message)) Message {
		m := good
		change(&m)
		return m
	}
	undamaged := of(symbols, refs, append(bytes.Clone(refs), tagMetadata, 2, tagMetaHelp, 1))
	if _, err := new(Pool).Merge([]Message{good, undamaged}, Limits{}); err != nil {
		t.Fatal("undamaged: ", err)
	}
	for name, m := range map[string]Message{
		"empty layout": with(func(m *Message) { m.Layout = &Layout{} }),
		"no rows":      with(func(m *Message) { m.Layout = &Layout{Head: m.Layout.Head} }),
		"no head":      with(func(m *Message) { m.Layout = &Layout{Tail: m.Layout.Tail} }),
		"rows twice": with(func(m *Message) {
			m.Layout = &Layout{Head: append(bytes.Clone(m.Layout.Head), m.Layout.Tail...), Tail: m.Layout.Tail}
		}),
		"no column":            with(func(m *Message) { m.Fragments = nil }),
		"two columns":          with(func(m *Message) { m.Fragments = append(m.Fragments[:1:1], m.Fragments[0]) }),
		"half a column":        with(func(m *Message) { m.Fragments = [][]byte{m.Fragments[0][:2]} }),
		"fewer values":         with(func(m *Message) { m.Fragments = [][]byte{AppendColumn(nil, 2, []float64{1})} }),
		"another number":       with(func(m *Message) { m.Samples = 3 }),
		"no series":            of(symbols),
		"a sample":             of(symbols, append(bytes.Clone(refs), appendSample(nil, 1, 1)...)),
		"no labels":            of(symbols, []byte{tagMetadata, 2, tagMetaHelp, 1}),
		"unknown symbol":       of(symbols, []byte{tagLabelRefs, 2, 1, 2}),
		"unknown in a second":  of(symbols, refs, []byte{tagLabelRefs, 4, 1, 1, 1, 2}),
		"half a label":         of(symbols, []byte{tagLabelRefs, 1, 1}),
		"half a second label":  of(symbols, refs, []byte{tagLabelRefs, 3, 1, 1, 1}),
		"half a reference":     of(symbols, []byte{tagLabelRefs, 2, 1, 0x81}),
		"unknown HELP":         of(symbols, append(bytes.Clone(refs), tagMetadata, 2, tagMetaHelp, 9)),
		"no symbols":           of(nil, refs),
		"first symbol is long": of(symbols[2:], []byte{tagLabelRefs, 2, 0, 0}),
	} {
		bound := m
		bound.Stream = 1
		other := good
		other.Stream = 2
		for i, group := range [][]Message{{m}, {good, m}, {m, good}, {bound}, {other, bound}, {bound, other}} {
			if out, err := new(Pool).Merge(group, Limits{}); err == nil {
				t.Errorf("%s: group %d merged to %d messages", name, i, len(out))
			}
		}
	}
}

// TestColumnsAreForMergeOnly: nothing else takes a column for a request.
func TestColumnsAreForMergeOnly(t *testing.T) {
	rows := []testRow{{labels: []string{"__name__", "up"}, value: 1, at: 1}}
	m := columnOfRows(rows, messageOfRows(rows, 0))
	if _, err := Parse(m); err == nil {
		t.Error("parsed")
	}
	for _, p := range []Protocol{V1, V2} {
		if _, _, err := new(Pool).Body(m, p, true); err == nil {
			t.Errorf("%s: there is a body", p)
		}
	}
}

// TestMergeOfManyLayouts: the columns of a target are far apart in the group.
func TestMergeOfManyLayouts(t *testing.T) {
	var columns, plain []Message
	for at := range int64(2) {
		for n := range 2 * comparedSets {
			rows := []testRow{{labels: []string{"__name__", "up", "pod", fmt.Sprint(n)}, value: float64(n), at: at}}
			m := messageOfRows(rows, 0)
			plain, columns = append(plain, m), append(columns, columnOfRows(rows, m))
			if at > 0 { // layouts with equal bytes share their memory
				columns[len(columns)-1].Layout = columns[n].Layout
			}
		}
	}
	checkMergeOfColumns(t, "many layouts", new(Pool), columns, plain, Limits{})
}

// TestMergeOfColumnsKeepsMemory: a merge costs a handful of allocations, also of many layouts without a symbol in
// common.
func TestMergeOfColumnsKeepsMemory(t *testing.T) {
	large, _ := columnsOf(t, 1, 3, 2000)
	for name, group := range map[string][]Message{"one target": large[0], "small targets": strangers(100, 200)} {
		var p Pool
		n := testing.AllocsPerRun(20, func() {
			merged, err := p.Merge(group, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			p.ReleaseMerged(merged)
		})
		if n > 4 {
			t.Errorf("%s: allocations = %v, want at most 4", name, n)
		}
		t.Logf("%s: %v allocations, %d bytes kept", name, n, p.joiner.kept())
	}
}

// strangers are columns of targets that have nearly no symbol in common.
func strangers(targets, size int) (group []Message) {
	for i := range targets {
		var rows []testRow
		for k := range size {
			cluster := fmt.Sprintf("outbound|8080||service-%d.namespace-%d.svc.cluster.local", k, i)
			rows = append(rows, testRow{labels: []string{"__name__", "up", "cluster", cluster}, value: 1, at: 1000})
		}
		m := columnOfRows(rows, messageOfRows(rows, 0))
		m.Stream = uint64(i + 1)
		group = append(group, m)
	}
	return group
}

// TestMergeOfColumnsForgetsLargeLayouts: a layout with long texts is merged with another one, then small ones only.
func TestMergeOfColumnsForgetsLargeLayouts(t *testing.T) {
	small := strangers(2, 20)
	var rows []testRow
	for k := range 500 {
		text := fmt.Sprint(k, strings.Repeat("x", 8000))
		rows = append(rows, testRow{labels: []string{"__name__", "up", "text", text}, value: 1, at: 1000})
	}
	large := columnOfRows(rows, messageOfRows(rows, 0))
	large.Stream = 9
	var p Pool
	merge := func(group ...Message) {
		t.Helper()
		merged, err := p.Merge(group, Limits{})
		if err != nil || len(merged) != 1 {
			t.Fatalf("%d messages, error %v", len(merged), err)
		}
		p.ReleaseMerged(merged)
	}
	merge(small[0])
	need := p.joinNeed
	merge(large, small[0])
	if p.joinNeed < 4_000_000 {
		t.Fatalf("the large group needs %d bytes, want its texts at least", p.joinNeed)
	}
	for range 200 {
		merge(small[1])
	}
	if p.joinNeed > 2*need || p.joiner.kept() > keptMerger {
		t.Errorf("small groups need %d bytes after a large one, want about %d; %d are kept", p.joinNeed, need,
			p.joiner.kept())
	}
}
