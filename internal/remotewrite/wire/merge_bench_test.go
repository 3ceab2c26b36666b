//go:build unix

package wire

import "testing"

// BenchmarkMerge merges groups of scrapes and makes the bodies of the result. "unmerged" makes a body of each scrape.
// The metrics without a name are those of Merge alone.
func BenchmarkMerge(b *testing.B) {
	for _, shape := range []struct {
		name                   string
		targets, scrapes, size int
		most                   Limits
	}{
		{"1x1x2000", 1, 1, 2000, Limits{}},
		{"1x3x2000", 1, 3, 2000, Limits{}},
		{"1x3x2000 in thirds", 1, 3, 2000, Limits{Samples: 2000}},
		{"10x3x200", 10, 3, 200, Limits{}},
		{"10x3x200 in thirds", 10, 3, 200, Limits{Samples: 2000}},
		{"10x1x200", 10, 1, 200, Limits{}},
	} {
		var group []Message
		samples := 0
		for _, of := range scrapesOf(b, shape.targets, shape.scrapes, shape.size) {
			group = append(group, of...)
		}
		for _, m := range group {
			samples += m.Samples
		}
		b.Run(shape.name, func(b *testing.B) {
			var pool Pool
			b.ReportAllocs()
			report := cpuPerSample(b, samples)
			for b.Loop() {
				merged, err := pool.Merge(group, shape.most)
				if err != nil {
					b.Fatal(err)
				}
				pool.ReleaseMerged(merged)
			}
			report()
			merged, _ := pool.Merge(group, shape.most)
			for name, ms := range map[string][]Message{"unmerged": group, "merged": merged} {
				for _, p := range []Protocol{V2, V1} {
					bytes := 0
					for _, m := range ms {
						body, _, err := pool.Body(m, p, true)
						if err != nil {
							b.Fatal(err)
						}
						bytes += len(body)
					}
					b.ReportMetric(float64(bytes)/float64(samples), name+"-"+p.String()+"-B/sample")
				}
			}
		})
		for name, merge := range map[string]bool{"unmerged": false, "merged": true} {
			for _, p := range []Protocol{V2, V1} {
				b.Run(shape.name+" bodies "+name+" "+p.String(), func(b *testing.B) {
					var pool Pool
					ms := group
					if merge {
						ms, _ = pool.Merge(group, shape.most)
					}
					report := cpuPerSample(b, samples)
					for b.Loop() {
						for _, m := range ms {
							body, _, err := pool.Body(m, p, true)
							if err != nil {
								b.Fatal(err)
							}
							pool.Release(body)
						}
					}
					report()
				})
			}
		}
	}
}
