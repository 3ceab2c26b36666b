package wire

import "testing"

// FuzzDamaged gives bytes that nobody wrote to everything that reads requests back: it may refuse, not panic.
func FuzzDamaged(f *testing.F) {
	f.Add([]byte{tagSymbol, 0, tagSymbol, 1, 'a', tagSeries, 4, tagLabelRefs, 2, 1, 1})
	f.Add([]byte{tagSymbol, 0, tagSeries, 2, tagHistogram, 0})
	f.Add([]byte{tagSymbol, 0, tagSeries, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		var pool Pool
		half := len(data) / 2
		for _, fragments := range [][][]byte{
			{data, data[:half]}, {appendPacked(nil, data[:half], data[half:]), appendPacked(nil, nil, data)},
		} {
			m := Message{Fragments: fragments, Samples: 1}
			if block, _, err := (&v1Writer{}).encode(m, true); err == nil {
				decompress(t, block)
			}
			block, err := appendRequestV2(nil, m)
			c, parseErr := Parse(m)
			if err == nil && parseErr == nil {
				decompress(t, block)
			}
			checkDamagedMerge(t, &pool, []Message{m, m}, Limits{})
			if parseErr != nil {
				continue
			}
			m.Samples = c.Samples()
			checkDamagedMerge(t, &pool, []Message{m, m}, Limits{Samples: 2})
			_, _ = c.Subset(func(int, int64) bool { return true })
			_, _ = c.SplitTimes()
			if c.Len() == 1 {
				_, _ = c.SplitSeries(2)
			}
		}
	})
}
