package wire

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire/wiretest"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// seriesOfRefs writes a TimeSeries without samples: its references, then its type, HELP and unit, if there are any.
func seriesOfRefs(refs []uint32, metadata ...uint32) []byte {
	var packed, body []byte
	for _, ref := range refs {
		packed = appendUvarint(packed, uint64(ref))
	}
	body = appendBytesField(body, tagLabelRefs, packed)
	if len(metadata) > 0 {
		body = (&rowMetadata{metadata[0], metadata[1], metadata[2]}).appendField(body)
	}
	return appendBytesField(nil, tagSeries, body)
}

// readRows returns the series of rows.
func readRows(rows []byte) ([]byte, error) {
	var r rowReader
	if err := r.reset(rows); err != nil {
		return nil, err
	}
	return r.appendSeries(nil)
}

// TestRowsAreWhatTheirCommentSays writes the example of rows.go, and rows with everything that rows can have.
func TestRowsAreWhatTheirCommentSays(t *testing.T) {
	long := func(name uint32) []uint32 { return []uint32{1, name, 3, 4, 6, 7, 8, 9, 10, 11} }
	for name, tc := range map[string]struct {
		symbols uint32
		series  [][]byte
		want    string
	}{
		"the example": {6, [][]byte{seriesOfRefs([]uint32{1, 2, 3, 4}), seriesOfRefs([]uint32{1, 5, 3, 4})},
			"06 02 10  00 00 00 08 01 03 02 04  01 00 01 04 01 05"},
		"metadata": {9, [][]byte{seriesOfRefs([]uint32{1, 2}, 1, 7, 8), seriesOfRefs([]uint32{1, 2}, 1, 7, 8),
			seriesOfRefs([]uint32{1, 2})},
			"09 03 22  00 00 00 05 01 02 01 07 08  01 01 00 00  02 01 00 01 00 00 00"},
		"repeated labels": {12, [][]byte{seriesOfRefs(long(2)), seriesOfRefs([]uint32{1, 5}), seriesOfRefs(long(2))},
			"0c 03 22  00 00 00 14 01 03 06 08 0a 02 04 07 09 0b  01 00 00 04 01 05  02 00 00 16 00"},
		"no labels": {2, [][]byte{seriesOfRefs([]uint32{1, 1}), seriesOfRefs(nil)},
			"02 02 0a  00 00 00 04 01 01  01 00 00 00"},
		"a large reference": {301, [][]byte{seriesOfRefs([]uint32{1, 300})}, "ad 02 01 07  00 00 00 04 01 ac 02"},
	} {
		t.Run(name, func(t *testing.T) {
			want, err := hex.DecodeString(strings.ReplaceAll(tc.want, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			all := bytes.Join(tc.series, nil)
			rows := appendRows([]byte("before"), all, tc.symbols)[len("before"):]
			if !bytes.Equal(rows, want) {
				t.Errorf("got  % x\nwant % x", rows, want)
			}
			if got, err := readRows(rows); err != nil || !bytes.Equal(got, all) {
				t.Errorf("read % x, error %v; want % x", got, err, all)
			}
		})
	}
}

// TestManyShapes: rows have more shapes than there are numbers.
func TestManyShapes(t *testing.T) {
	var all []byte
	for i := range uint32(700) {
		all = append(all, seriesOfRefs([]uint32{1, 2, i%600 + 3, 4, 5, i%2 + 6})...)
	}
	rows := appendRows(nil, all, 1000)
	if got, err := readRows(rows); err != nil || !bytes.Equal(got, all) {
		t.Errorf("%d bytes, error %v; want %d", len(got), err, len(all))
	}
}

// TestDamagedRows reads rows that nobody wrote, alone and beside good ones.
func TestDamagedRows(t *testing.T) {
	good := columnOfRows([]testRow{{labels: []string{"__name__", "up"}, value: 1, at: 1}}, Message{Samples: 1})
	good.Stream = 1
	for name, tc := range map[string]struct {
		rows   int
		damage string
	}{
		"nothing":                   {1, ""},
		"no symbols":                {1, "00 01 06  00 00 00 04 01 01"},
		"fewer symbols":             {1, "02 01 06  00 00 00 04 01 01"},
		"more symbols":              {1, "04 01 06  00 00 00 04 01 01"},
		"no rows":                   {0, "03 00 00"},
		"no row":                    {1, "03 01 06"},
		"fewer rows":                {1, "03 01 0c  00 00 00 04 01 01  00 02"},
		"more rows":                 {3, "03 03 0c  00 00 00 04 01 01  00 02"},
		"half a shape":              {1, "03 01 06  00 00 00"},
		"a later shape":             {1, "03 01 06  01 00 00 04 01 01"},
		"begins like no row":        {1, "03 01 06  00 01 00 04 01 01"},
		"ends like no row":          {1, "03 01 06  00 00 01 04 01 01"},
		"begins too long":           {2, "03 02 0c  00 00 00 04 01 01  01 02 00 00"},
		"begin and end overlap":     {2, "03 02 0c  00 00 00 04 01 01  01 01 01 00"},
		"begin overflows":           {1, "03 01 06  00 ff ff ff ff ff ff ff ff ff 01 00 04 01 01"},
		"end overflows":             {1, "03 01 06  00 00 ff ff ff ff ff ff ff ff ff 01 04 01 01"},
		"far too many labels":       {1, "03 01 06  00 00 00 fc ff ff ff 0f 01 01"},
		"unknown name":              {1, "03 01 06  00 00 00 04 03 01"},
		"unknown value":             {1, "03 01 06  00 00 00 04 01 03"},
		"unknown value, simple":     {2, "03 02 0c  00 00 00 04 01 01  00 03"},
		"unknown value, two bytes":  {2, "03 02 0c  00 00 00 04 01 01  00 80 01"},
		"no value":                  {1, "03 01 06  00 00 00 04 01"},
		"half a value":              {1, "03 01 06  00 00 00 04 01 81"},
		"half a value, simple":      {2, "03 02 0c  00 00 00 04 01 01  00 81"},
		"repeats no row":            {1, "03 01 0e  00 00 00 16 00"},
		"repeats a later row":       {2, "03 02 1c  00 00 00 14 01 01 01 01 01 02 02 02 02 02  01 00 00 16 01"},
		"repeats fewer labels":      {2, "03 02 1c  00 00 00 14 01 01 01 01 01 02 02 02 02 02  01 00 00 1a 00"},
		"repeats short labels":      {2, "03 02 0c  00 00 00 04 01 01  01 00 00 06 00"},
		"half metadata":             {1, "03 01 0a  00 00 00 05 01 01 01"},
		"unknown HELP":              {1, "03 01 0a  00 00 00 05 01 01 01 03 00"},
		"unknown unit":              {1, "03 01 0a  00 00 00 05 01 01 01 00 03"},
		"no such type":              {1, "03 01 0a  00 00 00 05 01 01 80 01 00 00"},
		"a byte behind":             {1, "03 01 06  00 00 00 04 01 01 00"},
		"labels without end":        {40_000, ""},
		"fields far larger than it": {1, "03 01 ff ff ff ff 0f  00 00 00 04 01 01"},
	} {
		t.Run(name, func(t *testing.T) {
			rows, err := hex.DecodeString(strings.ReplaceAll(tc.damage, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			if name == "labels without end" { // each row has all labels of the row before
				rows = appendUvarint(appendUvarint([]byte{3}, uint64(tc.rows)), 7)
				rows = append(append(rows, 0, 0, 0), 0xfc, 0xff, 3)
				rows = append(rows, bytes.Repeat([]byte{1}, 2*(1<<16-1))...)
				rows = append(append(rows, 1, 0xff, 0xff, 3, 0, 0), bytes.Repeat([]byte{1}, tc.rows-2)...)
			}
			if got, err := readRows(rows); err == nil && name != "fewer symbols" && name != "more symbols" {
				t.Errorf("read % x", got)
			}
			damaged := Message{Samples: tc.rows, Stream: 2,
				Fragments: [][]byte{AppendColumn(nil, 2, make([]float64, tc.rows))},
				Layout: &Layout{Head: packedSymbols([]byte{tagSymbol, 0, tagSymbol, 1, 'a', tagSymbol, 1, 'b'}),
					Tail: string(rows)}}
			for i, group := range [][]Message{{damaged}, {good, damaged}, {damaged, good}} {
				for _, most := range []Limits{{}, {Bytes: 1000}} {
					if out, err := new(Pool).Merge(group, most); err == nil {
						t.Errorf("group %d merged to %d messages", i, len(out))
					}
				}
			}
		})
	}
}

// TestRowsAreSmall: what the rows of a sidecar's page take.
func TestRowsAreSmall(t *testing.T) {
	table := series.NewTable()
	for _, size := range []int{500, 2000} {
		l := layoutOf(t, table, wiretest.Mesh(table, 1, 1, size))
		f := unpackLayout(t, l)
		perRow, packed := float64(len(l.Tail))/float64(size), float64(len(appendPacked(nil, nil, f.series)))
		t.Logf("%d rows: %.2f bytes a row, packed by snappy %.2f", size, perRow, packed/float64(size))
		if perRow > 4.5 {
			t.Errorf("%d rows: %.2f bytes a row, want at most 4.5", size, perRow)
		}
	}
}

// FuzzRows writes rows that the fuzzer draws and reads them, and reads what nobody wrote.
func FuzzRows(f *testing.F) {
	f.Add([]byte("\x04\x01\x02\x03\x04\x01\x05\x04\x06\x02\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"))
	f.Add([]byte("06 02 10  00 00 00 08 01 03 02 04  01 00 01 04 01 05"))
	f.Add(bytes.Repeat([]byte{13, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 3, 1, 2, 9}, 6))
	f.Fuzz(func(t *testing.T, data []byte) {
		d := drawing{data: data}
		var all []byte
		var refs []uint32
		for len(d.data) > 0 {
			op := d.next()
			at := min(2*(op>>4), len(refs))
			for range op & 7 { // labels of the row before are replaced from there on
				value := uint32(d.next()) * uint32(op&8*20+1)
				rest := refs[min(at+2, len(refs)):]
				refs = append(refs[:at], append([]uint32{uint32(d.next() % 8), value}, rest...)...)
				at += 2
			}
			if op&0xf8 == 0x18 {
				refs = refs[:len(refs)/4*2]
			}
			if op&0x40 != 0 {
				all = append(all, seriesOfRefs(refs, uint32(op&1), uint32(op&2), uint32(op&4))...)
			} else {
				all = append(all, seriesOfRefs(refs)...)
			}
		}
		if rows := appendRows(nil, all, 1<<17); len(all) > 0 {
			if got, err := readRows(rows); err != nil || !bytes.Equal(got, all) {
				t.Fatalf("got  % x, error %v\nwant % x", got, err, all)
			}
		}
		if got, err := readRows(data); err == nil { // other bytes may say the same
			symbols, _, _ := cutRef(data)
			if again, err := readRows(appendRows(nil, got, uint32(symbols))); err != nil || !bytes.Equal(again, got) {
				t.Fatalf("% x, error %v", again, err)
			}
		}
	})
}
