package exposition

import (
	"bytes"
	"strconv"
	"unsafe"
)

// parseValue reads a sample value as textparse does: strconv's floats, less the forms that Go 1.13 added.
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

// valueOfLine reads the value that a line ends with, and returns how many bytes of text that is, the newline
// included; 0: text begins with something else, or ends too early.
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

// view returns b as a string without copying. The string must not outlive b.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
