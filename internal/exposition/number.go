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

// view returns b as a string without copying. The string must not outlive b.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
