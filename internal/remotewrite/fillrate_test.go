package remotewrite

import (
	"testing"
	"time"
)

func TestFilling(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	const limit = 1000
	for name, tc := range map[string]struct {
		bytes []int64 // one a half minute
		want  time.Duration
	}{
		"nothing known":        {[]int64{100}, 0},
		"steady":               {[]int64{100, 100, 100, 100, 100, 100}, 0},
		"shrinks":              {[]int64{500, 400, 300, 200, 100}, 0},
		"grows":                {[]int64{0, 100, 200, 300, 400}, 3 * time.Minute},
		"grew long ago":        {[]int64{0, 500, 500, 500, 500, 500, 500, 500}, 0},
		"full":                 {[]int64{400, 700, 1000, 1000}, 1},
		"over the limit":       {[]int64{400, 700, 1001}, 1},
		"began to grow lately": {[]int64{0, 0, 0, 0, 0, 0, 0, 300}, 210 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			var f fillRate
			var got time.Duration
			for i, n := range tc.bytes {
				got = f.timeToFull(limit, start.Add(time.Duration(i)*30*time.Second), n)
			}
			if got != tc.want {
				t.Errorf("full in %v, want %v", got, tc.want)
			}
		})
	}
	var f fillRate
	f.timeToFull(0, start, 0)
	if got := f.timeToFull(0, start.Add(time.Minute), 100); got != 0 {
		t.Errorf("without a limit: %v", got)
	}
}
