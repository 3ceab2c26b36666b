package wire

import (
	"bytes"
	"fmt"
	"math"
	"testing"
)

// checkMergeV1 merges a group as 1.0 and as 2.0. End to end, the 1.0 bodies of both are the same plain text. A body can
// be made twice, as 2.0, and taken apart.
func checkMergeV1(t testing.TB, name string, p *Pool, group []Message, most Limits) {
	t.Helper()
	merged, err := p.Merge(group, Limits{Samples: most.Samples})
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	var want, got []byte
	for _, m := range merged {
		plain, _, err := plainV1(m, true)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, plain...)
	}
	p.ReleaseMerged(merged)
	if most.BytesV1 = most.Bytes; most.BytesV1 == 0 {
		most.BytesV1 = math.MaxInt
	}
	if merged, err = p.Merge(group, most); err != nil {
		t.Fatalf("%s, as 1.0: %v", name, err)
	}
	defer p.ReleaseMerged(merged)
	for _, m := range merged {
		first, _, err := p.Body(m, V1, true)
		if err != nil {
			t.Fatal(err)
		}
		plain := decompress(t, first)
		got = append(got, plain...)
		if m.joined == nil {
			p.Release(first)
			continue
		}
		second, _, err := p.Body(m, V1, true)
		if err != nil || !bytes.Equal(plain, decompress(t, second)) {
			t.Fatalf("%s: another body after one of %d bytes: %d bytes, error %v", name, len(first), len(second), err)
		}
		as20, _, err := p.Body(m, V2, true)
		if err != nil {
			t.Fatal(err)
		}
		made, err := m.joined.make(Limits{}, p)
		if err != nil {
			t.Fatal(err)
		}
		if want, err := plainV2(made); err != nil || !bytes.Equal(decompress(t, as20), want) {
			t.Fatalf("%s: the 2.0 body differs, error %v", name, err)
		}
		if again, _, err := plainV1(made, true); err != nil || !bytes.Equal(again, plain) {
			t.Fatalf("%s: the 2.0 body has other series, error %v", name, err)
		}
		c, err := Parse(m)
		if err != nil || c.Samples() != m.Samples || most.Samples > 0 && m.Samples > most.Samples && c.Len() > 1 {
			t.Errorf("%s: %d samples, error %v; want %d, at most %d", name, c.Samples(), err, m.Samples, most.Samples)
		}
		if largest := seriesV1Size(plain); len(plain)-largest >= most.BytesV1 {
			t.Errorf("%s: %d bytes, want fewer than %d and a series of %d", name, len(plain), most.BytesV1, largest)
		}
		for _, body := range [][]byte{first, second, as20} {
			p.Release(body)
		}
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%s: 1.0 differs at byte %d of %d", name, differAt(got, want), len(want))
	}
}

// seriesV1Size returns the size of the largest series of a plain 1.0 request.
func seriesV1Size(plain []byte) (largest int) {
	for len(plain) > 0 {
		_, rest, ok := cutBytes(plain[1:])
		if !ok {
			return math.MinInt
		}
		largest, plain = max(largest, len(plain)-len(rest)), rest
	}
	return largest
}

// TestMergeAsV1OfSidecars merges columns of sidecars: whole pages and parts of them, one column and several.
func TestMergeAsV1OfSidecars(t *testing.T) {
	var p Pool
	for _, shape := range [][3]int{{1, 1, 2000}, {3, 1, 2000}, {5, 3, 300}, {40, 1, 60}} {
		columns, plain := columnsOf(t, shape[0], shape[1], shape[2])
		var all, mixed []Message
		for i := range columns {
			all = append(all, columns[i]...)
			mixed = append(append(mixed, plain[i][0]), columns[i][1:]...)
		}
		for _, most := range []Limits{{}, {Samples: 1000}, {Bytes: 100_000}, {Samples: 1, Bytes: 1}} {
			checkMergeV1(t, fmt.Sprint(shape, most), &p, all, most)
		}
		checkMergeV1(t, fmt.Sprint(shape, " with fragments"), &p, mixed, Limits{})
	}
}

// TestMergeAsV1OfAnyLabels: labels of all lengths, names and values that repeat, come and go.
func TestMergeAsV1OfAnyLabels(t *testing.T) {
	var p Pool
	for seed := range 200 {
		d := drawing{data: noise(400 + seed)}
		d.data[0] ^= byte(seed)
		most := Limits{Samples: seed % 30, Bytes: seed % 7 * 500}
		checkMergeV1(t, fmt.Sprint("seed ", seed), &p, d.anyColumns(), most)
	}
}

// TestMergeAsV1OfAnInsertedLabel: a label comes in front of one with its name, so what follows it is not what follows
// the label of the same name in the rows before.
func TestMergeAsV1OfAnInsertedLabel(t *testing.T) {
	rows := []testRow{
		{labels: []string{"n", "other", "s", "1"}, value: 4, at: 1},
		{labels: []string{"n", "xx", "s", "1"}, value: 5, at: 1},
		{labels: []string{"n", "yy", "s", "1"}, value: 6, at: 1},
		{labels: []string{"n", "zz", "n", "yy", "s", "1"}, value: 5, at: 1},
	}
	m := columnOfRows(rows, messageOfRows(rows, 0))
	m.Stream = 1
	checkMergeV1(t, "inserted", new(Pool), []Message{m}, Limits{})
}

// TestMergeAsV1KeepsMemory: a merge costs a handful of allocations.
func TestMergeAsV1KeepsMemory(t *testing.T) {
	columns, _ := columnsOf(t, 1, 3, 2000)
	var p Pool
	n := testing.AllocsPerRun(20, func() {
		merged, err := p.Merge(columns[0], Limits{BytesV1: math.MaxInt})
		if err != nil {
			t.Fatal(err)
		}
		p.ReleaseMerged(merged)
	})
	if n > 4 {
		t.Errorf("allocations for 6,000 samples = %v, want at most 4", n)
	}
}

// FuzzMergeAsV1 holds columns of drawn rows, merged as 1.0, against the general way.
func FuzzMergeAsV1(f *testing.F) {
	f.Add([]byte("\x05\x01\x23\x45\x67\x89\xab\xcd\xef\x10\x20\x30"), uint8(0), uint16(0))
	f.Add(bytes.Repeat([]byte("\x09\x81\x02\x83\x04\x85\x06"), 9), uint8(7), uint16(300))
	f.Add(noise(300), uint8(0), uint16(0))
	f.Add(noise(777), uint8(20), uint16(2000))
	f.Fuzz(func(t *testing.T, data []byte, samples uint8, size uint16) {
		if len(data) > 4<<10 {
			return
		}
		d := drawing{data: data}
		checkMergeV1(t, "drawn", new(Pool), d.anyColumns(), Limits{Samples: int(samples), Bytes: int(size)})
	})
}

// anyColumns draws columns of several streams, some of which have several.
func (d *drawing) anyColumns() (group []Message) {
	for stream := uint64(1); len(d.data) > 0 && stream < 6; stream++ {
		var rows []testRow
		seen := map[string]bool{}
		labels := []string{"__name__", "m", "stream", fmt.Sprint(stream)}
		for range d.next() % 24 {
			labels = d.changedLabels(labels)
			if key := fmt.Sprintf("%q", labels); !seen[key] {
				seen[key] = true
				rows = append(rows, testRow{labels: labels})
			}
		}
		if len(rows) == 0 {
			continue
		}
		for at := range int64(1 + d.next()%3) {
			for i := range rows {
				rows[i].at = 1_700_000_000_000 + at*10_000
				rows[i].value = []float64{0, 1, 2, 1e9, 0.1, 7, 7, 7}[d.next()%8]
			}
			m := columnOfRows(rows, messageOfRows(rows, 0))
			m.Stream = stream
			if at > 0 && group[len(group)-1].Stream == stream {
				m.Layout = group[len(group)-1].Layout
			}
			group = append(group, m)
		}
	}
	return group
}

// changedLabels draws labels that differ from others in one or more of them.
func (d *drawing) changedLabels(labels []string) []string {
	changed := append([]string(nil), labels...)
	for op := d.next(); ; op = d.next() {
		n := len(changed) / 2
		at := 2 * (op >> 3 & 15 % n)
		switch text := d.text(); op & 7 {
		case 0: // a label less
			if n > 1 {
				changed = append(changed[:at], changed[at+2:]...)
			}
		case 1, 2: // a label more
			changed = append(append(append([]string(nil), changed[:at]...), d.text(), text), changed[at:]...)
		case 3:
			changed[at] = text
		default:
			changed[at+1] = text
		}
		if op&0x80 == 0 {
			return changed
		}
	}
}

// text draws a text, short or long.
func (d *drawing) text() string {
	c := d.next()
	sizes := []int{1, 2, 3, 8, 9, 20, 100, 130}
	return string(bytes.Repeat([]byte{'a' + byte(c>>5)}, sizes[c&7]-1)) + fmt.Sprint(c>>3&3)
}

// TestMergeAsV1IsBounded: texts that are far too long for a request are damage, as in the general way.
func TestMergeAsV1IsBounded(t *testing.T) {
	labels := []string{"__name__", "up"}
	huge := string(bytes.Repeat([]byte("x"), 1<<20))
	for range 2100 {
		labels = append(labels, "name", huge)
	}
	rows := []testRow{{labels: labels, at: 1}}
	m := columnOfRows(rows, messageOfRows(rows, 0))
	m.Stream = 1
	if _, err := new(Pool).Merge([]Message{m}, Limits{BytesV1: math.MaxInt}); err == nil {
		t.Error("a series of more than 2 GiB: no error")
	}
}

// TestBytesOfColumnsAsV1: the bytes of a body are not more than those of the general way.
func TestBytesOfColumnsAsV1(t *testing.T) {
	for _, shape := range [][3]int{{1, 1, 2000}, {5, 1, 2000}, {1, 3, 2000}, {20, 1, 200}} {
		columns, _ := columnsOf(t, shape[0], shape[1], shape[2])
		var group []Message
		for _, of := range columns {
			group = append(group, of...)
		}
		var p Pool
		var sizes [2]int
		for i, most := range []Limits{{}, {BytesV1: math.MaxInt}} {
			merged, err := p.Merge(group, most)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range merged {
				body, _, err := p.Body(m, V1, true)
				if err != nil {
					t.Fatal(err)
				}
				sizes[i] += len(body)
			}
		}
		t.Logf("%v: %d bytes, general way %d", shape, sizes[1], sizes[0])
		if sizes[1] > sizes[0]+sizes[0]/50 {
			t.Errorf("%v: %d bytes, want at most those of the general way, %d, and 2 %%", shape, sizes[1], sizes[0])
		}
	}
}
