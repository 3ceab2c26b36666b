package remotewrite

import "testing"

// FuzzDamaged gives bytes that nobody wrote to everything that reads requests back: it may refuse, not panic.
func FuzzDamaged(f *testing.F) {
	f.Add([]byte{tagSymbol, 0, tagSymbol, 1, 'a', tagSeries, 4, tagLabelRefs, 2, 1, 1})
	f.Add([]byte{tagSymbol, 0, tagSeries, 2, tagHistogram, 0})
	f.Add([]byte{tagSymbol, 0, tagSeries, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		half := len(data) / 2
		for _, fragments := range [][][]byte{
			{data, data[:half]}, {appendPacked(nil, data[:half], data[half:]), appendPacked(nil, nil, data)},
		} {
			m := message{fragments: fragments, samples: 1}
			if block, _, err := (&requestEncoder{}).encode(m, v1, true); err == nil {
				decompress(t, block)
			}
			block, _, err := (&requestEncoder{}).encode(m, v2, true)
			c, parseErr := parseMessage(m)
			if err == nil && parseErr == nil {
				decompress(t, block)
			}
			if parseErr == nil {
				_, _ = c.subset(func(int, int64) bool { return true })
			}
		}
	})
}
