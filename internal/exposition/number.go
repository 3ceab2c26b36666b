package exposition

import (
	"bytes"
	"math"
	"strconv"
	"unsafe"

	"github.com/prometheus/prometheus/model/value"
)

// parseValue reads a sample value as textparse does: the floats of strconv.ParseFloat except 0x1p-2 and 1_000.
func parseValue(b []byte) (float64, bool) {
	if len(b) > 0 && len(b) <= 15 { // an integer below 2^53: almost every value of Envoy
		var n uint64
		i := 0
		for ; i < len(b); i++ {
			d := b[i] - '0'
			if d > 9 {
				break
			}
			n = n*10 + uint64(d)
		}
		if i == len(b) {
			return float64(n), true
		}
	}
	if len(b) == 0 || bytes.ContainsAny(b, "pP_") {
		return 0, false
	}
	v, err := strconv.ParseFloat(view(b), 64)
	return v, err == nil
}

// valueOfLine reads the value at the beginning of text and returns its length with the newline behind it: 17 and 3 of
// "17\na 1\n". n is 0 if text begins with something else, or does not have the newline.
func valueOfLine(text []byte) (v float64, n int) {
	var u uint64
	for i, c := range text {
		d := c - '0'
		if d <= 9 && i < 15 {
			u = u*10 + uint64(d)
			continue
		}
		if c == '\n' && i > 0 {
			return float64(u), i + 1
		}
		break
	}
	nl := bytes.IndexByte(text, '\n')
	if nl < 0 {
		return 0, 0
	}
	v, ok := parseValue(text[:nl])
	if !ok {
		return 0, 0
	}
	return v, nl + 1
}

// canonical gives every NaN of a page the same bits, so that none is taken for a staleness marker.
func canonical(v float64) float64 {
	if math.IsNaN(v) {
		return math.Float64frombits(value.NormalNaN)
	}
	return v
}

// view returns b as a string without copying. The string must not outlive b.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
