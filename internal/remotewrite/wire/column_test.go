package wire

import (
	"encoding/hex"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/value"

	"github.com/envoy-scraper/envoy-scraper/internal/remotewrite/wire/wiretest"
	"github.com/envoy-scraper/envoy-scraper/internal/series"
)

// TestColumnIsWhatItsCommentSays encodes the example of column.go, and one value of each other form.
func TestColumnIsWhatItsCommentSays(t *testing.T) {
	stale := math.Float64frombits(value.StaleNaN)
	for name, tc := range map[string]struct {
		at     int64
		values []float64
		want   string
	}{
		"nothing":           {0, nil, "00 00"},
		"a histogram":       {0, []float64{0, 0, 95, 100, 3604.5, 100}, "06 00 05 c7 17 14 63 29 ac 40 00"},
		"a time":            {1_700_000_000_000, []float64{1}, "01 80 a0 ab fe f9 62 04"},
		"a time before 0":   {-1, []float64{1}, "01 01 04"},
		"equal values":      {0, slices.Repeat([]float64{7}, 66), "42 00 1c fd 01"},
		"nearly as many":    {0, slices.Repeat([]float64{7}, 64), "40 00 1c f9"},
		"zero, and small":   {0, []float64{1000, 0, 2}, "03 00 07 fa 03 08"},
		"two before":        {0, []float64{1000, 5000, 1000}, "03 00 07 fa 0b e8 03 3f"},
		"-0":                {0, []float64{math.Copysign(0, -1)}, "01 00 23 80"},
		"all bytes":         {0, []float64{0.1}, "01 00 1f 9a 99 99 99 99 99 b9 3f"},
		"staleness markers": {0, []float64{stale, stale}, "02 00 1f 02 00 00 00 00 00 f0 7f 01"},
		"a large integer":   {0, []float64{1 << 49}, "01 00 1b 00 00 00 00 00 80"},
		"too large":         {0, []float64{1 << 50}, "01 00 43 10 43"},
	} {
		t.Run(name, func(t *testing.T) {
			data := AppendColumn([]byte("before"), tc.at, tc.values)[len("before"):]
			want, err := hex.DecodeString(strings.ReplaceAll(tc.want, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			if string(data) != string(want) {
				t.Errorf("got % x, want % x", data, want)
			}
			checkColumn(t, tc.at, tc.values)
		})
	}
}

// checkColumn writes a column and reads it.
func checkColumn(t testing.TB, at int64, values []float64) (size int) {
	t.Helper()
	data := AppendColumn(nil, at, values)
	got, err := readColumn(data, len(values))
	if err != nil {
		t.Fatalf("%v: %v", values, err)
	}
	if got.time != at {
		t.Errorf("time %d, want %d", got.time, at)
	}
	for i, v := range values {
		if math.Float64bits(v) != math.Float64bits(got.values[i]) {
			t.Fatalf("value %d is %v, want %v; % x", i, got.values[i], v, data)
		}
	}
	if _, err := readColumn(data, len(values)+1); err == nil {
		t.Error("read as a longer one")
	}
	return len(data)
}

type testColumn struct {
	time   int64
	values []float64
}

func readColumn(data []byte, n int) (c testColumn, err error) {
	p, err := parseColumn(data)
	if err != nil {
		return c, err
	}
	c = testColumn{p.time, make([]float64, n)}
	return c, p.read(c.values)
}

func TestDamagedColumns(t *testing.T) {
	for name, data := range map[string][]byte{
		"empty":             {},
		"no time":           {3},
		"half a time":       {3, 0x80},
		"no values":         {3, 0},
		"a value is missed": {3, 0, 2, 2},
		"a value too many":  {3, 0, 2, 2, 2, 2},
		"another number":    {4, 0, 2, 2, 2, 2},
		"no such value":     {3, 0, 2, 2, 0x5f},
		"half a value":      {3, 0, 2, 2, 0x1f, 1},
		"half an integer":   {3, 0, 2, 2, 0x07},
		"a run is longer":   {3, 0, 3<<2 | columnRepeat},
		"a run is far too long": {3, 0, columnMostRepeat<<2 | columnRepeat, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
			0xff, 0xff, 1},
		"a run without its count": {3, 0, columnMostRepeat<<2 | columnRepeat},
	} {
		if c, err := readColumn(data, 3); err == nil {
			t.Errorf("%s: read %v", name, c.values)
		}
	}
}

// FuzzColumn writes values that the fuzzer draws and reads them, and reads what nobody wrote.
func FuzzColumn(f *testing.F) {
	f.Add([]byte("\x00\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"), int64(0))
	f.Add([]byte{0x42, 0, 0x1c, 0xfd, 1}, int64(-1))
	f.Add([]byte("\x03\x01\x02\x03\x04\x05\x06\x07\x08\x03\x08\x07\x06\x05\x04\x03\x02\x01\x02\xff"),
		int64(1_700_000_000_000))
	f.Fuzz(func(t *testing.T, data []byte, at int64) {
		checkColumn(t, at, drawnValues(data))
		c, err := readColumn(data, len(data))
		if err == nil { // other bytes may say the same
			checkColumn(t, c.time, c.values)
		}
	})
}

// drawnValues makes values of bytes: small integers, steps, equal values, any bits.
func drawnValues(data []byte) (values []float64) {
	d := drawing{data: data}
	last := 0.0
	for len(d.data) > 0 {
		switch op := d.next(); op % 5 {
		case 0:
			last = float64(op)
		case 1:
			last += float64(op) * float64(d.next()-128) * float64(d.next())
		case 2:
			values = append(values, slices.Repeat([]float64{last}, op)...)
		case 3:
			var b uint64
			for range 1 + d.next()%8 {
				b = b<<8 | uint64(d.next())
			}
			last = math.Float64frombits(b)
		case 4:
			last = math.Float64frombits(math.Float64bits(last) << 32)
		}
		values = append(values, last)
	}
	return values
}

// TestColumnsAreSmall: what the values of a sidecar's page take.
func TestColumnsAreSmall(t *testing.T) {
	table := series.NewTable()
	for _, size := range []int{500, 2000} {
		b := wiretest.Mesh(table, 1, 1, size)
		perSample := float64(checkColumn(t, b.Time, b.Values)) / float64(b.Len())
		t.Logf("%d series: %.2f bytes a sample", size, perSample)
		if perSample > 2.5 {
			t.Errorf("%d series: %.2f bytes a sample, want at most 2.5", size, perSample)
		}
	}
}
